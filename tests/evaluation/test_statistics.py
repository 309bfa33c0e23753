"""Lost if these fail: knowing whether a difference, or a score at all, is more than luck."""

from __future__ import annotations

import numpy as np
import pytest

from hsta.errors import InputError
from hsta.evaluation.metrics import confusion_matrix, scores
from hsta.evaluation.predictions import to_frame
from hsta.evaluation.splits import make_split
from hsta.evaluation.statistics import floors, over_seeds, permutation_test, subject_bootstrap
from tests.evaluation.builders import CLASSES, LABEL_SET, make_clips, make_prediction, predict_split

CLIPS = make_clips(10, 2)
SPLIT = make_split(CLIPS, "loso", label_set=LABEL_SET)


def run(seed: int = 0, skill: float = 0.8):
    return to_frame(predict_split(SPLIT, CLIPS, seed=seed, skill=skill), CLASSES)


def relabel(frame, seed: int):
    return frame.assign(seed=seed)


def test_the_bootstrap_equals_a_plain_loop_over_subjects():
    frame = run()
    found = subject_bootstrap(frame, CLASSES, resamples=300, seed=5)
    subjects = sorted(set(frame["subject"]))
    drawn = np.random.default_rng(5).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), size=300)
    values = []
    for counts in drawn:
        total = np.zeros((3, 3))
        for subject, times in zip(subjects, counts, strict=True):
            part = frame[frame["subject"] == subject]
            total += times * confusion_matrix(part["truth"].to_list(), part["prediction"].to_list(), CLASSES)
        values.append(scores(total).uf1)
    assert found["uf1"] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_the_interval_holds_the_score_and_shrinks_with_perfection():
    frame = run()
    low, high = subject_bootstrap(frame, CLASSES)["acc"]
    assert low < (frame["truth"] == frame["prediction"]).mean() < high
    assert subject_bootstrap(run(skill=1.0), CLASSES)["uf1"] == (1.0, 1.0)


def test_seeds_are_resampled_together():
    import pandas as pd

    one, two = run(), relabel(run(), 1)
    both = pd.concat([one, two], ignore_index=True)
    assert subject_bootstrap(both, CLASSES, resamples=500) == subject_bootstrap(one, CLASSES, resamples=500)


def test_a_run_does_not_differ_from_itself_but_from_a_guessing_one():
    good, bad = run(skill=0.95), run(seed=1, skill=1 / 3)
    same = permutation_test(good, relabel(good, 7), CLASSES)
    assert (same.difference, same.p_value) == (0, 1)
    better = permutation_test(good, relabel(bad, 0), CLASSES)
    assert better.exact and better.permutations == 1024 and better.subjects == 10
    assert better.difference > 0.3 and better.p_value == pytest.approx(2 / 1024)
    worse = permutation_test(relabel(bad, 0), good, CLASSES)
    assert (worse.difference, worse.p_value) == (-better.difference, better.p_value)


def test_random_exchanges_agree_with_all_exchanges():
    first, second = run(skill=0.8), relabel(run(seed=1, skill=0.65), 0)
    every = permutation_test(first, second, CLASSES, metric="acc")
    some = permutation_test(first, second, CLASSES, metric="acc", permutations=1000)
    assert not some.exact and some.permutations == 1000
    assert some.p_value == pytest.approx(every.p_value, abs=0.05)


def test_runs_on_other_folds_cannot_be_compared():
    other = run()
    other.loc[0, "fold"] = "loso-demo-s02"
    with pytest.raises(InputError, match="first at clip demo/demo-s01"):
        permutation_test(run(), other, CLASSES)
    with pytest.raises(InputError, match="unknown metric 'f2'"):
        permutation_test(run(), run(), CLASSES, metric="f2")


def test_floors_of_the_composite():
    found = floors([250, 109, 83])
    assert {name: round(value, 4) for name, value in found["majority"].items()} == {
        "uf1": 0.2408,
        "uar": 0.3333,
        "acc": 0.5656,
        "wf1": 0.4087,
    }
    chance = found["random"]
    assert chance["uar"] == pytest.approx(1 / 3, abs=0.002)
    assert chance["acc"] == pytest.approx(1 / 3, abs=0.002)
    low, high = chance["interval"]["uf1"]
    assert low < chance["uf1"] < high < 0.4


def test_mean_and_deviation_over_seeds():
    assert over_seeds({0: 0.5, 1: 0.7}) == {
        "n": 2,
        "mean": pytest.approx(0.6),
        "sd": pytest.approx(0.2 / np.sqrt(2)),
        "values": {"0": 0.5, "1": 0.7},
    }
    assert over_seeds({3: 0.5})["sd"] is None


def test_nothing_cannot_be_resampled():
    with pytest.raises(InputError, match="no prediction to resample"):
        subject_bootstrap(to_frame([], CLASSES), CLASSES)


def test_one_subject_has_no_spread():
    frame = to_frame([make_prediction("a", "smile", "smile"), make_prediction("b", "frown", "smile")], CLASSES)
    low, high = subject_bootstrap(frame, CLASSES, resamples=50)["acc"]
    assert low == high == 0.5
