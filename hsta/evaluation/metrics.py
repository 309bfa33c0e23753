"""Pooled scores of the MEGC protocol, from confusion counts.

TP, FP and FN are summed over all folds first; F1_c = 2TP / (2TP + FP + FN); UF1 is the mean of F1_c over the classes
of the label set, UAR the mean of TP_c / n_c, ACC the share of right answers, WF1 the n_c-weighted mean of F1_c
(MEGC2019 organisers' definition). The label set fixes the number of classes: a class without truth counts as 0 in UF1
and UAR, never drops out. All functions work on confusion matrices of shape (..., C, C), rows truth, columns
prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hsta.errors import InputError

METRICS = ("uf1", "uar", "acc", "wf1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Unweighted F1, unweighted average recall, accuracy and weighted F1, each 0 to 1: floats, or arrays of one
    shape."""

    uf1: float | np.ndarray
    uar: float | np.ndarray
    acc: float | np.ndarray
    wf1: float | np.ndarray

    def to_dict(self) -> dict[str, float]:
        """The four figures of a single confusion matrix by name, as plain floats."""
        return {name: float(getattr(self, name)) for name in METRICS}


def class_codes(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Index of each label in ``classes``, (n,) int64. Raises InputError for labels that are not in the label set."""
    index = {name: code for code, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if label not in index})
    if unknown:
        raise InputError(
            f"unknown class {', '.join(repr(name) for name in unknown)}; the label set has {', '.join(classes)}",
            where="labels",
            cure="evaluate with the label set that the predictions were made for",
        )
    return np.fromiter((index[label] for label in labels), np.int64, count=len(labels))


def confusion_matrix(truth: Sequence[str], prediction: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Counts (C, C) int64, rows truth, columns prediction. Raises InputError for unknown classes or unequal lengths."""
    if len(truth) != len(prediction):
        raise InputError(
            f"{len(truth)} truths but {len(prediction)} predictions", where="labels", cure="give one for each clip"
        )
    count = len(classes)
    cells = class_codes(truth, classes) * count + class_codes(prediction, classes)
    return np.bincount(cells, minlength=count * count).reshape(count, count)


def scores(confusion: np.ndarray) -> Scores:
    """Pooled scores of confusion counts (..., C, C); leading axes are kept. Counts of nothing at all score 0."""
    confusion = np.asarray(confusion, np.float64)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, predicted = confusion.sum(-1), confusion.sum(-2)
    f1 = _ratio(2 * right, support + predicted)
    total = support.sum(-1)
    return Scores(
        uf1=f1.mean(-1),
        uar=_ratio(right, support).mean(-1),
        acc=_ratio(right.sum(-1), total),
        wf1=_ratio((f1 * support).sum(-1), total),
    )


def per_class(confusion: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """A row for each class: ``label, precision, recall, f1, support, predicted``.

    Precision is None where the class is never predicted, recall where it is never true; F1 is then 0.
    """
    confusion = np.asarray(confusion)
    right, support, predicted = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    f1 = _ratio(2 * right, support + predicted)
    return [
        {
            "label": label,
            "precision": float(right[c] / predicted[c]) if predicted[c] else None,
            "recall": float(right[c] / support[c]) if support[c] else None,
            "f1": float(f1[c]),
            "support": int(support[c]),
            "predicted": int(predicted[c]),
        }
        for c, label in enumerate(classes)
    ]


def absent_class_warnings(confusion: np.ndarray, classes: Sequence[str], *, of: str = "") -> list[str]:
    """A sentence for each class that has no true clip and so counts as 0 in UF1 and UAR. ``of`` names the part."""
    where = f" in {of}" if of else ""
    warnings = []
    for label, support, predicted in zip(classes, confusion.sum(1), confusion.sum(0), strict=True):
        if support == 0 and predicted == 0:
            warnings.append(f"class '{label}' is neither true nor predicted{where}: it counts as 0 in UF1 and UAR")
        elif support == 0:
            warnings.append(
                f"class '{label}' is predicted {int(predicted)} times but never true{where}: its recall is undefined "
                "and counts as 0 in UAR, its F1 is 0"
            )
    return warnings


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """``numerator / denominator``, 0 where the denominator is 0 (the numerator then is, too)."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=np.asarray(denominator) > 0)
