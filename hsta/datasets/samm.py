"""SAMM micro-movements (Davison et al. 2018): ``SAMM/006/006_1_2/006_05562.jpg``, grayscale, 200 fps.

The frame number is the trailing integer of a file's name, padded to four digits in some clips and to five in others.
"""

from __future__ import annotations

from hsta.datasets.labels import check_emotions, check_objective, emotion_labels, objective_labels
from hsta.datasets.listing import Listing
from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import find_table, read_workbook
from hsta.errors import InputError

FPS = 200.0
FRAMES = {"raw": ("samm_crop*", "cropped*", "samm_longvideos*"), "cropped": ("samm_longvideos*",)}
COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("Onset Frame", "Onset"),
    "apex": ("Apex Frame", "Apex"),
    "offset": ("Offset Frame", "Offset"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
LABEL_SETS = ("samm-emotion5", "samm-emotion8")


def read_samm(
    annotations: str | None,
    root: str | Listing | None,
    *,
    frames: str = "raw",
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read SAMM's micro-movements from ``SAMM_Micro_FACS_Codes_v2.xlsx`` (header in row 14, or in row 1 of some
    copies).

    Two clips have an apex outside their interval as distributed (028_4_1, 032_3_1): excluded unless ``apex`` is "valid"
    or "midpoint", or corrections are named; the public copies disagree about the right value.

    Args:
        frames: "raw" or "cropped" (``SAMM_CROP``) folders below the root.

    Labels: samm-emotion5, samm-emotion8, objective5, objective7. The recording is subject and stimulus, so that clips
    of one take stay together and meet those of SAMM Long Videos.
    """
    if annotations is None:
        raise InputError(
            "samm needs its annotation file", where="annotations", cure="give SAMM_Micro_FACS_Codes_v2.xlsx"
        )
    if frames not in FRAMES:
        raise InputError(f"unknown frames '{frames}'", where="frames", cure=f"known are {', '.join(FRAMES)}")
    optional = {"objective": ("Objective Classes", "Objective Class")}
    table = find_table(read_workbook(annotations), COLUMNS, optional, sheet="MICRO_ONLY")
    check_emotions(table, "emotion", "samm-emotion8")
    check_objective(table, "objective")
    prefer = ("samm_crop",) if frames == "cropped" else ()
    collector = Collector("samm", "samm", root, apex=apex, corrections=corrections, prefer=prefer, avoid=FRAMES[frames])
    collector.describe(table)
    collector.facts["frames_variant"] = frames
    for row in table.rows:
        subject, name = padded(row, "subject", 3), path_name(row, "filename")
        row = collector.corrector.apply(name, row)
        collector.add(
            clip_id=name,
            subject=subject,
            recording=stimulus(name),
            folders=[(subject, name)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=FPS,
            labels={
                **emotion_labels(row["emotion"], LABEL_SETS),
                **objective_labels(row["objective"], ("objective5", "objective7")),
            },
        )
    return collector.reading(annotations)


def stimulus(name: str) -> str:
    """``006_1_2`` (subject, stimulus, number) to ``006_1``, the long video; another name as it is."""
    parts = name.split("_")
    return "_".join(parts[:2]) if len(parts) == 3 and all(part.isdigit() for part in parts) else name
