"""What the known releases hold, and in what a copy differs from them.

The counts stand in ``assets/known-releases.json``: rows are annotated rows, usable or not; ``excluded`` lists rows that
are wrong in the annotation file itself. They were read from the annotation files, or are the owners' (see
docs/datasets.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hsta.datasets.reading import Reading

_IN_THE_FILE = ("wrong-frame-order", "contradicting-label", "unreadable-number", "duplicate-row", "unknown-name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A copy beside a known release.

    Attributes:
        release: its name.
        rows: (what, expected, found) of every figure that the release is known by.
        differences: sentences, one for each figure that differs; empty for a copy that agrees.
    """

    release: str
    rows: tuple[tuple[str, str, str], ...]
    differences: tuple[str, ...]


@cache
def known_releases() -> dict[str, tuple[dict, ...]]:
    """Known releases by reader."""
    content = json.loads((Path(__file__).parent / "assets/known-releases.json").read_text(encoding="utf-8"))
    return {name: tuple(releases) for name, releases in content.items()}


def annotated(reading: Reading, label_set: str) -> Counter:
    """Rows of each class of a label set, usable or not."""
    return Counter(one.labels[label_set] for one in (*reading.clips, *reading.exclusions) if label_set in one.labels)


def compare(reading: Reading) -> Comparison | None:
    """The copy beside the known release that it differs least from; None where none is known."""
    comparisons = [_beside(reading, release) for release in known_releases().get(reading.name, ())]
    return min(comparisons, key=lambda one: (len(one.differences) / len(one.rows), -len(one.rows)), default=None)


def _beside(reading: Reading, release: Mapping) -> Comparison:
    everything = (*reading.clips, *reading.exclusions)
    figures = [("annotated rows", release["rows"], len(everything))]
    if "subjects" in release:
        figures.append(("subjects", release["subjects"], len({(one.dataset, one.subject) for one in everything})))
    for label_set, classes in release.get("labels", {}).items():
        found = annotated(reading, label_set)
        figures += [(f"{label_set}: {name}", classes.get(name, 0), found[name]) for name in sorted({*classes, *found})]
    rows = [(what, str(expected), str(found)) for what, expected, found in figures]
    differences = [
        f"{what}: {found} instead of {expected} ({found - expected:+d})"
        for what, expected, found in figures
        if found != expected
    ]
    if "excluded" in release:
        expected = {clip_id for clips in release["excluded"].values() for clip_id in clips}
        found = {one.clip_id for one in reading.exclusions if one.reason in _IN_THE_FILE}
        rows.append(("rows wrong in the file", str(len(expected)), str(len(found))))
        for what, names in (
            ("is wrong here and not in the release", found - expected),
            ("is wrong in the release and not here", expected - found),
        ):
            differences += [f"{name} {what}" for name in sorted(names)[:20]]
    return Comparison(release=release["release"], rows=tuple(rows), differences=tuple(differences))
