"""What reading a data set gives, and the one way from an annotated interval to a clip.

Every reader gives its rows, as they stand in the file, to a `Collector`. It turns numbers, apex, frames on disk and
corrections into a clip, or into an exclusion with its reason; nothing is repaired that was not asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hsta import storage
from hsta.datasets.corrections import Correction, Corrector
from hsta.datasets.listing import Folder, Listing, list_frames
from hsta.datasets.tables import Cell, Row, Table, as_integer, as_text
from hsta.errors import InputError
from hsta.records import Clip

APEX_POLICIES = {
    "annotated": "as annotated; none where none is; a clip whose apex lies outside onset..offset is excluded",
    "valid": "as annotated; none where none is or where it lies outside onset..offset",
    "midpoint": "as annotated; halfway from onset to offset where none is or where it lies outside onset..offset",
    "required": "as annotated; a clip without an apex, or whose apex is its onset or offset frame, is excluded",
}
_NO_APEX = {"", "/", "-", "?", "none", "nan", "n/a", "na"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_MAX_FRAME = 10**10  # the longest camera counter in use has 8 digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A row that gives no clip.

    Attributes:
        reason: a short stable code, such as ``wrong-frame-order``, ``no-apex``, ``missing-frame``, ``missing-folder``.
        detail: a sentence that names the row or the folder, and the figures.
        labels: label by label set, as a clip's: an excluded row still counts in its release's class counts.
    """

    clip_id: str
    reason: str
    detail: str
    dataset: str
    subject: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something about a clip that is kept: a code (``no-apex``, ``apex-midpoint``, ``frame-gap``, ...) and a
    sentence."""

    clip_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A data set as read.

    Attributes:
        name: the reader's.
        clips: usable clips, in the file's order.
        exclusions: the other rows, with reasons.
        remarks: what is notable about clips that are kept, and each choice a policy made.
        corrections: those applied.
        facts: options, file, its SHA-256, sheet, root and the number of frames found there.
        unclaimed: folders of frames under the root that no row names.
    """

    name: str
    clips: tuple[Clip, ...]
    exclusions: tuple[Exclusion, ...]
    remarks: tuple[Remark, ...] = ()
    corrections: tuple[Correction, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    unclaimed: tuple[str, ...] = ()


class Collector:
    """Gathers a reader's rows into a `Reading`.

    Args:
        name: the reader's; dataset: what subjects are identified by, shared by readers of the same people.
        root: where the frames lie, or its listing; None reads the annotations alone, and gives clips the paths they
            should have.
        apex: a name of `APEX_POLICIES`.
        corrections: names of correction tables, with commas between them.
        prefer: a clip found in several folders is taken from those below a folder of the first of these names that has
            one.
        avoid: folders of such a name below the root are never looked into; a name ending in * stands for all that begin
            so.
        exact: folders are whole paths below the root, not endings.
    """

    def __init__(
        self,
        name: str,
        dataset: str,
        root: str | Listing | None,
        *,
        apex: str = "annotated",
        corrections: str | Sequence[str] = "",
        prefer: Sequence[str] = (),
        avoid: Sequence[str] = (),
        exact: bool = False,
    ):
        if apex not in APEX_POLICIES:
            raise InputError(
                f"unknown apex policy '{apex}'", where="apex", cure=f"known are {', '.join(APEX_POLICIES)}"
            )
        self.name, self.dataset, self.apex, self.prefer, self.avoid = name, dataset, apex, prefer, avoid
        self.exact = exact
        self.corrector = Corrector(corrections, dataset)
        self.listing: Listing | None = list_frames(root) if isinstance(root, str) else root
        self.facts: dict[str, object] = {"apex": apex}
        if self.listing is not None:
            self.facts |= {
                "root": self.listing.root,
                "folders": len(self.listing.folders),
                "frames": self.listing.frames,
            }
        self.claimed: set[str] = set()
        self._clips: list[Clip] = []
        self._exclusions: list[Exclusion] = []
        self._remarks: list[Remark] = []
        self._seen: dict[str, str] = {}

    def describe(self, table: Table, prefix: str = "") -> None:
        """Record which file, sheet and content the rows come from."""
        self.facts |= {
            f"{prefix}annotations": table.url,
            f"{prefix}annotations_sha256": table.sha256,
            f"{prefix}sheet": table.sheet,
            f"{prefix}rows": len(table.rows),
            f"{prefix}notes": table.notes,
        }

    def remark(self, clip_id: str, code: str, detail: str) -> None:
        """Note something about a clip that is kept."""
        self._remarks.append(Remark(clip_id=clip_id, code=code, detail=detail))

    def exclude(
        self, clip_id: str, subject: str, reason: str, detail: str, labels: Mapping[str, str] | None = None
    ) -> None:
        """Leave a row out, for a reason."""
        self._exclusions.append(
            Exclusion(
                clip_id=clip_id,
                reason=reason,
                detail=detail,
                dataset=self.dataset,
                subject=subject,
                labels=labels or {},
            )
        )

    def repeats(self, clip_id: str) -> bool:
        """Whether a row of this clip was already given."""
        return clip_id in self._seen

    def add(
        self,
        *,
        clip_id: str,
        subject: str,
        recording: str,
        folders: Sequence[Sequence[str]],
        where: str,
        onset: Cell,
        apex: Cell,
        offset: Cell,
        fps: float | None,
        labels: Mapping[str, str],
        positions_from: int | None = None,
    ) -> None:
        """One annotated interval.

        Args:
            folders: names that the path of its folder may end with, the likeliest first.
            onset, apex, offset: cells as they stand in the file.
            positions_from: for annotations that count the files of the sorted folder: the number of the first one.
        """

        remarks: list[tuple[str, str]] = []
        try:
            if clip_id in self._seen:
                raise _Unusable("duplicate-row", f"clip {clip_id} is already in {self._seen[clip_id]}")
            self._seen[clip_id] = where
            first, top, last = self._interval(onset, apex, offset, remarks)
            path = "/".join(folders[0])
            if self.listing is not None:
                folder = self._folder(folders)
                path = self.listing.url(folder)
                if positions_from is None:
                    _check_frames(folder, path, first, top, last, remarks)
                else:
                    first, last = _numbers_at(folder, path, first - positions_from, last - positions_from)
        except _Unusable as problem:
            self.exclude(clip_id, subject, problem.reason, f"{where}: {problem.detail}", labels)
            return
        if top is None and self.apex == "midpoint":
            top = (first + last) // 2
            remarks.append(("apex-midpoint", f"apex {top}: halfway from onset {first} to offset {last}"))
        for code, detail in remarks:
            self.remark(clip_id, code, f"{where}: {detail}")
        self._clips.append(
            Clip(
                clip_id=clip_id,
                dataset=self.dataset,
                subject=subject,
                recording=recording,
                path=path,
                onset=first,
                apex=top,
                offset=last,
                fps=fps,
                labels=dict(labels),
            )
        )

    def eligible(self) -> list[Folder]:
        """Folders of the listing outside those to avoid."""
        return [] if self.listing is None else [one for one in self.listing.folders.values() if self._allowed(one)]

    def reading(self, where: str) -> Reading:
        """All that was gathered. Raises InputError for corrections of clips that were not there."""
        self.corrector.finish(where)
        unclaimed = tuple(
            storage.join(self.listing.root, folder.path)
            for folder in self.eligible()
            if folder.path not in self.claimed and len(folder.numbers)
        )
        if self.listing is not None and self.listing.links:
            self.facts["links_not_followed"] = list(self.listing.links)
        return Reading(
            name=self.name,
            clips=tuple(self._clips),
            exclusions=tuple(self._exclusions),
            remarks=tuple(self._remarks),
            corrections=tuple(self.corrector.applied),
            facts=self.facts,
            unclaimed=unclaimed,
        )

    def _interval(
        self, onset: Cell, apex: Cell, offset: Cell, remarks: list[tuple[str, str]]
    ) -> tuple[int, int | None, int]:
        """Onset, apex and offset as numbers, by the apex policy. Raises _Unusable."""
        first, last = _frame("onset", onset), _frame("offset", offset)
        top = None if as_text(apex).casefold() in _NO_APEX else _frame("apex", apex)
        if first >= last:
            order = f"onset {first} is not before offset {last} (apex {as_text(apex) or 'none'})"
            raise _Unusable("wrong-frame-order", order)
        if top is None:
            remarks.append(("no-apex", "no apex is annotated"))
        elif not first <= top <= last:
            problem = f"apex {top} lies outside onset..offset ({first}..{last})"
            if self.apex in ("annotated", "required"):
                raise _Unusable("wrong-frame-order", problem)
            remarks.append(("wrong-apex", problem))
            top = None
        elif top in (first, last):
            side = "onset" if top == first else "offset"
            remarks.append((f"apex-is-{side}", f"apex {top} is the {side} frame"))
        if remarks and self.apex == "required":
            raise _Unusable("no-apex" if top is None else "degenerate-apex", remarks[0][1])
        return first, top, last

    def _folder(self, folders: Sequence[Sequence[str]]) -> Folder:
        """The clip's folder, which has frames. Raises _Unusable."""
        path, folder = "/".join(folders[0]), self.locate(folders)
        if folder is None:
            raise _Unusable("missing-folder", f"no folder of frames ends with {path}")
        if not len(folder.numbers):
            raise _Unusable("empty-folder", f"no frame in {path}")
        self.claimed.add(folder.path)
        return folder

    def locate(self, folders: Sequence[Sequence[str]]) -> Folder | None:
        """The folder of the listing that ends with the first of these names that any does. Raises InputError for
        two."""
        if self.exact:
            return self.listing.folders.get("/".join(folders[0]))
        for tail in folders:
            found = [folder for folder in self.listing.ending(tail) if self._allowed(folder)]
            for name in self.prefer:
                inside = [folder for folder in found if name in self.listing.components(folder)]
                found = inside or found
            if len(found) > 1:
                filled = [folder for folder in found if len(folder.numbers)]
                if len(filled) > 1:
                    raise InputError(
                        f"two folders may hold the clip {'/'.join(tail)}: {filled[0].path} and {filled[1].path}",
                        where=self.listing.root,
                        cure="give the root of one release of the data set",
                    )
                found = filled or found
            if found:
                return found[0]
        return None

    def _allowed(self, folder: Folder) -> bool:
        parts = self.listing.components(folder, below_root=True)
        for name in self.avoid:
            if any(part.startswith(name[:-1]) if name.endswith("*") else part == name for part in parts):
                return False
        return True


class _Unusable(Exception):
    """Why a row gives no clip."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def _frame(name: str, cell: Cell) -> int:
    number = as_integer(cell)
    if number is None or not 0 <= number <= _MAX_FRAME:
        raise _Unusable("unreadable-number", f"{name} '{as_text(cell)[:40]}' is no frame number")
    return number


def _check_frames(
    folder: Folder, path: str, first: int, top: int | None, last: int, remarks: list[tuple[str, str]]
) -> None:
    """Onset, apex and offset must be there, each once; other frames that are not are remarked."""
    missing = folder.missing(first, last)
    keys = [number for number in (first, top, last) if number is not None and number in missing]
    if keys:
        found = f"{folder.numbers[0]} to {folder.numbers[-1]}"
        raise _Unusable("missing-frame", f"{', '.join(map(str, keys))} not in {path}, which has {found}")
    twice = [number for number in folder.repeated if first <= number <= last]
    if twice:
        raise _Unusable("repeated-frame", f"frame {twice[0]} is claimed by two files in {path}")
    if len(missing):
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        remarks.append(("frame-gap", f"{len(missing)} of {last - first + 1} frames are not there: {shown}"))


def _numbers_at(folder: Folder, path: str, first: int, last: int) -> tuple[int, int]:
    """Frame numbers of the files at two places of the sorted folder, from 0."""
    if first < 0 or last >= len(folder.numbers):
        raise _Unusable("missing-frame", f"files {first + 1}..{last + 1} of {len(folder.numbers)} in {path}")
    return int(folder.numbers[first]), int(folder.numbers[last])


def path_name(row: Row, field: str) -> str:
    """A cell that names a folder. Raises InputError where it could lead anywhere else, or is empty."""
    text = row.text(field)
    if not text or len(text) > 200 or text in (".", "..") or _UNSAFE.search(text):
        raise InputError(
            f"{field} {text[:60]!r} is no plain name of a folder",
            where=row.where,
            cure="a name without slashes and control characters; check where this file comes from",
        )
    return text


def padded(row: Row, field: str, width: int) -> str:
    """A subject's number, stored as number or text, padded with zeros; other names as they are."""
    text = path_name(row, field)
    number = as_integer(row[field])
    return f"{number:0{width}d}" if number is not None and number >= 0 else text
