"""4DME (Li et al. 2022), gray micro-expression clips: ``gray_micro/{sub_ID}/{fold_name}/``.

The public reference of this format is incomplete: emotions may be several (``Surprise+Positive``) and are kept as
written, under ``4dme-emotion``, for label sets of the user's own; the frame rate is left open.
"""

from __future__ import annotations

from hsta.datasets.reading import Collector, Reading, path_name
from hsta.datasets.tables import find_table, read_workbook
from hsta.errors import InputError

COLUMNS = {
    "subject": ("sub_ID",),
    "filename": ("fold_name",),
    "onset": ("Onset",),
    "apex": ("Apex",),
    "offset": ("Offset",),
    "emotion": ("Emotion",),
}


def read_4dme(annotations: str | None, root: str | None, *, apex: str = "annotated", corrections: str = "") -> Reading:
    """Read 4DME's micro-expressions from ``4DME_Labelling_Micro_release v1.xlsx``."""
    if annotations is None:
        raise InputError(
            "4dme needs its annotation file", where="annotations", cure="give 4DME_Labelling_Micro_release v1.xlsx"
        )
    table = find_table(read_workbook(annotations), COLUMNS)
    collector = Collector("4dme", "4dme", root, apex=apex, corrections=corrections)
    collector.describe(table)
    for row in table.rows:
        subject, name = path_name(row, "subject"), path_name(row, "filename")
        clip_id = f"{subject}/{name}"
        row = collector.corrector.apply(clip_id, row)
        label = row.text("emotion")
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=clip_id,
            folders=[(subject, name)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=None,
            labels={"4dme-emotion": label} if label else {},
        )
    return collector.reading(annotations)
