"""CAS(ME)^3 (Li et al. 2022): part A (laboratory, 30 fps, colour and depth) and part C (mock crime).

Part A's frames: ``part_A/spNO.1/a/color/112.jpg``, several clips a folder; or, of the supplement of 2023,
``Part_A_ME_clip/frame/spNO.1_a_112/112.jpg``. Part C's: ``part_C/01/a/color/...``; its annotation numbers are positions
in the sorted folder, not file names. Clip ids are ``subject_video_onset``, as distributed, with the video's letter in
lower case.
"""

from __future__ import annotations

from collections.abc import Collection

from hsta.datasets.labels import check_emotions, check_objective, emotion_labels, objective_labels
from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import Row, Table, as_text, find_table, normalised, read_workbook
from hsta.errors import InputError

FPS = 30.0
_INTERVAL = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("Onset", "OnsetFrame"),
    "apex": ("Apex", "ApexFrame"),
    "offset": ("Offset", "OffsetFrame"),
}
_FURTHER = {
    "emotion": ("emotion", "Estimated Emotion"),
    "objective": ("Objective class", "Objective classes"),
    "type": ("Expression type", "ExpressionType"),
}
_PART_C = {"subject": ("sub", "Subject"), "onset": ("onset",), "offset": ("offset",), "emotion": ("emotion",)}
_EMOTIONS = ("casme3-emotion7", "casme3-emotion4", "casme3-emotion3")
_TYPES = {"microexpression": "micro", "micro": "micro", "macroexpression": "macro", "macro": "macro"}


def read_casme3_a(
    annotations: str | None, root: str | None, *, layout: str = "auto", apex: str = "annotated", corrections: str = ""
) -> Reading:
    """Read part A's micro-expressions, from ``cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx`` or
    ``CAS(ME)3_part_A_v2.xls``.

    The xlsx has emotions and some wrong rows (excluded, or corrected by name); the xls has no emotions.

    Args:
        layout: "videos" (``spNO.1/a/color``), "clips" (``frame/spNO.1_a_112``), or "auto": whichever is there.

    Labels: casme3-emotion7, casme3-emotion4, casme3-emotion3 unless others, casme3-objective7.
    """
    return _read_part_a("casme3-a", annotations, root, "micro", layout, apex, corrections)


def read_casme3_a_macro(
    annotations: str | None, root: str | None, *, layout: str = "auto", apex: str = "annotated"
) -> Reading:
    """Read part A's macro-expressions, from ``CAS(ME)3_part_A_v2.xls``. Their data set is ``casme3-a``: the same
    people, and in places the same frames, as the micro-expressions. Their clip ids end with ``-macro``.

    Args:
        layout: as for `read_casme3_a`; the supplement's folder is ``Part_A_MaE_clip``.
    """
    return _read_part_a("casme3-a-macro", annotations, root, "macro", layout, apex, "")


