"""SMIC (Li et al. 2013) and SMIC-E: high-speed (HS, 100 fps), visible (VIS) and near-infrared (NIR) cameras at 25 fps.

SMIC has no annotation file: ``SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image056385.bmp`` carries the label in the
folder, onset is the first file and offset the last. SMIC-E's long clips have a table. Neither annotates an apex. All of
them show the same people, therefore all have the data set ``smic``; clip ids of all but HS begin with the release.
"""

from __future__ import annotations

import re

from hsta.datasets.labels import check_emotions, emotion, emotion_labels
from hsta.datasets.listing import Folder, Listing
from hsta.datasets.reading import Collector, Reading, path_name
from hsta.datasets.tables import Row, as_integer, find_table, read_workbook
from hsta.errors import InputError

FPS = {"hs": 100.0, "vis": 25.0, "nir": 25.0}
_CLIP = re.compile(r"s([0-9]+)_(ne|po|sur)_[0-9]+", re.IGNORECASE)
_BY_CODE = {"ne": "negative", "po": "positive", "sur": "surprise"}
_FRAMES = {"raw": ("smic_all_cropped*", "cropped*"), "cropped": ("smic_all_raw*", "raw*")}
_COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetF", "Onset"),
    "offset": ("OffsetF", "Offset"),
    "emotion": ("Emotion",),
}
_FURTHER = {f"{side}{number}": (f"{side.capitalize()}{number}F",) for number in (2, 3) for side in ("onset", "offset")}


def read_smic(
    annotations: str | None,
    root: str | Listing | None,
    *,
    camera: str,
    frames: str = "raw",
    apex: str = "annotated",
) -> Reading:
    """Read SMIC's short clips from their folders. ``frames`` is "raw" or "cropped". Label set: megc3.

    A clip whose folder, name and parent folder do not say the same is excluded (``contradicting-label``).
    """
    name = f"smic-{camera}"
    if annotations is not None:
        raise InputError(
            f"{name} has no annotation file: its folders carry the labels", where="annotations", cure="give root alone"
        )
    if root is None:
        raise InputError(f"{name} is read from its folders", where="root", cure="give the folder of SMIC_all_raw")
    if frames not in _FRAMES:
        raise InputError(f"unknown frames '{frames}'", where="frames", cure=f"known are {', '.join(_FRAMES)}")
    collector = Collector(name, "smic", root, apex=apex, avoid=("non_micro", *_others(camera), *_FRAMES[frames]))
    _check_camera(collector, camera)
    collector.facts["frames_variant"] = frames
    for folder in sorted(collector.eligible(), key=_order):
        parts = collector.listing.components(folder)
        match = _CLIP.fullmatch(parts[-1])
        if match and "micro" in parts:
            _add_short(collector, folder, parts, match, "" if camera == "hs" else f"{camera}/", FPS[camera])
    if not collector.claimed:
        raise InputError(
            f"no clip of {name} below this folder",
            where=collector.listing.root,
            cure=f"its folders end with {camera.upper()}/s1/micro/...",
        )
    return collector.reading(collector.listing.root)


