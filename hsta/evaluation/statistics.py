"""How far a score can be trusted: intervals over subjects, two runs compared, chance, and several seeds.

Clips of one person are not independent, so the subject is the unit that is resampled and exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hsta.errors import InputError
from hsta.evaluation.metrics import METRICS, class_codes, scores

RESAMPLES = 10_000
_BLOCK = 1_000_000  # confusion cells held at once


def subject_confusions(
    frame: pd.DataFrame, classes: Sequence[str]
) -> tuple[np.ndarray, list[tuple[str, str]], list[int]]:
    """Confusion counts by seed and subject.

    Returns:
        counts (seeds, subjects, C, C) int64, the subjects as (dataset, subject), and the seeds; both sorted.
    """
    count = len(classes)
    subjects = sorted(set(zip(frame["dataset"], frame["subject"], strict=True)))
    seeds = sorted(set(frame["seed"].tolist()))
    subject_index = {subject: number for number, subject in enumerate(subjects)}
    seed_index = {seed: number for number, seed in enumerate(seeds)}
    rows = np.array([subject_index[pair] for pair in zip(frame["dataset"], frame["subject"], strict=True)], np.int64)
    layers = np.array([seed_index[seed] for seed in frame["seed"].tolist()], np.int64)
    truth = class_codes(frame["truth"].to_list(), classes)
    prediction = class_codes(frame["prediction"].to_list(), classes)
    counts = np.zeros((len(seeds), len(subjects), count, count), np.int64)
    np.add.at(counts, (layers, rows, truth, prediction), 1)
    return counts, subjects, seeds


def subject_bootstrap(
    frame: pd.DataFrame, classes: Sequence[str], *, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile interval of each pooled score, by drawing the subjects with replacement.

    With several seeds each resample takes the same subjects under every seed, and its score is the mean over the
    seeds: the interval belongs to the reported mean. A class that no drawn subject shows counts as 0 there, as
    everywhere.

    Args:
        frame: a complete prediction log.

    Returns:
        (low, high) for uf1, uar, acc and wf1.
    """
    if frame.empty:
        raise InputError("there is no prediction to resample", where="prediction log", cure="run the folds first")
    counts, subjects, seeds = subject_confusions(frame, classes)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), size=resamples)
    flat = counts.transpose(1, 0, 2, 3).reshape(len(subjects), -1).astype(np.float64)
    step = max(1, _BLOCK // flat.shape[1])
    parts = []
    for start in range(0, resamples, step):
        resampled = drawn[start : start + step].astype(np.float64) @ flat
        result = scores(resampled.reshape(-1, len(seeds), len(classes), len(classes)))
        parts.append(np.stack([getattr(result, name).mean(-1) for name in METRICS]))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(np.concatenate(parts, axis=1), tails, axis=1)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(METRICS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs on the same folds.

    Attributes:
        metric: the score compared.
        first, second: its value for each run, mean over seeds; ``difference`` is first minus second.
        p_value: two-sided probability of a difference as large if the runs were exchangeable within each subject.
        permutations: exchanges tried; ``exact`` when these were all there are.
        subjects: number of subjects.
    """

    metric: str
    first: float
    second: float
    difference: float
    p_value: float
    permutations: int
    exact: bool
    subjects: int


def permutation_test(
    first: pd.DataFrame,
    second: pd.DataFrame,
    classes: Sequence[str],
    *,
    metric: str = "uf1",
    permutations: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two runs by exchanging their predictions subject by subject.

    Runs over all exchanges when there are no more than ``permutations``, else over as many random ones, the observed
    one counted in.

    Raises:
        InputError: an unknown metric, or runs that are not on the same clips, truths, folds and number of seeds.
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric '{metric}'", where="metric", cure=f"use one of {', '.join(METRICS)}")
    _check_same_folds(first, second)
    counts_a, subjects, _ = subject_confusions(first, classes)
    counts_b, _, _ = subject_confusions(second, classes)
    shape = (len(counts_a), len(classes), len(classes))
    a = counts_a.transpose(1, 0, 2, 3).reshape(len(subjects), -1).astype(np.float64)
    b = counts_b.transpose(1, 0, 2, 3).reshape(len(subjects), -1).astype(np.float64)
    exact = 2 ** len(subjects) <= permutations
    if exact:
        numbers = np.arange(2 ** len(subjects))[:, None]
        swaps = (numbers >> np.arange(len(subjects))) & 1  # row 0 is the observed one
    else:
        swaps = np.random.default_rng(seed).integers(0, 2, (permutations, len(subjects)))
        swaps[0] = 0

    def differences(swap: np.ndarray) -> np.ndarray:
        moved = swap @ (b - a)
        one = getattr(scores((a.sum(0) + moved).reshape(-1, *shape)), metric).mean(-1)
        other = getattr(scores((b.sum(0) - moved).reshape(-1, *shape)), metric).mean(-1)
        return np.stack([one, other])

    step = max(1, _BLOCK // a.shape[1])
    values = np.concatenate(
        [differences(swaps[k : k + step].astype(np.float64)) for k in range(0, len(swaps), step)], axis=1
    )
    gaps = values[0] - values[1]
    return Comparison(
        metric=metric,
        first=float(values[0, 0]),
        second=float(values[1, 0]),
        difference=float(gaps[0]),
        p_value=float((np.abs(gaps) >= abs(gaps[0]) - 1e-12).mean()),
        permutations=len(swaps),
        exact=exact,
        subjects=len(subjects),
    )


def floors(support: Sequence[int], *, simulations: int = RESAMPLES, seed: int = 0) -> dict[str, dict]:
    """What needs no skill: always the most frequent class, and a class drawn at random, each equally likely.

    Args:
        support: clips of each class of the label set, (C,).

    Returns:
        ``majority`` and ``random``: uf1, uar, acc, wf1; for ``random`` the mean over simulations, and in ``interval``
        the 95 % range that single random answers fall into.
    """
    support = np.asarray(support, np.int64)
    count = len(support)
    majority = np.zeros((count, count))
    majority[:, support.argmax()] = support
    rng = np.random.default_rng(seed)
    guesses = np.stack(
        [rng.multinomial(clips, np.full(count, 1 / count), size=simulations) for clips in support], axis=1
    )
    result = scores(guesses)
    random: dict = {name: float(getattr(result, name).mean()) for name in METRICS}
    ranges = {name: np.quantile(getattr(result, name), [0.025, 0.975]) for name in METRICS}
    random["interval"] = {name: [float(low), float(high)] for name, (low, high) in ranges.items()}
    return {"majority": scores(majority).to_dict(), "random": random}


def over_seeds(values: Mapping[int, float]) -> dict:
    """``n, mean, sd, values`` of one score over seeds; ``sd`` (of a sample, n - 1) is None for one seed."""
    numbers = np.array(list(values.values()), np.float64)
    return {
        "n": len(numbers),
        "mean": float(numbers.mean()),
        "sd": float(numbers.std(ddof=1)) if len(numbers) > 1 else None,
        "values": {str(seed): float(value) for seed, value in values.items()},
    }


def _check_same_folds(first: pd.DataFrame, second: pd.DataFrame) -> None:
    facts = ["dataset", "clip_id", "subject", "fold", "truth"]
    sets = [set(map(tuple, frame[facts].to_numpy().tolist())) for frame in (first, second)]
    differ = sorted(sets[0] ^ sets[1])
    seeds = [frame["seed"].nunique() for frame in (first, second)]
    sizes = [len(frame) == seeds[k] * len(sets[k]) for k, frame in enumerate((first, second))]
    if differ or seeds[0] != seeds[1] or not all(sizes) or first.empty:
        named = f", first at clip {differ[0][0]}/{differ[0][1]}" if differ else ""
        raise InputError(
            f"the two runs are not complete runs on the same clips, truths, folds and number of seeds{named}",
            where="permutation test",
            cure="compare runs of one split file",
        )
