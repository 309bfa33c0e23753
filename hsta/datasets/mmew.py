"""MMEW (Ben et al. 2021), micro-expressions: ``Micro_Expression/{emotion}/S01-01-001/1.jpg``, or subject first; 90 fps.

Releases differ in the folders above a clip's own; a clip's folder is found by its name.
"""

from __future__ import annotations

from hsta.datasets.labels import check_emotions, emotion, emotion_labels
from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import find_table, read_workbook
from hsta.errors import InputError

COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetFrame", "Onset"),
    "apex": ("ApexFrame", "Apex"),
    "offset": ("OffsetFrame", "Offset"),
    "emotion": ("Estimated Emotion", "Emotion"),
}


def read_mmew(annotations: str | None, root: str | None, *, apex: str = "annotated", corrections: str = "") -> Reading:
    """Read MMEW's micro-expressions from ``MMEW_Micro_Exp.xlsx``. Labels: mmew-emotion6, mmew-emotion7 (repression is
    others)."""
    if annotations is None:
        raise InputError("mmew needs its annotation file", where="annotations", cure="give MMEW_Micro_Exp.xlsx")
    table = find_table(read_workbook(annotations), COLUMNS)
    check_emotions(table, "emotion", "mmew-emotion7", also=("repression",))
    collector = Collector("mmew", "mmew", root, apex=apex, corrections=corrections, avoid=("macro_expression",))
    collector.describe(table)
    for row in table.rows:
        subject, name = padded(row, "subject", 2), path_name(row, "filename")
        row = collector.corrector.apply(name, row)
        said = "others" if emotion(row["emotion"]) == "repression" else row["emotion"]
        collector.add(
            clip_id=name,
            subject=subject,
            recording=name,
            folders=[(name,)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=90.0,
            labels=emotion_labels(said, ("mmew-emotion6", "mmew-emotion7")),
        )
    return collector.reading(annotations)
