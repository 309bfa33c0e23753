"""A fold's files, kept up to date from a thread of their own, so that training does not wait for storage.

    checkpoint.pt    while the fold trains: all that it needs to go on; the latest only
    progress.json    how far it is, or why it failed; for `workflows.status`

A file is replaced whole or not at all. A checkpoint is stored while the next epoch trains, and that epoch ends only once it
is: so whoever dies loses no more ended epochs than lie between two checkpoints.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from hsta import storage
from hsta.errors import InputError
from workflows.tracking import Tracker

PROGRESS_SECONDS = 10.0  # without a checkpoint, progress is written so often
FRUITLESS = 4  # attempts that die one after another without a new checkpoint, after which a fold has failed


class Keeper:
    """Keeps the files of one attempt at a fold.

    Args:
        place: gives the URL of one of the fold's files.
        facts: what every ``progress.json`` of this attempt says: fold, seed, epochs, submission.
        history: results of the epochs so far, to which training appends.
        trackers: are given the whole history with every checkpoint, and at the end.

    Attributes:
        fruitless: earlier attempts of this submission that ended here, without a new checkpoint and without a word.
    """

    def __init__(
        self, place: Callable[[str], str], facts: Mapping, history: list[dict], trackers: Sequence[Tracker] = ()
    ):
        self._place, self._history, self._trackers = place, history, trackers
        attempt = _attempt(place("progress.json"), facts["submission"], len(history))
        self._facts = {**facts, **attempt, "started": time.time(), "host": socket.gethostname()}
        self.fruitless = attempt["fruitless"]
        self._beat()
        self._files = _Lane("checkpoints", idle=self._beat)
        self._curves = _Lane("curves")  # a server that is away keeps its lane waiting, not the checkpoints

    def follow(self, history: list[dict]) -> None:
        """Tell of this history from now on."""
        self._history = history

    def checkpoint(self, state: Mapping) -> None:
        """Have a checkpoint written. ``state`` may change as soon as this returns. Raises what went wrong before."""
        copy = _copied(state)
        if self._files.error is not None:
            raise self._files.error
        self._files.put("checkpoint", lambda: save_tensors(self._place("checkpoint.pt"), copy))
        self._files.put("progress", self._beat)
        if self._trackers:
            self._curves.put("record", lambda: self._track(copy["history"]))

    def settle(self) -> None:
        """Wait until the last checkpoint is stored."""
        self._files.wait("checkpoint")

    def close(self, *, cause: str | None = None) -> None:
        """Wait until everything is written, and end; with the ``cause`` of a fold that failed.

        Raises:
            Exception: what went wrong with a checkpoint, unless the fold has failed anyhow.
        """
        history = list(self._history)
        if self._trackers:
            self._curves.put("record", lambda: self._track(history))
            self._curves.put("finish", lambda: [tracker.finish({}) for tracker in self._trackers])
        self._files.close()
        if cause is not None:
            self._write_progress(history, "failed", cause)
        self._curves.close()
        if self._files.error is not None and cause is None:
            raise self._files.error

    def _beat(self) -> None:
        self._write_progress(list(self._history), "running", None)

    def _write_progress(self, history: Sequence[Mapping], state: str, cause: str | None) -> None:
        recent = [epoch["seconds"] for epoch in history[-20:]]
        progress = self._facts | {
            "state": state,
            "epoch": history[-1]["epoch"] if history else 0,
            "figures": history[-1] if history else {},
            "seconds_per_epoch": sum(recent) / len(recent) if recent else None,
            "updated": time.time(),
            "cause": cause,
        }
        try:
            storage.write_json(self._place("progress.json"), progress)
        except (OSError, InputError):
            pass  # the next one will tell; a store that stays away stops the checkpoints

    def _track(self, history: Sequence[Mapping]) -> None:
        for tracker in self._trackers:
            tracker.record(history)


class _Lane:
    """Work done in the order it comes, in a thread of its own; of each kind the latest replaces what still waits.

    Args:
        idle: done whenever `PROGRESS_SECONDS` have passed without other work.

    Attributes:
        error: the first that any work has raised.
    """

    def __init__(self, name: str, *, idle: Callable[[], None] | None = None):
        self.error: Exception | None = None
        self._idle, self._closed, self._doing = idle, False, ""
        self._waiting: dict[str, Callable] = {}
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, kind: str, work: Callable) -> None:
        """Have some work done."""
        with self._changed:
            self._waiting[kind] = work
            self._changed.notify_all()

    def wait(self, kind: str) -> None:
        """Wait until no work of this kind is left."""
        with self._changed:
            self._changed.wait_for(lambda: kind not in self._waiting and kind != self._doing)

    def close(self) -> None:
        """Wait until all is done, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, PROGRESS_SECONDS)
                if self._closed and not self._waiting:
                    return
                self._doing = next(iter(self._waiting), "")
                work = self._waiting.pop(self._doing, self._idle)
            try:
                if work is not None:
                    work()
            except Exception as error:  # raised where training next looks
                self.error = self.error or error
            with self._changed:
                self._doing = ""
                self._changed.notify_all()


def write_failure(url: str, facts: Mapping, cause: str) -> None:
    """Mark a fold as failed in its ``progress.json``, from outside its process, which is gone; the rest of it stays."""
    before = storage.read_json(url) if storage.exists(url) else dict(facts)
    storage.write_json(url, before | {"state": "failed", "cause": cause, "updated": time.time()})


def _attempt(url: str, submission: str, epochs: int) -> dict:
    """Which attempt this is, where it begins, and how many before it, of the same submission, came no further."""
    try:
        before = storage.read_json(url)
    except FileNotFoundError:
        return {"attempt": 1, "began_at": epochs, "fruitless": 0}
    same = before["submission"] == submission and before["began_at"] == epochs
    return {
        "attempt": before["attempt"] + 1,
        "began_at": epochs,
        "fruitless": before["fruitless"] + 1 if same else 0,
    }


def save_tensors(url: str, value: Mapping) -> None:
    """Save tensors and plain values, atomically."""
    import torch

    with tempfile.TemporaryFile() as file:
        torch.save(value, file)
        storage.upload(file, url)


def load_tensors(url: str) -> dict:
    """Load what `save_tensors` wrote; nothing is unpickled but tensors and plain values. Raises FileNotFoundError."""
    import torch

    with storage.local_copy(url) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _copied(value):
    """A copy on the host that shares no memory with ``value``."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    return value
