"""The inspection of a data set as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hsta.report.markup import Markup, table, tag
from hsta.report.page import POLICY
from hsta.report.style import CSS

_MOST = 500  # rows of a long table


def render_inspection(found: Mapping) -> str:
    """The page, from what `hsta.datasets.inspection.inspect_reading` gives."""
    sections = [
        _release(found),
        _classes(found),
        _listed(
            "Rows that give no clip",
            found["exclusions"],
            ("clip_id", "reason", "detail"),
            found["exclusions_by_reason"],
        ),
        _listed(
            "Remarks on clips that are kept", found["remarks"], ("clip_id", "code", "detail"), found["remarks_by_code"]
        ),
        _listed(
            "Corrections applied",
            found["corrections"],
            ("clip_id", "field", "as_distributed", "corrected", "source", "name"),
        ),
        _overlaps(found["overlaps"]),
        _sample(found["sample"]),
        _listed("Protocols", found["protocols"], ("name", "usable", "why")),
        _listed(
            "Folders of frames without a row", [{"folder": one} for one in found["folders_without_row"]], ("folder",)
        ),
        _listed(
            "Where this comes from",
            [{"what": key, "value": value} for key, value in found["facts"].items()],
            ("what", "value"),
        ),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{found['dataset']}: inspection"),
        tag("style", Markup(CSS)),
    )
    summary = f"{found['clips']} clips, {found['subjects']} subjects, {found['recordings']} recordings"
    top = tag(
        "header", tag("p", "Inspection", class_="eyebrow"), tag("h1", found["dataset"]), tag("p", summary), class_="top"
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', top, tag('main', sections)), lang='en')}\n"


def _release(found: Mapping) -> Markup:
    known = found["known_release"]
    if known is None:
        return tag(
            "section", tag("h2", "Known release"), tag("p", "No counts of a release of this data set are known.")
        )
    agrees = not known["differences"]
    verdict = f"This copy agrees with {known['release']}." if agrees else f"This copy differs from {known['release']}."
    listed = tag("ul", (tag("li", one) for one in known["differences"])) if not agrees else None
    figures = table("Figures", ("what", "expected", "found"), known["rows"], numeric=(1, 2))
    return tag(
        "section",
        tag("h2", "Known release"),
        tag("div", tag("p", verdict), listed, class_=f"banner {'note' if agrees else 'warn'}"),
        figures,
    )


def _classes(found: Mapping) -> Markup:
    tables = (
        table(
            name,
            ("class", "annotated rows", "usable clips"),
            [(one, *counts.values()) for one, counts in classes.items()],
            numeric=(1, 2),
        )
        for name, classes in found["label_sets"].items()
    )
    return tag("section", tag("h2", "Classes"), tag("div", tables, class_="grid"))


def _listed(
    title: str, rows: Sequence[Mapping], fields: Sequence[str], counts: Mapping[str, int] | None = None
) -> Markup | None:
    if not rows:
        return None
    summary = ", ".join(f"{name} {count}" for name, count in (counts or {}).items())
    shown = [[str(row[field]) for field in fields] for row in rows[:_MOST]]
    more = tag("p", f"and {len(rows) - _MOST} more, in inspection.json") if len(rows) > _MOST else None
    return tag(
        "section",
        tag("h2", title),
        tag("p", summary, class_="lead") if summary else None,
        table("", fields, shown),
        more,
    )


def _overlaps(overlaps: Sequence[Mapping]) -> Markup | None:
    rows = [
        {"recording": one["recording"], "clips": ", ".join(one["clips"]), "frames": f"{one['first']} to {one['last']}"}
        for one in overlaps
    ]
    return _listed("Clips with frames in common", rows, ("recording", "clips", "frames"))


def _sample(sample: Mapping) -> Markup | None:
    if not sample["clips"]:
        return None
    parts = [
        tag("p", f"The onset frames of {sample['clips']} clips were read.", class_="lead"),
        table("Sizes", ("size", "frames"), list(sample["sizes"].items()), numeric=(1,)),
    ]
    if sample["problems"]:
        parts.append(table("Problems", ("clip", "file", "problem"), [list(one.values()) for one in sample["problems"]]))
    if sample["duplicates"]:
        parts.append(
            table("The same file under several names", ("clips",), [[", ".join(one)] for one in sample["duplicates"]])
        )
    if sample["near_duplicates"]:
        rows = [[", ".join(one["clips"]), one["mean_difference"]] for one in sample["near_duplicates"]]
        parts.append(
            table("Nearly the same picture of different subjects", ("clips", "mean difference"), rows, numeric=(1,))
        )
    return tag("section", tag("h2", "Sampled frames"), parts)
