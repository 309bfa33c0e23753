"""What the results say: scores, confusion, classes, subjects, data sets, training."""

from __future__ import annotations

from collections.abc import Mapping

from hsta.report import charts
from hsta.report.markup import Markup, figure, join, table, tag
from hsta.report.text import METRIC_NAMES, count, score

LONG_TABLE = 40
CURVE_NAMES = {
    "loss": "Training loss",
    "accuracy": "Training accuracy",
    "lr": "Learning rate",
    "validation_loss": "Inner validation loss",
    "validation_uf1": "Inner validation UF1",
}


def section(key: str, title: str, *content: object, lead: str | None = None) -> Markup:
    """A part of the page with an anchor."""
    return tag(
        "section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *content, id=key, aria_label=title
    )


def headline(results: Mapping) -> Markup | None:
    """The four pooled scores with intervals and floors, or nothing while folds are missing."""
    if results["pooled"]["uf1"] is None:
        return None
    seeds = results["seeds"]["uf1"]["n"]
    rows = []
    for metric, (short, long) in METRIC_NAMES.items():
        low, high = results["interval"][metric]
        marks = {floor: results["floors"][floor][metric] for floor in ("majority", "random")}
        spread = results["seeds"][metric]
        over = f", sd over {seeds} seeds {score(spread['sd'])}" if seeds > 1 else ""
        rows.append(
            tag(
                "div",
                tag("div", tag("span", short, tag("small", long), class_="name")),
                tag(
                    "div",
                    tag("span", score(results["pooled"][metric]), class_="value"),
                    tag(
                        "span",
                        f"95 % interval {score(low)} to {score(high)}{over}; majority {score(marks['majority'])}, "
                        f"random {score(marks['random'])}",
                        class_="range",
                    ),
                    charts.score_strip(short, results["pooled"][metric], (low, high), marks),
                ),
                class_="score headline" if metric == "uf1" else "score",
            )
        )
    how = "Mean over seeds of the scores pooled" if seeds > 1 else "Pooled"
    return section(
        "result",
        "Result",
        tag("div", rows, class_="scores"),
        tag(
            "div", (tag("span", text) for text in ("0", "0.25", "0.5", "0.75", "1")), class_="scale", aria_hidden="true"
        ),
        charts.legend(
            ("interval", "95 % interval"),
            ("mark majority", "always the majority class"),
            ("mark random", "random guess"),
        ),
        lead=f"{how} over all {results['folds']['total']} folds from confusion counts, never averaged over folds. "
        f"Interval: {results['interval_method']}.",
    )


def confusion_and_classes(results: Mapping) -> Markup:
    """The confusion matrix beside precision, recall, F1 and support of each class."""
    classes = results["protocol"]["classes"]
    seeds = len(results["protocol"]["seeds"])
    rows = [
        (
            row["label"],
            f"{row['support']:,}",
            score(row["precision"]),
            score(row["recall"]),
            score(row["f1"]),
            charts.bar(row["f1"], of=f"F1 of {row['label']}"),
        )
        for row in results["per_class"]
    ]
    note = "Counts and share of each true class." + (f" Sum over {seeds} seeds." if seeds > 1 else "")
    return section(
        "classes",
        "Classes",
        tag(
            "div",
            figure("Confusion matrix", charts.confusion_matrix(results["confusion"], classes), note=note),
            tag(
                "div",
                table(
                    "Each class counts alike in UF1 and UAR, however few its clips (support)."
                    + (" Precision, recall and F1 are means over seeds." if seeds > 1 else ""),
                    ("class", "support", "precision", "recall", "F1", ""),
                    rows,
                    numeric=(1, 2, 3, 4),
                    bars=(5,),
                    optional=(5,),
                ),
            ),
            class_="split",
        ),
        lead="The predictions so far. These are no benchmark figures." if _partial(results) else None,
    )


