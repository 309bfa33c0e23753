"""CASME (Yan et al. 2013): ``CASME_raw_selected/sub01/EP01_5/EP01_5-101.jpg`` or ``Cropped/.../reg_EP01_5-101.jpg``, 60
fps.

Frame numbers are padded to three digits in part of the clips; they are read as numbers. The public reference of this
format is incomplete: emotions are kept as written, lower case, under ``casme-emotion``, for label sets of the user's
own.
"""

from __future__ import annotations

from hsta.datasets.reading import Collector, Reading, padded, path_name
from hsta.datasets.tables import find_table, read_workbook
from hsta.errors import InputError

FRAMES = {"raw": ("cropped*",), "cropped": ("casme_raw*", "raw*")}
COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetF", "OnsetFrame", "Onset"),
    "apex": ("ApexF1", "ApexF", "ApexFrame", "Apex"),
    "offset": ("OffsetF", "OffsetFrame", "Offset"),
    "emotion": ("Emotion", "Estimated Emotion"),
}


def read_casme(
    annotations: str | None, root: str | None, *, frames: str = "raw", apex: str = "annotated", corrections: str = ""
) -> Reading:
    """Read CASME from ``casme.xlsx``; the apex is ``ApexF1``, a second one (``ApexF2``) is remarked.

    Args:
        frames: "raw" or "cropped" folders below the root.
    """
    if annotations is None:
        raise InputError("casme needs its annotation file", where="annotations", cure="give casme.xlsx")
    if frames not in FRAMES:
        raise InputError(f"unknown frames '{frames}'", where="frames", cure=f"known are {', '.join(FRAMES)}")
    table = find_table(read_workbook(annotations), COLUMNS, {"second_apex": ("ApexF2",)})
    collector = Collector("casme", "casme", root, apex=apex, corrections=corrections, avoid=FRAMES[frames])
    collector.describe(table)
    for row in table.rows:
        subject, name = padded(row, "subject", 2), path_name(row, "filename")
        clip_id = f"sub{subject}/{name}"
        row = collector.corrector.apply(clip_id, row)
        second = row.text("second_apex")
        if second not in ("", "0", "/", row.text("apex")):
            collector.remark(clip_id, "second-apex", f"{row.where}: {second}")
        label = row.text("emotion").casefold()
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=clip_id,
            folders=[(f"sub{subject}", name), (f"sub{subject.lstrip('0')}", name)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=60.0,
            labels={"casme-emotion": label} if label else {},
        )
    return collector.reading(annotations)
