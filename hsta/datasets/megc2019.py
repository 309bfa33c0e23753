"""The MEGC2019 composite: 442 clips of SMIC-HS, CASME II and SAMM, defined by the organisers' list and by nothing else.

The list (``combined_3class_gt.csv``) has no header: ``dataset,subject,clip,label`` with 0 negative, 1 positive, 2
surprise. Labels are never derived from the data sets' own emotions: that gives another set of clips. The organisers
also host ``combined_3class_gt-2.csv``, with blank rows and one clip less; it is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hsta.datasets.casme2 import read_casme2
from hsta.datasets.labels import LABEL_SETS
from hsta.datasets.listing import Listing, list_frames
from hsta.datasets.reading import Collector, Exclusion, Reading, Remark
from hsta.datasets.samm import read_samm, stimulus
from hsta.datasets.smic import read_smic
from hsta.datasets.tables import as_text, read_workbook
from hsta.errors import InputError
from hsta.records import Clip

LABEL_SET = "megc3"
CLIPS = {"smic": 164, "casme2": 145, "samm": 133}
SUBJECTS = {"smic": 16, "casme2": 24, "samm": 28}
CLASSES = {"negative": 250, "positive": 109, "surprise": 83}
_FPS = {"smic": 100.0, "casme2": 200.0, "samm": 200.0}
_SUBJECT = {
    "smic": (r"s0*([0-9]+)", "s{}"),
    "casme2": (r"(?:sub)?0*([0-9]+)", "{:02d}"),
    "samm": (r"0*([0-9]+)", "{:03d}"),
}
_CURE = "give the organisers' combined_3class_gt.csv as they host it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of the list, its names written as this project's readers write them."""

    dataset: str
    subject: str
    clip_id: str
    label: str
    where: str

    @property
    def folder(self) -> tuple[str, ...]:
        """How the path of its frames ends."""
        return (f"sub{self.subject}" if self.dataset == "casme2" else self.subject, self.clip_id.rpartition("/")[2])


def read_megc2019(
    annotations: str | None,
    root: str | None,
    *,
    casme2: str = "",
    samm: str = "",
    casme2_root: str = "",
    samm_root: str = "",
    smic_root: str = "",
    frames: str = "raw",
    apex: str = "valid",
    subset: bool = False,
) -> Reading:
    """Read the composite.

    Args:
        annotations: the organisers' list.
        root: a folder with all three data sets in it; ``casme2_root``, ``samm_root``, ``smic_root`` replace it for one
            of them.
        casme2, samm: their annotation files, for onset, apex and offset. Without one, a clip of that set is its whole
            folder and has no apex; with neither file nor frames it is the list's line alone, 0..0, remarked
            ``no-interval``.
        frames: "raw" or "cropped", for all three.
        apex: of a listed clip that has none, or one outside its interval (two of SAMM's): see `hsta.datasets.reading`.
        subset: accept a part of the list. Protocol ``megc2019-cde`` still asks for all of it.

    Label set: megc3. Data sets are casme2, samm and smic, clip ids those of their readers.

    Raises:
        InputError: a list of other counts than the composite's, or with blank or repeated lines.
    """
    if annotations is None:
        raise InputError("megc2019 needs the organisers' list", where="annotations", cure=_CURE)
    lines, sha256 = _read_list(annotations, subset)
    shared = None if root is None else list_frames(root)
    roots = {"casme2": casme2_root or shared, "samm": samm_root or shared, "smic": smic_root or shared}
    parts: dict[str, Reading] = {}
    if casme2:
        parts["casme2"] = read_casme2(casme2, roots["casme2"], frames=frames, apex=apex)
    if samm:
        parts["samm"] = read_samm(samm, roots["samm"], frames=frames, apex=apex)
    if roots["smic"] is not None and any(line.dataset == "smic" for line in lines):
        parts["smic"] = read_smic(None, roots["smic"], camera="hs", frames=frames, apex=apex)
    for dataset in CLIPS:
        if dataset not in parts:
            listed = [line for line in lines if line.dataset == dataset]
            parts[dataset] = _whole_folders(dataset, listed, roots[dataset], apex)
    return _joined(
        lines, parts, {"annotations": annotations, "annotations_sha256": sha256, "apex": apex, "rows": len(lines)}
    )


def organisers_keys(url: str) -> tuple[tuple[str, str], ...]:
    """(dataset, clip_id) of the 442 clips on the organisers' list, for protocol ``megc2019-cde``. Raises InputError as
    `read_megc2019` does."""
    return tuple((line.dataset, line.clip_id) for line in _read_list(url, subset=False)[0])


def _read_list(url: str, subset: bool) -> tuple[list[Listed], str]:
    workbook = read_workbook(url)
    lines: list[Listed] = []
    places: dict[tuple[str, str], str] = {}
    blank = 0
    for number, cells in enumerate(workbook.sheets[0].rows, start=1):
        texts = [as_text(cell) for cell in cells]
        if any(texts):
            line = _line(texts, f"{url}, row {number}")
            key = (line.dataset, line.clip_id)
            if key in places:
                raise InputError(
                    f"clip {'/'.join(key)} is already listed in {places[key]}", where=line.where, cure=_CURE
                )
            places[key] = line.where
            lines.append(line)
        else:
            blank += 1
    found = {
        "clips": Counter(line.dataset for line in lines),
        "subjects": Counter(dataset for dataset, _ in {(line.dataset, line.subject) for line in lines}),
        "classes": Counter(line.label for line in lines),
    }
    due = {"clips": CLIPS, "subjects": SUBJECTS, "classes": CLASSES}
    differ = [f"{what} {dict(found[what])} instead of {due[what]}" for what in due if found[what] != Counter(due[what])]
    if blank or (differ and not subset) or not lines:
        reasons = [f"{blank} blank lines"] * bool(blank) + differ
        raise InputError(
            f"this is not the organisers' list of {sum(CLIPS.values())} clips of {sum(SUBJECTS.values())} subjects: "
            + ("; ".join(reasons) or "it is empty"),
            where=url,
            cure=f"{_CURE}; combined_3class_gt-2.csv has blank lines and lacks 032_3_1. For a part: subset=True",
        )
    return lines, workbook.sha256


