"""From a prediction log to every number of a report: the content of a run's ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hsta import storage
from hsta.errors import InputError
from hsta.evaluation.metrics import METRICS, absent_class_warnings, confusion_matrix, per_class, scores
from hsta.evaluation.predictions import check_predictions
from hsta.evaluation.splits import Split
from hsta.evaluation.statistics import RESAMPLES, floors, over_seeds, subject_bootstrap, subject_confusions

SCHEMA_VERSION = 1


def evaluate(
    predictions: pd.DataFrame,
    *,
    split: Split,
    classes: Sequence[str],
    seeds: Sequence[int] = (0,),
    epoch_rule: str,
    audit: Mapping,
    data: Mapping,
    run: Mapping,
    failures: Mapping[str, str] | None = None,
    curves: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    resamples: int = RESAMPLES,
) -> dict:
    """Score a prediction log. The result is JSON, and the same for the same log in any order.

    A fold is complete when each of its test clips is predicted once under every seed. ``pooled``, ``interval`` and
    ``seeds`` have values only when all folds are complete: a part of a benchmark is not a benchmark. The headline is
    the mean over seeds of the pooled score of each seed; the confusion matrix sums the seeds; per-class figures are
    means over seeds.

    Args:
        predictions: as `read_predictions` gives it.
        split: whose test clips have to be predicted; it names protocol and label set.
        classes: of the label set, in order.
        seeds: that were to be run.
        epoch_rule: in words, such as "12 epochs, fixed".
        audit: `AuditReport.to_dict()`.
        data: facts of the prepared data: ``recipe, manifest_sha256, rejected`` ... ``clips, subjects, datasets`` and
            ``classes`` are counted from the log and cannot be given.
        run: facts of the run: ``name, created, commit, config_hash, wall_seconds, versions, hardware`` ...
        failures: cause by name of a fold that ended without predictions.
        curves: by fold: ``epoch`` and one list of the same length for each quantity, such as ``loss``.
        resamples: of the subject bootstrap.

    Raises:
        InputError: a prediction that the split does not ask for, or see `check_predictions`.
    """
    check_predictions(predictions, classes)
    _check_asked_for(predictions, split, seeds)
    counted = {"datasets", "clips", "subjects", "classes"} & set(data)
    if counted:
        raise InputError(f"{', '.join(sorted(counted))} are counted from the log", where="data", cure="leave them out")
    frame = predictions.sort_values(["seed", "dataset", "subject", "clip_id"], ignore_index=True)
    folds = _folds(frame, split, seeds, failures or {})
    complete = folds["complete"] == folds["total"]
    size = (len(classes), len(classes))
    by_seed = {
        seed: confusion_matrix(part["truth"].to_list(), part["prediction"].to_list(), classes)
        for seed, part in frame.groupby("seed", sort=True)
    }
    summed = sum(by_seed.values(), np.zeros(size, np.int64))
    clips = frame.drop_duplicates(["dataset", "clip_id"])
    support = clips["truth"].value_counts().reindex(list(classes), fill_value=0)
    warnings = absent_class_warnings(summed, classes) if len(frame) else []
    per_dataset = _per_dataset(frame, classes)
    if len(per_dataset) > 1:
        for row in per_dataset:
            warnings += row["warnings"]
    pooled: dict = dict.fromkeys(METRICS)
    interval: dict = dict.fromkeys(METRICS)
    over: dict = dict.fromkeys(METRICS)
    if complete:
        values = {seed: scores(matrix).to_dict() for seed, matrix in by_seed.items()}
        over = {name: over_seeds({seed: value[name] for seed, value in values.items()}) for name in METRICS}
        pooled = {name: over[name]["mean"] for name in METRICS}
        interval = {name: list(pair) for name, pair in subject_bootstrap(frame, classes, resamples=resamples).items()}
    else:
        warnings.insert(0, f"{folds['complete']} of {folds['total']} folds are complete: there is no headline score")
    subject_keys = set(zip(clips["dataset"], clips["subject"], strict=True))
    return _plain(
        {
            "schema": SCHEMA_VERSION,
            "run": dict(run),
            "data": {
                "datasets": sorted(set(clips["dataset"])),
                "clips": len(clips),
                "subjects": len(subject_keys),
                "classes": {label: int(count) for label, count in support.items()},
                **data,
            },
            "protocol": {
                "name": split.protocol,
                "label_set": split.label_set,
                "classes": list(classes),
                "split_sha256": split.sha256,
                "epoch_rule": epoch_rule,
                "seeds": list(seeds),
            },
            "folds": folds,
            "pooled": pooled,
            "interval": interval,
            "interval_method": f"95 %, {resamples:,} bootstrap resamples of {len(subject_keys)} subjects",
            "seeds": over,
            "per_class": _per_class(by_seed, classes),
            "per_subject": _per_subject(frame, classes),
            "per_dataset": per_dataset,
            "confusion": summed,
            "floors": floors(support.to_list()) if len(frame) else None,
            "audit": dict(audit),
            "curves": {
                name: {key: list(column) for key, column in curve.items()} for name, curve in (curves or {}).items()
            },
            "warnings": warnings,
        }
    )


def write_results(url: str, results: Mapping) -> None:
    """Write results as JSON, atomically."""
    storage.write_json(url, results)


def read_results(url: str) -> dict:
    """Read a run's results. Raises InputError when they are missing or of another version."""
    try:
        results = storage.read_json(url)
    except FileNotFoundError:
        raise InputError(
            "the results are not there", where=url, cure="run python -m workflows.evaluate first"
        ) from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA_VERSION:
        raise InputError(
            "these are no results of this version", where=url, cure="run python -m workflows.evaluate again"
        )
    return results


