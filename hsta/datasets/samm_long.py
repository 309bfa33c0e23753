"""SAMM Long Videos (Yap et al. 2020): 147 videos of SAMM's subjects, macro- and micro-expressions, 200 fps.

``SAMM_LongVideos_V1_Release.xlsx`` (V2, V3): the table begins below ten rows, with or without a header. Frames:
``SAMM_longvideos/006_1/006_1_0001.jpg``. The people are SAMM's, hence the data set ``samm``; clip ids begin with
``long/``.
"""

from __future__ import annotations

from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import Table, find_table, headless_table, normalised, read_workbook
from hsta.errors import InputError

FIELDS = ("subject", "filename", "inducement", "onset", "apex", "offset", "duration", "type", "aus", "notes")
COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("Onset", "Onset Frame"),
    "apex": ("Apex", "Apex Frame"),
    "offset": ("Offset", "Offset Frame"),
    "type": ("Type", "Micro"),
}
_SKIP = 10


def read_samm_long(
    annotations: str | None,
    root: str | None,
    *,
    expression: str = "both",
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read SAMM Long Videos. Label set: expression-type.

    Args:
        expression: "micro", "macro" or "both".
    """
    if annotations is None:
        raise InputError(
            "samm-long needs its annotation file", where="annotations", cure="give SAMM_LongVideos_V3_Release.xlsx"
        )
    if expression not in ("micro", "macro", "both"):
        raise InputError(f"unknown expression '{expression}'", where="expression", cure="known are micro, macro, both")
    table = _table(annotations)
    collector = Collector("samm-long", "samm", root, apex=apex, corrections=corrections)
    collector.describe(table)
    collector.facts["expression"] = expression
    for row in table.rows:
        said = normalised(row["type"])
        kind = next((one for one in ("micro", "macro") if said.startswith(one)), None)
        if kind is None:
            raise InputError(
                f"unknown Type '{row.text('type')[:40]}'", where=row.where, cure="known are Micro - 1/2 and Macro"
            )
        if expression not in (kind, "both"):
            continue
        subject, name = padded(row, "subject", 3), path_name(row, "filename")
        video = "_".join(name.split("_")[:2])
        clip_id = f"long/{name}"
        if collector.repeats(clip_id):
            clip_id = f"{clip_id}-{row.text('onset')}"
        row = collector.corrector.apply(clip_id, row)
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=video,
            folders=[(video,)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=200.0,
            labels={"expression-type": kind},
        )
    return collector.reading(annotations)


def _table(annotations: str) -> Table:
    workbook = read_workbook(annotations)
    try:
        return find_table(workbook, COLUMNS)
    except InputError:
        if len(workbook.sheets[0].rows) <= _SKIP:
            raise
        return headless_table(workbook, workbook.sheets[0], FIELDS, skip=_SKIP)
