"""A fold's training function and its scoring, without Ray. If these fail, pre-training or inner validation is lost, or
leaks."""

import dataclasses
import json

import pytest
import torch

from hsta.training.arrays import build_arrays
from hsta.training.recipe import Recipe
from tests.training.conftest import CLASSES, CONFIG, make_prepared
from workflows.fold import FoldPlan, FoldSettings, load_tensors, score_fold, train_fold

RECIPE = Recipe(epochs=4, batch_size=4, base_lr=0.05, warmup_epochs=1, flip=0.5, ema=0.5)


@pytest.fixture(scope="module")
def parts():
    """Clips by subject, as the object store holds them; those of "macro" are from another set."""
    by_subject = {}
    for number in range(24):
        subject = f"s{number // 3}" if number < 12 else "macro"
        by_subject.setdefault(subject, []).append(make_prepared(number, CLASSES[number % 3]))
    return {name: build_arrays(members, image_size=64, label_set="demo3") for name, members in by_subject.items()}


def plan(parts, **roles):
    keys = {role: tuple(key for name in names for key in parts[name].keys) for role, names in roles.items()}
    return FoldPlan(fold="loso-mine-s0", seed=0, **keys)


def settings(folder, **more):
    values = {"model": CONFIG, "recipe": RECIPE, "classes": CLASSES, "shuffle_labels": False, "checkpoint_every": 1}
    return FoldSettings(**{"folder": str(folder), "science_hash": "x", "cpus": 1, "gpus": 0.0, **values, **more})


def train(fold_settings, fold_plan, parts, *, stop_at=None):
    """All epochs, or a failure when the epoch ``stop_at`` is reported."""
    reported = []

    def report(result):
        reported.append(result)
        if result["epoch"] == stop_at:
            raise RuntimeError("power cut")

    given = [part for part in parts.values() if not set(part.keys).isdisjoint(fold_plan.learnt_from)]
    train_fold(fold_settings, fold_plan, given, report)
    return reported


PRETRAIN = dataclasses.replace(RECIPE, epochs=2)
STAGED = {"train": ("s1", "s2"), "validation": ("s3",), "extra": ("macro",), "test": ("s0",)}


@pytest.fixture(scope="module")
def staged(parts, tmp_path_factory):
    """A finished fold with pre-training and inner validation: its settings, its plan, and what was reported."""
    made, of = settings(tmp_path_factory.mktemp("run"), pretrain=PRETRAIN), plan(parts, **STAGED)
    return made, of, train(made, of, parts)


def test_pre_training_comes_first_and_the_epochs_go_on(staged):
    _, _, reported = staged
    assert [result["epoch"] for result in reported] == [1, 2, 3, 4, 5, 6]
    assert ["validation_uf1" in result for result in reported] == [False, False, True, True, True, True]


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_a_cut_in_any_stage_changes_nothing(staged, parts, tmp_path, stop_at):
    undisturbed, of, reported = staged
    made = dataclasses.replace(undisturbed, folder=str(tmp_path))
    with pytest.raises(RuntimeError, match="power cut"):
        train(made, of, parts, stop_at=stop_at)
    assert [result["loss"] for result in train(made, of, parts)] == [result["loss"] for result in reported[stop_at:]]
    ours, theirs = (load_tensors(each.place(of, "checkpoint.pt")) for each in (made, undisturbed))
    for name, value in theirs["best"]["weights"].items():
        assert torch.equal(ours["best"]["weights"][name], value)


def test_the_best_epoch_is_scored_and_kept(staged, parts, tmp_path):
    undisturbed, of, _ = staged
    made = dataclasses.replace(undisturbed, folder=str(tmp_path))
    train(made, of, parts)
    state = load_tensors(made.place(of, "checkpoint.pt"))
    receipt = score_fold(made, of, [parts["s0"]], 0.0)
    model = load_tensors(made.place(of, "model.pt"))["model"]
    assert all(torch.equal(value, state["best"]["weights"][name]) for name, value in model.items())
    history = json.loads(open(made.place(of, "history.json")).read())
    assert (receipt["epochs"], len(history), receipt["test_clips"]) == (6, 6, 3)


def test_pre_training_changes_the_training(staged, parts, tmp_path):
    made, of, reported = staged
    alone = dataclasses.replace(made, folder=str(tmp_path), pretrain=None)
    plain = train(alone, dataclasses.replace(of, extra=()), parts)
    assert [result["epoch"] for result in plain] == [1, 2, 3, 4]
    assert plain[0]["loss"] != reported[2]["loss"]


def test_shuffling_reaches_every_role(parts, tmp_path):
    of = plan(parts, **STAGED)
    made = [settings(tmp_path / str(shuffle), pretrain=PRETRAIN, shuffle_labels=shuffle) for shuffle in (False, True)]
    runs = [train(each, of, parts) for each in made]
    for plain, shuffled in zip(*runs, strict=True):
        assert plain["loss"] != shuffled["loss"]
