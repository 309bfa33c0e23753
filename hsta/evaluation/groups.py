"""Dividing clips into k groups: by subject and stratified, or at random by clip."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from hsta.errors import InputError


def stratified_subject_groups(labels: Sequence[str], subjects: Sequence[str], count: int, *, seed: int) -> np.ndarray:
    """A group number for each clip, (n,) int64 in 0..count-1: no subject in two groups, classes spread as far as that
    allows.

    Greedy as scikit-learn's StratifiedGroupKFold, subjects of uneven class counts first.

    Raises:
        InputError: fewer subjects than groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(set(subjects)) < count:
        raise InputError(
            f"{len(set(subjects))} subjects cannot fill {count} folds", where="protocol", cure="use fewer folds"
        )
    numbers = np.empty(len(labels), np.int64)
    with (
        warnings.catch_warnings()
    ):  # a class with fewer clips than folds is no fault here: scores are pooled over folds
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        try:
            for number, (_, test) in enumerate(
                splitter.split(np.zeros(len(labels)), np.asarray(labels), np.asarray(subjects))
            ):
                numbers[test] = number
        except ValueError as error:
            raise InputError(f"cannot stratify: {error}", where="protocol", cure="use fewer folds or loso") from error
    return numbers


def random_groups(clips: int, count: int, *, seed: int) -> np.ndarray:
    """A group number for each clip, (n,) int64, groups as equal in size as can be, at random."""
    return np.random.default_rng(seed).permutation(np.arange(clips) % count)
