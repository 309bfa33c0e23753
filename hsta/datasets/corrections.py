"""Corrections as data: named, versioned tables of cells that are wrong as distributed, each with its source.

They stand in ``assets/corrections-*.csv``: ``name, clip_id, field, as_distributed, corrected, source``. A table is
applied only when asked for by name; a copy that holds neither value is refused, so that a correction never meets a
release it was not made for.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hsta.datasets.tables import Row
from hsta.errors import InputError

_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One cell: what the file says, what the source says."""

    name: str
    clip_id: str
    field: str
    as_distributed: str
    corrected: str
    source: str


@cache
def correction_tables() -> dict[str, tuple[Correction, ...]]:
    """All tables that ship, by name."""
    tables: dict[str, list[Correction]] = {}
    for path in sorted(_ASSETS.glob("corrections-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                tables.setdefault(row["name"], []).append(Correction(**row))
    return {name: tuple(rows) for name, rows in tables.items()}


class Corrector:
    """Applies named tables to rows and keeps account of what was applied."""

    def __init__(self, names: str | Sequence[str], dataset: str):
        wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        known = {name for name in correction_tables() if name.startswith(f"{dataset}-")}
        unknown = [name for name in wanted if name and name not in known]
        if unknown:
            raise InputError(
                f"unknown corrections {', '.join(map(str, unknown))} for {dataset}; "
                f"known are {', '.join(sorted(known)) or 'none'}",
                where="corrections",
                cure="name a table that ships, or leave corrections out",
            )
        self._pending: dict[str, list[Correction]] = {}
        for name in wanted:
            for correction in correction_tables()[name] if name else ():
                self._pending.setdefault(correction.clip_id, []).append(correction)
        self.applied: list[Correction] = []

    def apply(self, clip_id: str, row: Row) -> Row:
        """The row with its corrections. Raises InputError when the file says something that the table does not know."""
        for correction in self._pending.pop(clip_id, ()):
            found = row.text(correction.field)
            if found not in (correction.as_distributed, correction.corrected):
                raise InputError(
                    f"corrections {correction.name} expect {correction.field} {correction.as_distributed} "
                    f"for clip {clip_id}, the file has '{found}'",
                    where=row.where,
                    cure="these corrections belong to another release of the file; leave them out",
                )
            row = row.replaced(**{correction.field: correction.corrected})
            self.applied.append(correction)
        return row

    def finish(self, where: str) -> None:
        """Raise InputError for corrections whose clips were never met."""
        if self._pending:
            left = ", ".join(sorted(self._pending))
            raise InputError(
                f"corrections were asked for of clips that the file does not have: {left}",
                where=where,
                cure="these corrections belong to another release of the file; leave them out",
            )
