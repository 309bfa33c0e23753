"""Where the numbers come from: samples, rejected clips, data, configuration, environment, how to compute them again,
limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hsta.report import pictures
from hsta.report.markup import Markup, join, table, tag
from hsta.report.samples import Sample
from hsta.report.sections import section
from hsta.report.text import count, duration, flatten

REJECTED_SHOWN = 200
_COUNTED = ("datasets", "clips", "subjects", "classes", "rejected", "notes", "exclusions", "corrections")


def samples(shown: Sequence[Sample]) -> Markup | None:
    """Onset, apex and flow of some clips, all flows on one scale, with its legend."""
    if not shown:
        return None
    scale = pictures.common_scale([sample.flow for sample in shown])
    return section(
        "samples",
        "Sample clips",
        tag(
            "div",
            pictures.wheel(scale),
            tag(
                "p",
                f"Motion from onset to apex: the hue is the direction, as on the wheel; white is no motion, "
                f"full colour {scale:g} px of the aligned face or more.",
            ),
            class_="wheel-key",
        ),
        tag("div", (_sample(sample, scale) for sample in shown), class_="samples"),
        lead="As the model sees them: aligned by one transform a clip.",
    )


def _sample(sample: Sample, scale: float) -> Markup:
    right = sample.label == sample.prediction
    verdict = "recognised" if right else f"taken for {sample.prediction}"
    cells = (
        ("onset", pictures.face(sample.onset, alt=f"Onset frame of clip {sample.clip_id}")),
        ("apex", pictures.face(sample.apex, alt=f"Apex frame of clip {sample.clip_id}")),
        ("flow", pictures.flow_picture(sample.flow, scale, alt=f"Flow from onset to apex of clip {sample.clip_id}")),
    )
    film = None
    if sample.frames is not None:
        film = tag(
            "div", pictures.strip(sample.frames, alt=f"Frames of clip {sample.clip_id}, onset to offset"), class_="film"
        )
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", sample.clip_id),
            tag("span", f"{sample.label}: "),
            tag("span", verdict, class_=f"verdict {'good' if right else 'bad'}"),
        ),
        tag("div", (tag("div", picture, tag("span", name)) for name, picture in cells), class_="row"),
        film,
        class_="sample",
    )


def rejected(results: Mapping) -> Markup | None:
    """Clips that could not be prepared, with their reasons."""
    rows = results["data"].get("rejected")
    if rows is None:
        return None
    if not rows:
        return section(
            "rejected", "Rejected clips", tag("p", "None: every clip of the manifest was prepared.", class_="muted")
        )
    reasons = Counter(row["reason"] for row in rows)
    listing = table(
        "They took no part in training or test, and nothing was put in their place.",
        ("clip", "reason", "detail"),
        ((row["clip_id"], row["reason"], row.get("detail", "")) for row in rows[:REJECTED_SHOWN]),
    )
    more = len(rows) - REJECTED_SHOWN
    return section(
        "rejected",
        "Rejected clips",
        tag("ul", (tag("li", f"{reason}: {count(number, 'clip')}") for reason, number in reasons.most_common())),
        listing,
        tag("p", f"{more:,} more are listed in results.json.", class_="muted") if more > 0 else None,
        lead=f"{count(len(rows), 'clip')} could not be prepared.",
    )


def annotations(results: Mapping) -> Markup | None:
    """What became no clip when the annotations were read, and what was corrected in them, by whose authority."""
    excluded, corrected = (results["data"].get(name) or [] for name in ("exclusions", "corrections"))
    if not excluded and not corrected:
        return None
    parts = []
    if excluded:
        rows = ((row["clip_id"], row["reason"], row.get("detail", "")) for row in excluded[:REJECTED_SHOWN])
        parts.append(table("Rows of the annotations that give no clip.", ("clip", "reason", "detail"), rows))
    if corrected:
        names = ("clip_id", "field", "as_distributed", "corrected", "source")
        rows = (tuple(str(row[name]) for name in names) for row in corrected[:REJECTED_SHOWN])
        titles = ("clip", "field", "as distributed", "corrected", "source")
        parts.append(table("Corrections that were asked for by name.", titles, rows))
    more = sum(max(0, len(rows) - REJECTED_SHOWN) for rows in (excluded, corrected))
    return section(
        "annotations",
        "Exclusions and corrections",
        *parts,
        tag("p", f"{more:,} more are listed in results.json.", class_="muted") if more else None,
        lead=f"{count(len(excluded), 'row')} excluded, {count(len(corrected), 'value')} corrected.",
    )


def data(results: Mapping) -> Markup:
    """The data card: counts, hashes, recipe."""
    facts = results["data"]
    protocol = results["protocol"]
    rows = [
        ("data sets", ", ".join(facts["datasets"]) or "none"),
        ("clips", f"{facts['clips']:,} of {count(facts['subjects'], 'subject')}"),
        *((f"class {label}", f"{number:,}") for label, number in facts["classes"].items()),
        ("label set", protocol["label_set"]),
        ("protocol", protocol["name"]),
        ("split SHA-256", protocol["split_sha256"]),
        ("epoch rule", protocol["epoch_rule"]),
        ("seeds", ", ".join(map(str, protocol["seeds"]))),
        *flatten({key: value for key, value in facts.items() if key not in _COUNTED}),
    ]
    return section(
        "data", "Data and recipe", _facts("Counts, label set, protocol, and how the clips were prepared.", rows)
    )


def run(results: Mapping) -> Markup:
    """Where and with what the run was made, its configuration, and the command that computes every number again."""
    facts = dict(results["run"])
    configuration, versions = facts.pop("config", None), facts.pop("versions", None)
    recompute = facts.pop("recompute", "python -m workflows.evaluate --config RUN/config.yaml")
    if isinstance(facts.get("wall_seconds"), (int, float)):
        facts["wall time"] = duration(facts.pop("wall_seconds"))
    log = facts.get("prediction_log", "the run's predictions.parquet")
    parts = [_facts("The run and its machine.", flatten(facts))]
    if versions:
        parts.append(_facts("Versions.", flatten(versions)))
    if configuration:
        parts.append(
            tag(
                "details",
                tag("summary", "Configuration, resolved"),
                _facts("As saved with the run.", flatten(configuration)),
            )
        )
    return join(
        section("run", "Run and environment", *parts),
        section(
            "recompute",
            "Compute it again",
            tag("pre", recompute),
            tag(
                "p",
                "Every number on this page follows from the per-clip prediction log ",
                tag("code", log),
                " and the split file; no training is needed.",
            ),
        ),
    )


def limits(results: Mapping) -> Markup:
    """What the scores do not say."""
    notes = results["data"].get("notes", ())
    return section(
        "limits",
        "Limits of emotion inference",
        tag("ul", (tag("li", note) for note in notes)) if notes else None,
        tag(
            "p",
            "The classes are annotators' names for visible facial movements, elicited in a laboratory from few "
            "people. A score says how often those names were matched on these people; it does not say that a feeling, "
            "an intention or a lie was recognised. Facial movement and felt emotion are only loosely linked, and the "
            "link differs between persons, situations and cultures (Barrett et al. 2019, Psychological Science in the "
            "Public Interest 20(1)).",
        ),
        tag(
            "p",
            "Data sets are small and unbalanced in age, skin tone and origin; expect worse on people unlike those in "
            "them. Do not use the output to judge individuals: in hiring, education, policing, at borders, in court "
            "or in care. The European Union restricts emotion inference by law and prohibits it, with narrow "
            "exceptions, at the workplace and in education (Regulation (EU) 2024/1689, Article 5(1)(f)).",
        ),
    )


def _facts(caption: str, rows: Sequence[tuple[str, object]]) -> Markup:
    return table(caption, ("fact", "value"), rows, class_="facts")
