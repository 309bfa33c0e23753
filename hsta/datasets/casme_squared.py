"""CAS(ME)^2 (Qu et al. 2018), part A: long videos of 22 subjects with micro- and macro-expressions, 30 fps.

``CAS(ME)^2code_final.xlsx`` has no header. Sheet 1 lists the expressions; sheet "naming rule1" maps a subject's number
to its folder (``s15``), sheet "naming rule2" a video's name to its four-digit code. Frames:
``rawpic/s15/15_0101disgustingteeth/img1.jpg``.
"""

from __future__ import annotations

import re

from hsta.datasets.reading import Collector, Reading, path_name
from hsta.datasets.tables import Workbook, as_integer, as_text, headless_table, normalised, read_workbook
from hsta.errors import InputError

FIELDS = ("subject", "filename", "onset", "apex", "offset", "aus", "emotion", "type", "self_report")
_TYPES = {"microexpression": "micro", "macroexpression": "macro"}


def read_casme_squared(
    annotations: str | None,
    root: str | None,
    *,
    expression: str = "both",
    apex: str = "annotated",
    corrections: str = "",
) -> Reading:
    """Read CAS(ME)^2's expressions. An offset of 0 means that none is annotated: the owner's apex ends the clip,
    remarked.

    Args:
        expression: "micro", "macro" or "both".

    Labels: expression-type; the emotion as written, lower case, under ``casme-squared-emotion``.
    """
    if annotations is None:
        raise InputError(
            "casme-squared needs its annotation file", where="annotations", cure="give CAS(ME)^2code_final.xlsx"
        )
    if expression not in ("micro", "macro", "both"):
        raise InputError(f"unknown expression '{expression}'", where="expression", cure="known are micro, macro, both")
    workbook = read_workbook(annotations)
    subjects, videos = _naming(workbook)
    table = headless_table(workbook, workbook.sheets[0], FIELDS)
    collector = Collector(
        "casme-squared", "casme-squared", root, apex=apex, corrections=corrections, avoid=("cropped", "selectedpic")
    )
    collector.describe(table)
    collector.facts["expression"] = expression
    by_start = {}
    for folder in collector.eligible():
        start = re.match(r"[0-9]+_[0-9]{4}", folder.path.rpartition("/")[2])
        if start:
            by_start[start[0]] = folder
    for row in table.rows:
        kind = _TYPES.get(normalised(row["type"]))
        if kind is None:
            raise InputError(
                f"unknown type '{row.text('type')[:40]}'",
                where=row.where,
                cure="known are micro-expression, macro-expression",
            )
        name, number = path_name(row, "filename"), as_integer(row["subject"])
        subject = subjects.get(number)
        video = name.partition("_")[0]
        code = videos.get(normalised(video))
        if expression not in (kind, "both"):
            continue
        clip_id = f"{subject or row.text('subject')}/{name}"
        label = row.text("emotion").casefold()
        labels = {"expression-type": kind, **({"casme-squared-emotion": label} if label else {})}
        if subject is None or code is None:
            missing = f"no subject {row.text('subject')}" if subject is None else f"no video {video}"
            collector.exclude(
                clip_id, subject or "", "unknown-name", f"{row.where}: {missing} in the naming rules", labels
            )
            continue
        if collector.repeats(clip_id):
            clip_id = f"{clip_id}-{row.text('onset')}"
        row = collector.corrector.apply(clip_id, row)
        if row.text("offset") == "0":
            collector.remark(clip_id, "no-offset", f"{row.where}: offset 0; the apex ends the clip")
            row = row.replaced(offset=row["apex"])
        start = f"{subject.lstrip('s')}_{code}"
        folder = by_start.get(start)
        collector.add(
            clip_id=clip_id,
            subject=subject,
            recording=f"{subject}/{video}",
            folders=[tuple(folder.path.split("/"))] if folder else [(subject, start)],
            where=row.where,
            onset=row["onset"],
            apex=row["apex"],
            offset=row["offset"],
            fps=30.0,
            labels=labels,
        )
    return collector.reading(annotations)


def _naming(workbook: Workbook) -> tuple[dict[int, str], dict[str, str]]:
    """Subject's folder by number, and video's code by name."""
    rules = {normalised(sheet.name): sheet for sheet in workbook.sheets}
    if not {"namingrule1", "namingrule2"} <= set(rules):
        raise InputError(
            f"no sheets 'naming rule1' and 'naming rule2'; found {', '.join(sheet.name for sheet in workbook.sheets)}",
            where=workbook.url,
            cure="give the workbook as distributed, not a CSV of one of its sheets",
        )
    subjects, videos = {}, {}
    for cells in rules["namingrule1"].rows:
        number = as_integer(cells[2]) if len(cells) > 2 else None
        if number is not None and re.fullmatch(r"s[0-9]+", as_text(cells[1])):
            subjects[number] = as_text(cells[1])
    for cells in rules["namingrule2"].rows:
        texts = [as_text(cell) for cell in cells[:2]]
        for code, video in (texts, texts[::-1]) if len(texts) == 2 else ():  # copies differ in the order of the two
            if re.fullmatch(r"[0-9]{3,4}", code) and not re.fullmatch(r"[0-9]*", video):
                videos[normalised(video)] = code.zfill(4)
    return subjects, videos
