"""DFME (Zhao et al. 2023): ``sub0003_01/00000.png``, frames from 0; 200, 300 or 500 fps, as the table says."""

from __future__ import annotations

from hsta.datasets.labels import check_emotions, emotion_labels
from hsta.datasets.reading import Collector, Reading, path_name
from hsta.datasets.tables import as_text, find_table, read_workbook
from hsta.errors import InputError

COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetFrame",),
    "apex": ("ApexFrame",),
    "offset": ("OffsetFrame",),
}
FURTHER = {"emotion": ("Emotion",), "fps": ("Fps",)}


def read_dfme(annotations: str | None, root: str | None, *, apex: str = "annotated", corrections: str = "") -> Reading:
    """Read one part of DFME (training, test A or test B; a test part may have no emotions). Label set:
    dfme-emotion7."""
    if annotations is None:
        raise InputError(
            "dfme needs its annotation file", where="annotations", cure="give the xlsx of one part of the release"
        )
    table = find_table(read_workbook(annotations), COLUMNS, FURTHER)
    if "emotion" in table.fields:
        check_emotions(table, "emotion", "dfme-emotion7")
    collector = Collector("dfme", "dfme", root, apex=apex, corrections=corrections)
    collector.describe(table)
    for row in table.rows:
        subject, name = path_name(row, "subject"), path_name(row, "filename")
        row = collector.corrector.apply(name, row)
        try:
            fps = float(as_text(row["fps"]) or "nan")
        except ValueError:
            fps = float("nan")
        collector.add(
            clip_id=name,
            subject=subject,
            recording=name,
            folders=[(name,)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=fps if 0 < fps < 100_000 else None,
            labels=emotion_labels(row["emotion"], ("dfme-emotion7",)),
        )
    return collector.reading(annotations)
