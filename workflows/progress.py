"""Progress for people: how far, how fast, how long still. One line that is rewritten on a terminal, few lines in a log."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts units of work towards a total.

    Args:
        title: what is going on.
        total: units of work in all.
        unit: name of a unit, plural.
        every: seconds between lines where standard error is not a terminal.
    """

    def __init__(self, title: str, total: float, unit: str, *, every: float = 5.0):
        self._title, self._total, self._unit = title, total, unit
        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else every
        self._started = time.monotonic()
        self._printed = 0.0
        self._first: float | None = None

    def update(self, done: float, note: str = "") -> None:
        """Say that ``done`` units are done; prints when it is time to."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._printed < self._every and done < self._total:
            return
        self._printed = now
        elapsed = now - self._started
        rate = (done - self._first) / elapsed if elapsed > 0 else 0.0
        eta = f"ETA {clock((self._total - done) / rate)}" if rate > 0 and done < self._total else ""
        parts = [
            f"{done / self._total:4.0%}",
            f"{done:.0f}/{self._total:.0f} {self._unit}",
            f"{clock(elapsed)} elapsed",
            eta,
            note,
        ]
        self._write(f"{self._title}: " + ", ".join(part for part in parts if part))

    def close(self) -> None:
        """End the line that was rewritten."""
        if self._terminal and self._printed:
            print(file=sys.stderr, flush=True)

    def _write(self, line: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