def _check_asked_for(frame: pd.DataFrame, split: Split, seeds: Sequence[int]) -> None:
    """Every prediction must be one that the split asks for; clip ids, not positions, say which."""
    wanted = {key: fold.name for fold in split.folds for key in fold.test}
    for number, row in enumerate(frame[["dataset", "clip_id", "fold", "seed"]].itertuples(index=False)):
        place = f"prediction log, row {number} (clip {row.dataset}/{row.clip_id}, seed {row.seed})"
        fold = wanted.get((row.dataset, row.clip_id))
        if fold is None:
            raise InputError(
                "the split does not test this clip", where=place, cure="evaluate with the run's own split file"
            )
        if fold != row.fold:
            raise InputError(
                f"was scored in fold {row.fold} but is tested in {fold}", where=place, cure="run these folds again"
            )
        if row.seed not in seeds:
            listed = ", ".join(map(str, seeds))
            raise InputError(f"seed {row.seed} is not one of {listed}", where=place, cure="give all seeds of the run")


def _folds(frame: pd.DataFrame, split: Split, seeds: Sequence[int], failures: Mapping[str, str]) -> dict:
    """Complete and total folds; for each one that is not complete its cause."""
    done = frame.groupby("fold").size().to_dict()
    failed = []
    for fold in split.folds:
        due, found = len(fold.test) * len(seeds), done.get(fold.name, 0)
        if found < due:
            failed.append(
                {"fold": fold.name, "cause": failures.get(fold.name, f"{due - found} of {due} predictions are missing")}
            )
    return {"complete": len(split.folds) - len(failed), "total": len(split.folds), "failed": failed}


def _per_class(by_seed: Mapping[int, np.ndarray], classes: Sequence[str]) -> list[dict]:
    """Means over seeds; a precision or recall that is undefined under some seed is averaged over the others."""
    tables = [per_class(matrix, classes) for matrix in by_seed.values()]
    rows = []
    for versions in zip(*tables, strict=True):
        row = {"label": versions[0]["label"]}
        for name in ("precision", "recall", "f1", "predicted"):
            defined = [version[name] for version in versions if version[name] is not None]
            row[name] = sum(defined) / len(defined) if defined else None
        rows.append({**row, "support": max(version["support"] for version in versions)})
    return rows


def _per_subject(frame: pd.DataFrame, classes: Sequence[str]) -> list[dict]:
    """Clips, right answers a seed and accuracy of each held-out subject, and its clips of each class."""
    if frame.empty:
        return []
    counts, subjects, seeds = subject_confusions(frame, classes)
    unique = frame.drop_duplicates(["dataset", "clip_id"]).groupby(["dataset", "subject"])
    clips = unique.size()
    truths = unique["truth"].value_counts()
    rows = []
    for number, (dataset, subject) in enumerate(subjects):
        matrix = counts[:, number].sum(0)
        rows.append(
            {
                "dataset": dataset,
                "subject": subject,
                "clips": int(clips[dataset, subject]),
                "correct": float(np.trace(matrix) / len(seeds)),
                "acc": float(np.trace(matrix) / matrix.sum()),
                "classes": {label: int(truths.get((dataset, subject, label), 0)) for label in classes},
            }
        )
    return rows


def _per_dataset(frame: pd.DataFrame, classes: Sequence[str]) -> list[dict]:
    """The pooled scores of each data set's clips, from the same predictions, mean over seeds."""
    rows = []
    for dataset, part in frame.groupby("dataset", sort=True):
        counts, subjects, _ = subject_confusions(part, classes)
        matrices = counts.sum(1)
        result = scores(matrices)
        rows.append(
            {
                "dataset": dataset,
                "clips": int(part["clip_id"].nunique()),
                "subjects": len(subjects),
                **{name: float(np.mean(getattr(result, name))) for name in METRICS},
                "warnings": absent_class_warnings(matrices.sum(0), classes, of=dataset),
            }
        )
    return rows


def _plain(value):
    """Numbers, lists and dicts that JSON can hold; a figure that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
