"""The whole page, and writing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hsta import storage
from hsta.errors import InputError
from hsta.evaluation.results import SCHEMA_VERSION
from hsta.report import appendix, sections
from hsta.report.markup import Markup, tag
from hsta.report.samples import Sample
from hsta.report.style import CSS
from hsta.report.text import count, moment, score

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_NAVIGATION = {
    "result": "Result",
    "classes": "Classes",
    "subjects": "Subjects",
    "datasets": "Data sets",
    "training": "Training",
    "samples": "Samples",
    "audit": "Audit",
    "annotations": "Annotations",
    "rejected": "Rejected",
    "data": "Data",
    "run": "Run",
    "recompute": "Compute it again",
    "limits": "Limits",
}


def render(results: Mapping, *, samples: Sequence[Sample] = ()) -> str:
    """The report as one HTML page: no script, no request to anywhere (its own policy forbids both).

    Args:
        results: as `hsta.evaluation.results.evaluate` makes them. A partial set gets a banner with the causes and no
            headline.
        samples: clips to show with their flow.

    Raises:
        InputError: results of another version.
    """
    if results.get("schema") != SCHEMA_VERSION:
        raise InputError(
            "these are no results of this version", where="results", cure="run python -m workflows.evaluate again"
        )
    parts = {
        "result": sections.headline(results),
        "classes": sections.confusion_and_classes(results) if results["per_class"] else None,
        "subjects": sections.subjects(results) if results["per_subject"] else None,
        "datasets": sections.datasets(results),
        "training": sections.training(results),
        "samples": appendix.samples(samples),
        "audit": sections.audit(results),
        "annotations": appendix.annotations(results),
        "rejected": appendix.rejected(results),
        "data": appendix.data(results),
        "run": appendix.run(results),
        "limits": appendix.limits(results),
    }
    present = {key for key, part in parts.items() if part is not None} | {"recompute"}
    links = (tag("li", tag("a", name, href=f"#{key}")) for key, name in _NAVIGATION.items() if key in present)
    name = str(results["run"].get("name", "run"))
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", f"{name}: HSTA evaluation report"),
            tag("style", Markup(CSS)),
        ),
        tag(
            "body",
            _head(results, name, tag("nav", tag("ul", links), aria_label="Contents")),
            tag("main", parts.values()),
            tag("footer", "HSTA, micro-expression recognition. This page holds everything it shows."),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def write_report(url: str, html: str) -> None:
    """Write the page, atomically. Raises InputError when there is no write access."""
    try:
        storage.write_bytes(url, html.encode())
    except OSError as error:
        raise InputError(f"cannot write the report: {error}", where=url, cure="grant write access") from error


def _head(results: Mapping, name: str, navigation: Markup) -> Markup:
    """Title, what was measured how, and everything a reader must know before the first number."""
    facts, protocol, folds, audit = results["data"], results["protocol"], results["folds"], results["audit"]
    uf1 = results["pooled"]["uf1"]
    complete = folds["complete"] == folds["total"]
    chips = []
    if uf1 is not None:
        low, high = results["interval"]["uf1"]
        chips.append(("", f"UF1 {score(uf1)} ({score(low)} to {score(high)})"))
    chips += [
        ("good" if complete else "bad", f"folds {folds['complete']}/{folds['total']}"),
        _audit_chip(audit),
        ("", f"protocol {protocol['name']}"),
        ("", f"label set {protocol['label_set']}"),
        ("", count(len(protocol["seeds"]), "seed")),
    ]
    created = results["run"].get("created")
    described = (
        f"{count(facts['clips'], 'clip')} of {count(facts['subjects'], 'subject')} from {', '.join(facts['datasets'])}"
    )
    if not complete:
        described = f"{count(facts['clips'], 'clip')} predicted so far"
    return tag(
        "header",
        tag("p", "HSTA evaluation report", class_="eyebrow"),
        tag("h1", name),
        tag("p", described, f"; {moment(created)}" if created else None, class_="muted"),
        tag("ul", (tag("li", text, class_=kind or None) for kind, text in chips), class_="chips"),
        sections.incomplete(results),
        _audit_banner(audit),
        sections.warnings(results) if complete else None,
        navigation,
        class_="top",
    )


def _audit_chip(audit: Mapping) -> tuple[str, str]:
    if audit.get("passed") is None:
        return "warn", "leakage not audited"
    if not audit["passed"]:
        return "bad", "leakage audit failed"
    if audit.get("subject_independent") is False:
        return "warn", "not subject-independent"
    return "good", "leakage audit passed"


def _audit_banner(audit: Mapping) -> Markup | None:
    kind, text = _audit_chip(audit)
    if kind == "good":
        return None
    return tag(
        "div", tag("p", tag("strong", text.capitalize())), tag("p", audit.get("summary", "")), class_=f"banner {kind}"
    )
