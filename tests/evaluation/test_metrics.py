"""Lost if these fail: scores that can be compared with published ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from hsta.errors import InputError
from hsta.evaluation.metrics import absent_class_warnings, confusion_matrix, per_class, scores
from tests.evaluation.builders import worked_example

THREE = ("0", "1", "2")


def test_worked_example_of_the_protocol():
    log = worked_example()
    confusion = confusion_matrix([p.truth for p in log], [p.prediction for p in log], THREE)
    assert np.diagonal(confusion).tolist() == [4, 1, 1]
    result = scores(confusion)
    assert result.uf1 == pytest.approx(32 / 45, abs=1e-15)
    assert result.uar == pytest.approx(23 / 30, abs=1e-15)
    assert (result.acc, result.wf1) == (0.75, 0.75)


def test_all_negative_floor_of_the_composite():
    truth = ["negative"] * 250 + ["positive"] * 109 + ["surprise"] * 83
    result = scores(confusion_matrix(truth, ["negative"] * 442, ("negative", "positive", "surprise")))
    rounded = [round(value, 4) for value in result.to_dict().values()]
    assert rounded == [0.2408, 0.3333, 0.5656, 0.4087]


def test_a_class_that_never_occurs_counts_as_zero_and_warns():
    confusion = confusion_matrix(["a", "b"], ["a", "b"], ("a", "b", "c"))
    assert scores(confusion).uf1 == pytest.approx(2 / 3)
    assert scores(confusion).uar == pytest.approx(2 / 3)
    assert scores(confusion).acc == scores(confusion).wf1 == 1
    assert absent_class_warnings(confusion, ("a", "b", "c")) == [
        "class 'c' is neither true nor predicted: it counts as 0 in UF1 and UAR"
    ]


def test_a_class_predicted_but_never_true_has_no_recall_and_warns():
    confusion = confusion_matrix(["a", "a"], ["a", "c"], ("a", "c"))
    assert scores(confusion).uar == pytest.approx(0.25)
    row = per_class(confusion, ("a", "c"))[1]
    assert (row["recall"], row["precision"], row["f1"], row["support"]) == (None, 0.0, 0.0, 0)
    (warning,) = absent_class_warnings(confusion, ("a", "c"), of="samm")
    assert "predicted 1 times but never true in samm" in warning


def test_leading_axes_are_scored_one_by_one():
    stack = np.random.default_rng(0).integers(0, 9, (4, 2, 3, 3))
    together = scores(stack)
    assert together.uf1.shape == (4, 2)
    assert together.uf1[2, 1] == scores(stack[2, 1]).uf1


def test_counts_of_nothing_score_zero():
    assert scores(np.zeros((3, 3))).to_dict() == {"uf1": 0, "uar": 0, "acc": 0, "wf1": 0}


def test_unknown_classes_are_refused_by_name():
    with pytest.raises(InputError, match="unknown class 'angst'"):
        confusion_matrix(["a"], ["angst"], ("a", "b"))
    with pytest.raises(InputError, match="2 truths but 1 predictions"):
        confusion_matrix(["a", "b"], ["a"], ("a", "b"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_scikit_learn_gives_the_same(pairs):
    truth, prediction = zip(*pairs, strict=True)
    options = {"labels": list("abcd"), "zero_division": 0}
    result = scores(confusion_matrix(truth, prediction, "abcd"))
    assert result.uf1 == pytest.approx(f1_score(truth, prediction, average="macro", **options))
    assert result.uar == pytest.approx(recall_score(truth, prediction, average="macro", **options))
    assert result.wf1 == pytest.approx(f1_score(truth, prediction, average="weighted", **options))
    assert result.acc == pytest.approx(accuracy_score(truth, prediction))
