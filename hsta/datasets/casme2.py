"""CASME II (Yan et al. 2014): ``CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`` or ``Cropped/.../reg_img46.jpg``, 200
fps.

Three annotation files are about: ``CASME2-coding-20140508.xlsx``, a copy of 20190701 with other action units, three
other emotions and a column of objective classes, and one of 256 rows. Each reads the same way; the reading's facts say
which it was.
"""

from __future__ import annotations

from hsta.datasets.labels import check_emotions, check_objective, emotion_labels, objective_labels
from hsta.datasets.listing import Listing
from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import find_table, read_workbook
from hsta.errors import InputError

FPS = 200.0
FRAMES = {"raw": ("cropped*",), "cropped": ("casme2_raw*", "casme2-raw*", "raw*")}
COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetFrame", "Onset"),
    "apex": ("ApexFrame", "Apex", "ApexFrame1"),
    "offset": ("OffsetFrame", "Offset"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
OBJECTIVE = ("Objective Classes", "Objective Class")


def read_casme2(
    annotations: str | None,
    root: str | Listing | None,
    *,
    frames: str = "raw",
    objective: str = "",
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read CASME II.

    Args:
        frames: "raw" or "cropped" folders below the root.
        objective: path of ``CASME2-ObjectiveClasses.xlsx``; "" takes the annotation file's own column where it has one.
            The two differ on 37 clips, so the reading's facts name the source.

    Labels: casme2-emotion5, casme2-emotion7, and objective5, objective7 where objective classes are known.
    """
    if annotations is None:
        raise InputError(
            "casme2 needs its annotation file", where="annotations", cure="give CASME2-coding-20140508.xlsx"
        )
    if frames not in FRAMES:
        raise InputError(f"unknown frames '{frames}'", where="frames", cure=f"known are {', '.join(FRAMES)}")
    table = find_table(read_workbook(annotations), COLUMNS, {"objective": OBJECTIVE})
    check_emotions(table, "emotion", "casme2-emotion7")
    prefer = ("casme2_raw_selected",) if frames == "raw" else ("cropped",)
    collector = Collector(
        "casme2", "casme2", root, apex=apex, corrections=corrections, prefer=prefer, avoid=FRAMES[frames]
    )
    collector.describe(table)
    classes = _objective_classes(objective) if objective else None
    if classes is None and "objective" in table.fields:
        check_objective(table, "objective")
    collector.facts |= {
        "frames_variant": frames,
        "objective_classes": objective or (annotations if "objective" in table.fields else "none"),
    }
    for row in table.rows:
        subject, name = padded(row, "subject", 2), path_name(row, "filename")
        clip_id = f"sub{subject}/{name}"
        row = collector.corrector.apply(clip_id, row)
        objective_cell = row["objective"] if classes is None else classes.get((subject, name))
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=clip_id,
            folders=[(f"sub{subject}", name)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=FPS,
            labels={
                **emotion_labels(row["emotion"], ("casme2-emotion5", "casme2-emotion7")),
                **objective_labels(objective_cell, ("objective5", "objective7")),
            },
        )
    return collector.reading(annotations)


def _objective_classes(url: str) -> dict[tuple[str, str], object]:
    """Objective class by subject and file name, from the separate file."""
    columns = {"subject": ("Subject",), "filename": ("Filename",), "objective": OBJECTIVE}
    table = find_table(read_workbook(url), columns)
    check_objective(table, "objective")
    return {(padded(row, "subject", 2), path_name(row, "filename")): row["objective"] for row in table.rows}