def _line(texts: Sequence[str], where: str) -> Listed:
    if len(texts) != 4:
        raise InputError(f"{len(texts)} cells instead of dataset,subject,clip,label", where=where, cure=_CURE)
    dataset = texts[0].casefold()
    if dataset not in CLIPS:
        raise InputError(f"unknown data set '{texts[0][:40]}'; known are {', '.join(CLIPS)}", where=where, cure=_CURE)
    pattern, form = _SUBJECT[dataset]
    number = re.fullmatch(pattern, texts[1].casefold())
    if not number or not re.fullmatch(r"[A-Za-z0-9_]{1,40}", texts[2]):
        raise InputError(
            f"'{texts[1][:40]}', '{texts[2][:40]}' are no subject and clip of {dataset}", where=where, cure=_CURE
        )
    if texts[3] not in ("0", "1", "2"):
        raise InputError(f"label '{texts[3][:40]}' is not 0, 1 or 2", where=where, cure=_CURE)
    subject = form.format(int(number[1]))
    clip_id = f"sub{subject}/{texts[2]}" if dataset == "casme2" else texts[2]
    if dataset == "smic":
        clip_id = re.sub(r"^s0*([0-9]+)_", r"s\1_", texts[2].casefold())
    label = LABEL_SETS[LABEL_SET][int(texts[3])]
    return Listed(dataset=dataset, subject=subject, clip_id=clip_id, label=label, where=where)


def _whole_folders(dataset: str, lines: Sequence[Listed], root: str | Listing | None, apex: str) -> Reading:
    """Clips that are all frames of their folders, or nothing but their names where there is no root."""
    collector = Collector(dataset, dataset, root, apex=apex, avoid=("samm_longvideos*",))
    bare: list[Clip] = []
    for line in lines:
        if collector.listing is None:
            bare.append(_bare(line))
            continue
        folder = collector.locate([line.folder])
        if folder is None or not len(folder.numbers):
            reason = "missing-folder" if folder is None else "empty-folder"
            collector.exclude(line.clip_id, line.subject, reason, f"{line.where}: {'/'.join(line.folder)}")
            continue
        collector.add(
            clip_id=line.clip_id,
            subject=line.subject,
            recording=stimulus(line.clip_id),
            folders=[line.folder],
            where=line.where,
            onset=int(folder.numbers[0]),
            apex=None,
            offset=int(folder.numbers[-1]),
            fps=_FPS[dataset],
            labels={},
        )
    remarks = [
        Remark(clip_id=clip.clip_id, code="no-interval", detail="the list alone names no frames") for clip in bare
    ]
    reading = collector.reading("megc2019")
    return replace(reading, clips=reading.clips + tuple(bare), remarks=reading.remarks + tuple(remarks))


def _bare(line: Listed) -> Clip:
    return Clip(
        clip_id=line.clip_id,
        dataset=line.dataset,
        subject=line.subject,
        recording=stimulus(line.clip_id),
        path="/".join(line.folder),
        onset=0,
        apex=None,
        offset=0,
        fps=_FPS[line.dataset],
    )


def _joined(lines: Sequence[Listed], parts: Mapping[str, Reading], facts: Mapping[str, object]) -> Reading:
    """The listed clips, in the list's order, with the list's labels."""
    clips, exclusions, listed = [], [], {(line.dataset, line.clip_id) for line in lines}
    found = {(dataset, clip.clip_id): clip for dataset, part in parts.items() for clip in part.clips}
    excluded = {(dataset, one.clip_id): one for dataset, part in parts.items() for one in part.exclusions}
    for line in lines:
        key = (line.dataset, line.clip_id)
        labels = {LABEL_SET: line.label}
        if key in found:
            clips.append(replace(found[key], labels={**found[key].labels, **labels}))
        elif key in excluded:
            exclusions.append(replace(excluded[key], labels={**excluded[key].labels, **labels}))
        else:
            exclusions.append(
                Exclusion(
                    clip_id=line.clip_id,
                    reason="not-in-annotations",
                    detail=f"{line.where}: {line.dataset} has no such clip",
                    dataset=line.dataset,
                    subject=line.subject,
                    labels=labels,
                )
            )
    remarks = tuple(
        replace(remark, detail=f"{dataset}: {remark.detail}")
        for dataset, part in parts.items()
        for remark in part.remarks
        if (dataset, remark.clip_id) in listed
    )
    details = {
        f"{dataset}.{key}": value
        for dataset, part in parts.items()
        for key, value in part.facts.items()
        if key != "apex"
    }
    return Reading(
        name="megc2019", clips=tuple(clips), exclusions=tuple(exclusions), remarks=remarks, facts={**facts, **details}
    )
