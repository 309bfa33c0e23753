"""Lost if these fail: a results.json that says what was measured, and says nothing when it was not."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsta.errors import InputError
from hsta.evaluation.audit import audit
from hsta.evaluation.predictions import read_predictions, to_frame, write_predictions
from hsta.evaluation.results import evaluate, read_results, write_results
from hsta.evaluation.splits import Fold, Split, make_split
from tests.evaluation.builders import CLASSES, LABEL_SET, make_clips, make_prediction, predict_split, worked_example

CLIPS = make_clips(4, 2) + make_clips(3, 2, dataset="other")
SPLIT = make_split(CLIPS, "loso", label_set=LABEL_SET)
AUDIT = audit(SPLIT, CLIPS).to_dict()


def score(frame, split=SPLIT, classes=CLASSES, **options):
    facts = {"epoch_rule": "12 epochs, fixed", "audit": AUDIT, "data": {}, "run": {"name": "test"}, "resamples": 200}
    return evaluate(frame, split=split, classes=classes, **(facts | options))


def full(seed: int = 0):
    return to_frame(predict_split(SPLIT, CLIPS, seed=seed), CLASSES)


def example_split() -> Split:
    log = worked_example()
    folds = tuple(
        Fold(
            name=f"loso-demo-{subject}",
            train=tuple(("demo", p.clip_id) for p in log if p.subject != subject),
            test=tuple(("demo", p.clip_id) for p in log if p.subject == subject),
        )
        for subject in "ABC"
    )
    return Split(protocol="loso", label_set="example", seed=0, folds=folds)


def test_the_worked_example_end_to_end():
    classes = ("0", "1", "2")
    results = score(to_frame(worked_example(), classes), example_split(), classes)
    assert results["pooled"] == {
        "uf1": pytest.approx(32 / 45),
        "uar": pytest.approx(23 / 30),
        "acc": 0.75,
        "wf1": pytest.approx(0.75),
    }
    assert results["confusion"] == [[4, 0, 1], [1, 1, 0], [0, 0, 1]]
    assert results["folds"] == {"complete": 3, "total": 3, "failed": []}
    assert [row["acc"] for row in results["per_subject"]] == pytest.approx([1, 2 / 3, 0.5])
    assert [row["support"] for row in results["per_class"]] == [5, 2, 1]


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_clips_and_folds_never_changes_a_number(random):
    frame = full()
    rows = list(range(len(frame)))
    random.shuffle(rows)
    folds = list(SPLIT.folds)
    random.shuffle(folds)
    shuffled = Split(protocol=SPLIT.protocol, label_set=LABEL_SET, seed=0, folds=tuple(folds))
    one, two = score(frame), score(frame.iloc[rows], shuffled)
    assert one["protocol"].pop("split_sha256") and two["protocol"].pop("split_sha256")
    assert one == two


def test_everything_comes_back_from_the_saved_log(tmp_path):
    url = str(tmp_path / "predictions.parquet")
    write_predictions(url, predict_split(SPLIT, CLIPS), CLASSES, label_set=LABEL_SET)
    results = score(read_predictions(url))
    assert results == score(full())
    write_results(str(tmp_path / "results.json"), results)
    assert read_results(str(tmp_path / "results.json")) == results
    json.dumps(results, allow_nan=False)


def test_facts_counted_from_the_log():
    results = score(full(), data={"recipe": {"flow": "farneback"}, "rejected": [], "manifest_sha256": "abc"})
    assert results["data"] == {
        "datasets": ["demo", "other"],
        "clips": 42,
        "subjects": 7,
        "classes": {"smile": 14, "brow-raise": 14, "frown": 14},
        "recipe": {"flow": "farneback"},
        "rejected": [],
        "manifest_sha256": "abc",
    }
    assert [(row["dataset"], row["clips"], row["subjects"]) for row in results["per_dataset"]] == [
        ("demo", 24, 4),
        ("other", 18, 3),
    ]
    low, high = results["interval"]["uf1"]
    assert low <= results["pooled"]["uf1"] <= high
    assert results["floors"]["majority"]["uar"] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="clips are counted from the log"):
        score(full(), data={"clips": 7})


def test_a_partial_set_has_no_headline():
    frame = full()
    frame = frame[(frame["fold"] != "loso-demo-s02") & (frame["clip_id"] != "other-s01-smile-0")]
    results = score(frame, failures={"loso-demo-s02": "the loss of epoch 3 is nan"})
    assert results["folds"] == {
        "complete": 5,
        "total": 7,
        "failed": [
            {"fold": "loso-demo-s02", "cause": "the loss of epoch 3 is nan"},
            {"fold": "loso-other-s01", "cause": "1 of 6 predictions are missing"},
        ],
    }
    for part in ("pooled", "interval", "seeds"):
        assert set(results[part].values()) == {None}
    assert results["warnings"][0] == "5 of 7 folds are complete: there is no headline score"


def test_no_prediction_at_all_is_a_partial_set():
    results = score(to_frame([], CLASSES))
    assert results["folds"]["complete"] == 0 and results["pooled"]["uf1"] is None
    assert results["floors"] is None and results["per_subject"] == [] and results["per_class"] == []


def test_several_seeds_give_the_mean_of_their_scores():
    one, two = full(), full(seed=1)
    results = score(pd.concat([one, two], ignore_index=True), seeds=(0, 1))
    parts = [score(one)["pooled"]["uf1"], score(two, seeds=(1,))["pooled"]["uf1"]]
    assert parts[0] != parts[1]
    assert results["pooled"]["uf1"] == pytest.approx(sum(parts) / 2)
    assert results["seeds"]["uf1"]["n"] == 2
    assert results["data"]["clips"] == 42 and sum(map(sum, results["confusion"])) == 84
    assert sum(row["support"] for row in results["per_class"]) == 42
    assert score(one, seeds=(0, 1))["folds"]["complete"] == 0


def test_an_absent_class_is_warned_of():
    log = [make_prediction("a", "smile", "smile"), make_prediction("b", "smile", "frown", subject="s02")]
    keys = (("demo", "a"), ("demo", "b"))
    folds = tuple(Fold(name=f"loso-demo-s0{k + 1}", train=(keys[1 - k],), test=(keys[k],)) for k in range(2))
    split = Split(protocol="loso", label_set=LABEL_SET, seed=0, folds=folds)
    results = score(to_frame(log, CLASSES), split)
    assert results["pooled"]["uf1"] == pytest.approx(2 / 9)
    assert [warning.split(":")[0] for warning in results["warnings"]] == [
        "class 'brow-raise' is neither true nor predicted",
        "class 'frown' is predicted 1 times but never true",
    ]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("clip_id", "stranger", "the split does not test this clip"),
        ("fold", "loso-other-s01", "is tested in loso-demo-s01"),
        ("seed", 4, "seed 4 is not one of 0"),
    ],
)
def test_predictions_nobody_asked_for_are_refused(column, value, problem):
    frame = full()
    frame.loc[0, column] = value
    with pytest.raises(InputError, match=problem):
        score(frame)


def test_results_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="not there"):
        read_results(str(tmp_path / "results.json"))
    (tmp_path / "results.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="no results of this version"):
        read_results(str(tmp_path / "results.json"))