def read_smic_e(
    annotations: str | None,
    root: str | Listing | None,
    *,
    camera: str,
    intervals: str = "first",
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read SMIC-E's long clips from ``SMIC-HS-E_annotation.xlsx`` or one of its later forms. Label set: megc3.

    A row is a clip: its first interval. Some rows of the later form hold two or three; the others are remarked
    (``further-interval``), or become clips of their own with ``intervals="all"``. A row whose emotion contradicts its
    name is excluded (s18_sur_03), unless a correction is named.
    """
    name = f"smic-e-{camera}"
    if annotations is None:
        raise InputError(
            f"{name} needs its annotation file",
            where="annotations",
            cure=f"give SMIC-{camera.upper()}-E_annotation.xlsx",
        )
    if intervals not in ("first", "all"):
        raise InputError(f"unknown intervals '{intervals}'", where="intervals", cure="known are first, all")
    table = find_table(read_workbook(annotations), _COLUMNS, _FURTHER, sheet=camera)
    check_emotions(table, "emotion", "megc3")
    avoid = ("micro", "non_micro", *_others(camera))
    collector = Collector(name, "smic", root, apex=apex, corrections=corrections, avoid=avoid)
    _check_camera(collector, camera)
    collector.describe(table)
    collector.facts["intervals"] = intervals
    for row in table.rows:
        _add_long(collector, row, f"e-{camera}/", FPS[camera], intervals)
    return collector.reading(annotations)


def _others(camera: str) -> list[str]:
    """Names of the folders of the other cameras."""
    return [form.format(one) for one in FPS if one != camera for form in ("{}", "{}_long", "smic-{}-e", "smic_{}_e")]


def _check_camera(collector: Collector, camera: str) -> None:
    above = () if collector.listing is None else collector.listing.above
    wrong = [name for name in above if name in _others(camera)]
    if wrong:
        raise InputError(
            f"the folder {wrong[-1].upper()} is not of camera {camera.upper()}",
            where=collector.listing.root,
            cure="choose the reader of that camera, or another root",
        )


def _order(folder: Folder) -> list:
    return [int(part) if part.isdigit() else part.casefold() for part in re.split(r"([0-9]+)", folder.path)]


def _add_short(
    collector: Collector, folder: Folder, parts: tuple[str, ...], match: re.Match, prefix: str, fps: float
) -> None:
    clip_id, subject = prefix + match[0].casefold(), f"s{int(match[1])}"
    said = {"name": _BY_CODE[match[2].casefold()], "folder": emotion(parts[-2]) or parts[-2]}
    labels = emotion_labels(said["name"], ("megc3",))
    where = collector.listing.url(folder)
    collector.claimed.add(folder.path)
    if said["name"] != said["folder"]:
        collector.exclude(
            clip_id,
            subject,
            "contradicting-label",
            f"{where}: its name says {said['name']}, its folder {said['folder']}",
        )
        return
    numbers = folder.numbers
    if not len(numbers):
        collector.exclude(clip_id, subject, "empty-folder", f"{where}: no frame", labels)
        return
    collector.add(
        clip_id=clip_id,
        subject=subject,
        recording=clip_id,
        folders=[folder.path.split("/")],
        where=where,
        onset=int(numbers[0]),
        apex=None,
        offset=int(numbers[-1]),
        fps=fps,
        labels=labels,
    )


def _add_long(collector: Collector, row: Row, prefix: str, fps: float, intervals: str) -> None:
    name = path_name(row, "filename")
    number = as_integer(row["subject"])
    subject = f"s{number}" if number is not None else path_name(row, "subject")
    row = collector.corrector.apply(prefix + name, row)
    match = _CLIP.fullmatch(name)
    named = _BY_CODE[match[2].casefold()] if match else ""
    said = emotion(row["emotion"])
    labels = emotion_labels(said, ("megc3",))
    if named and said and named != said:
        detail = f"{row.where}: its name says {named}, its emotion {said}"
        collector.exclude(prefix + name, subject, "contradicting-label", detail)
        return
    padded = f"s{number:02d}" if number is not None else subject
    for which in ("", "2", "3"):
        onset, offset = row[f"onset{which}"], row[f"offset{which}"]
        if which and not (as_integer(onset) and as_integer(offset)):
            continue
        if which and intervals == "first":
            detail = f"{row.where}: {onset}..{offset} is a further micro-expression of the same long clip"
            collector.remark(prefix + name, "further-interval", detail)
            continue
        collector.add(
            clip_id=prefix + name + (f"-{which}" if which else ""),
            subject=subject,
            recording=prefix + name,
            folders=[(padded, name), (subject, name)],
            where=row.where,
            onset=onset,
            apex=None,
            offset=offset,
            fps=fps,
            labels=labels,
        )