def subjects(results: Mapping) -> Markup:
    """Accuracy of each held-out subject as columns and as a table."""
    rows = results["per_subject"]
    several = len({row["dataset"] for row in rows}) > 1
    names = [f"{row['dataset']}/{row['subject']}" if several else row["subject"] for row in rows]
    shares = list(zip(names, (row["acc"] for row in rows), strict=True))
    listing = table(
        "Clips of each held-out subject and how many were recognised"
        + (" (mean over seeds)." if len(results["protocol"]["seeds"]) > 1 else "."),
        ("subject", "clips", "right", "accuracy", "", "clips by class"),
        (
            (
                name,
                row["clips"],
                f"{row['correct']:g}" if row["correct"] == int(row["correct"]) else f"{row['correct']:.1f}",
                f"{row['acc']:.1%}",
                charts.bar(row["acc"], of=f"accuracy of {name}"),
                ", ".join(f"{label} {number}" for label, number in row["classes"].items() if number),
            )
            for name, row in zip(names, rows, strict=True)
        ),
        numeric=(1, 2, 3),
        bars=(4,),
        optional=(5,),
    )
    if len(rows) > LONG_TABLE:
        listing = tag("details", tag("summary", f"All {len(rows)} subjects"), listing)
    overall = None if _partial(results) else results["pooled"]["acc"]
    return section(
        "subjects",
        "Subjects",
        figure(
            "Accuracy by held-out subject",
            charts.columns(shares, title="Accuracy by held-out subject, highest first", line=overall),
            charts.legend(("mark-line", f"all clips: {overall:.1%}")) if overall is not None else None,
            note="0 to 100 %, highest first. A subject with few clips moves in large steps.",
        ),
        listing,
    )


def datasets(results: Mapping) -> Markup | None:
    """Scores of each data set's part of the same predictions, where there are several."""
    rows = results["per_dataset"]
    if len(rows) < 2 or results["pooled"]["uf1"] is None:
        return None
    return section(
        "datasets",
        "Data sets",
        table(
            "Each data set's clips alone, from the same folds: training stays on all.",
            ("data set", "clips", "subjects", *(short for short, _ in METRIC_NAMES.values())),
            (
                (row["dataset"], row["clips"], row["subjects"], *(score(row[metric]) for metric in METRIC_NAMES))
                for row in rows
            ),
            numeric=tuple(range(1, 7)),
        ),
    )


def training(results: Mapping) -> Markup | None:
    """Curves over epochs, one chart for each quantity, all folds in each."""
    curves = results["curves"]
    names = list(dict.fromkeys(name for curve in curves.values() for name in curve if name != "epoch"))
    if not names:
        return None
    pictures = []
    for name in names:
        series = {fold: (curve["epoch"], curve[name]) for fold, curve in curves.items() if name in curve}
        title = CURVE_NAMES.get(name, name.replace("_", " ").capitalize())
        share = any(word in name for word in ("accuracy", "uf1", "uar"))
        pictures.append(figure(title, charts.curves(series, title=f"{title} by epoch", unit_interval=share)))
    return section(
        "training",
        "Training",
        tag("div", pictures, class_="grid"),
        charts.legend(("fold-line", "one training run"), ("median-line", "median")) if len(curves) > 1 else None,
        lead=f"{count(len(curves), 'training run')}, scored on their training clips. "
        f"Epoch rule: {results['protocol']['epoch_rule']}.",
    )


def audit(results: Mapping) -> Markup:
    """What the leakage audit checked and found."""
    facts = results["audit"]
    checks = facts.get("checks", ())
    listing = table(
        "Checked for every fold before it started.",
        ("check", "rule", "outcome"),
        ((check["name"], check["rule"], _outcome(check["made"], check["findings"])) for check in checks),
    )
    found = facts.get("findings", ())
    return section(
        "audit",
        "Leakage audit",
        listing if checks else None,
        tag("ul", (tag("li", finding["message"]) for finding in found)) if found else None,
        lead=facts.get("summary", "") + ".",
    )


def _partial(results: Mapping) -> bool:
    return results["folds"]["complete"] < results["folds"]["total"]


def _outcome(made: bool, findings: int) -> Markup:
    if not made:
        return tag("span", "not checked", class_="verdict")
    if findings:
        return tag("span", count(findings, "finding"), class_="verdict bad")
    return tag("span", "none found", class_="verdict good")


def warnings(results: Mapping) -> Markup | None:
    """Sentences the evaluation attached to its numbers."""
    if not results["warnings"]:
        return None
    return tag(
        "div",
        tag("p", tag("strong", "To be read with the numbers")),
        tag("ul", (tag("li", text) for text in results["warnings"])),
        class_="banner warn",
    )


def incomplete(results: Mapping) -> Markup | None:
    """Why there is no headline."""
    folds = results["folds"]
    if not _partial(results):
        return None
    return join(
        tag(
            "div",
            tag("p", tag("strong", f"Incomplete: {folds['complete']}/{folds['total']} folds")),
            tag(
                "p",
                "A part of a benchmark is not a benchmark: no headline score is given. "
                "The same command completes the set.",
            ),
            tag("ul", (tag("li", tag("code", failed["fold"]), f": {failed['cause']}") for failed in folds["failed"])),
            class_="banner bad",
        )
    )
