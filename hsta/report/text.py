"""Values as a reader wants to see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

METRIC_NAMES = {
    "uf1": ("UF1", "unweighted F1"),
    "uar": ("UAR", "unweighted average recall"),
    "acc": ("ACC", "accuracy"),
    "wf1": ("WF1", "weighted F1"),
}


def score(value: float | None) -> str:
    """A score of 0 to 1 with three decimals, a dash where it is not defined."""
    return "–" if value is None else f"{value:.3f}"


def count(number: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``47 s``, ``6 min 12 s``, ``3 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(value: object) -> str:
    """An ISO 8601 time to the minute, with its zone; anything else as it is."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return time.strftime("%d %B %Y, %H:%M %Z" if time.tzinfo else "%d %B %Y, %H:%M").strip()


def plain(value: object) -> str:
    """Any leaf of a configuration."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)


def flatten(value: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as dotted names and values, in its order."""
    rows = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            rows += flatten(item, f"{name}.") if item else [(name, "none")]
        elif (
            isinstance(item, Sequence) and not isinstance(item, str) and any(isinstance(part, Mapping) for part in item)
        ):
            rows += flatten({f"{name}[{k}]": part for k, part in enumerate(item)})
        else:
            rows.append((name, plain(item)))
    return rows