def read_casme3_c(
    annotations: str | None,
    root: str | None,
    *,
    first_position: int = 1,
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read part C's micro-expressions from ``CAS(ME)3_part_C_ME.xlsx``. No apex is annotated; the owner says to use the
    middle.

    Args:
        first_position: what the annotation calls the first file of a folder, 0 or 1. The owner does not document it.

    Labels: casme3-emotion4, casme3-emotion3 unless others.
    """
    if annotations is None:
        raise InputError("casme3-c needs its annotation file", where="annotations", cure="give CAS(ME)3_part_C_ME.xlsx")
    if first_position not in (0, 1):
        raise InputError(f"first_position is {first_position}", where="first_position", cure="0 or 1")
    workbook = read_workbook(annotations)
    if any(normalised(sheet.name) == "organize" for sheet in workbook.sheets):
        raise InputError(
            "this is the older table of part C, without emotions, which the owner has replaced",
            where=annotations,
            cure="give CAS(ME)3_part_C_ME.xlsx",
        )
    table = find_table(workbook, _PART_C, sheet="mockCrimeME")
    check_emotions(table, "emotion", "casme3-emotion4")
    collector = Collector("casme3-c", "casme3-c", root, apex=apex, corrections=corrections, avoid=("part_a", "depth"))
    collector.describe(table)
    collector.facts["first_position"] = first_position
    given: set[str] = set()
    for row in table.rows:
        subject = padded(row, "subject", 2)
        clip_id = _unique(f"{subject}_{row.text('onset')}", given)
        row = collector.corrector.apply(clip_id, row)
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=f"{subject}/a",
            folders=[(subject, "a", "color"), ("part_c", subject, "color"), (subject, "a")],
            where=row.where,
            onset=row["onset"],
            apex=None,
            offset=row["offset"],
            fps=FPS,
            labels=emotion_labels(row["emotion"], ("casme3-emotion4", "casme3-emotion3")),
            positions_from=first_position,
        )
    return collector.reading(annotations)


def _read_part_a(
    name: str, annotations: str | None, root: str | None, kind: str, layout: str, apex: str, corrections: str
) -> Reading:
    if annotations is None:
        files = {"micro": "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "macro": "CAS(ME)3_part_A_v2.xls"}
        raise InputError(f"{name} needs its annotation file", where="annotations", cure=f"give {files[kind]}")
    if layout not in ("auto", "videos", "clips"):
        raise InputError(f"unknown layout '{layout}'", where="layout", cure="known are auto, videos, clips")
    table = find_table(read_workbook(annotations), _INTERVAL, _FURTHER, sheet="label")
    types = _types(table, kind)
    if "type" not in table.fields:  # the table of micro-expressions, whose classes are known
        check_emotions(table, "emotion", "casme3-emotion7")
        check_objective(table, "objective")
    other = "part_a_mae_clip" if kind == "micro" else "part_a_me_clip"
    avoid = ("part_c", "part_b", "depth", other)
    collector = Collector(name, "casme3-a", root, apex=apex, corrections=corrections, avoid=avoid)
    collector.describe(table)
    collector.facts["layout"] = layout
    given: set[str] = set()
    for row, its_type in zip(table.rows, types, strict=True):
        if its_type == kind:
            _add_part_a(collector, row, kind, layout, given)
    return collector.reading(annotations)


def _add_part_a(collector: Collector, row: Row, kind: str, layout: str, given: set[str]) -> None:
    subject, video = path_name(row, "subject"), path_name(row, "filename").casefold()
    plain = f"{subject}_{video}_{row.text('onset')}"
    clip_id = _unique(plain + ("-macro" if kind == "macro" else ""), given)
    row = collector.corrector.apply(clip_id, row)
    own_folder = f"{subject}_{video}_{row.text('onset')}"
    folders = {
        "videos": [(subject, video, "color"), (subject, video)],
        "clips": [("frame", own_folder), ("frame", plain), (own_folder,), (plain,)],
    }
    if layout == "auto":
        folders["auto"] = [*folders["videos"], *folders["clips"]]
    collector.add(
        clip_id=clip_id,
        subject=subject,
        recording=f"{subject}/{video}",
        folders=folders[layout],
        where=row.where,
        onset=row["onset"],
        apex=row["apex"],
        offset=row["offset"],
        fps=FPS,
        labels={
            **emotion_labels(row["emotion"], _EMOTIONS),
            **objective_labels(row["objective"], ("casme3-objective7",)),
            **({"expression-type": kind} if row.text("type") else {}),
        },
    )


def _types(table: Table, kind: str) -> list[str]:
    """Each row's type of expression. The table of micro-expressions has no such column."""
    if "type" not in table.fields:
        if kind == "macro":
            raise InputError(
                "this table has no column Expression type: it lists micro-expressions only",
                where=table.url,
                cure="give CAS(ME)3_part_A_v2.xls",
            )
        return ["micro"] * len(table.rows)
    unknown: Collection[str] = sorted({row.text("type") for row in table.rows if normalised(row["type"]) not in _TYPES})
    if unknown:
        raise InputError(
            f"unknown Expression type: {', '.join(repr(as_text(one)[:40]) for one in unknown[:10])}",
            where=table.url,
            cure="known are Micro-expression and Macro-expression",
        )
    return [_TYPES[normalised(row["type"])] for row in table.rows]


def _unique(clip_id: str, given: set[str]) -> str:
    """The id, with -2, -3 ... for further rows of one subject, video and onset."""
    chosen, number = clip_id, 2
    while chosen in given:
        chosen, number = f"{clip_id}-{number}", number + 1
    given.add(chosen)
    return chosen
