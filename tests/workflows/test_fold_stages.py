"""A fold's training function and its scoring, without Ray. If these fail, pre-training or inner validation is lost, or
leaks."""

import dataclasses
import json
import os
import time

import pytest
import torch

from hsta.training.arrays import build_arrays
from hsta.training.recipe import Recipe
from tests.training.conftest import CLASSES, CONFIG, make_prepared
from workflows import keeper
from workflows.engine import Staying
from workflows.fold import FoldPlan, FoldSettings, learn, score_fold, train_fold
from workflows.keeper import FRUITLESS, load_tensors

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


class PowerCut(BaseException):
    """What no `except Exception` catches, as a process that is killed."""


def train(fold_settings, fold_plan, parts, *, stop_at=None):
    """The whole fold, or a cut when the epoch ``stop_at`` is reported. Returns the epochs reported."""
    reported, asked = [], []

    def fetch(keys):
        asked.append(set(keys))
        return [part for part in parts.values() if not set(part.keys).isdisjoint(keys)]

    def report(result):
        reported.append(result)
        if result["epoch"] == stop_at:
            assert asked == [set(fold_plan.learnt_from)]  # nothing of the held-out subject while it trains
            raise PowerCut

    assert learn(fold_settings, fold_plan, fetch, report) is None
    return reported


def read(fold_settings, fold_plan, name):
    with open(fold_settings.place(fold_plan, name)) as file:
        return json.load(file)


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
    with pytest.raises(PowerCut):
        train(made, of, parts, stop_at=stop_at)
    wait_for(lambda: load_tensors(made.place(of, "checkpoint.pt"))["history"][-1]["epoch"] == stop_at)
    assert [result["loss"] for result in train(made, of, parts)] == [result["loss"] for result in reported[stop_at:]]
    ours, theirs = (load_tensors(each.place(of, "model.pt"))["model"] for each in (made, undisturbed))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert read(made, of, "progress.json")["attempt"] == 2
    assert not os.path.exists(made.place(of, "checkpoint.pt"))


def wait_for(holds, seconds=10.0):
    """The files are written by a thread of their own."""
    end = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except FileNotFoundError:
            pass
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_fold_whose_process_died_when_it_was_done_is_not_trained_again(staged):
    made, of, _ = staged
    receipt, progress = read(made, of, "done.json"), read(made, of, "progress.json")
    assert learn(made, of, lambda keys: pytest.fail("clips were asked for"), pytest.fail) is None
    assert (read(made, of, "done.json"), read(made, of, "progress.json")) == (receipt, progress)


def test_the_best_epoch_is_scored_and_kept(staged, parts, tmp_path):
    undisturbed, of, reported = staged
    made = dataclasses.replace(undisturbed, folder=str(tmp_path))
    state = train_fold(made, of, [parts[name] for name in ("s1", "s2", "s3", "macro")], lambda result: None)
    receipt = score_fold(made, of, [parts["s0"]], state, 0.0)
    best = max(reported[2:], key=lambda result: (result["validation_uf1"], -result["validation_loss"]))
    assert state["best"]["epoch"] == best["epoch"] - 2  # of the second stage
    model = load_tensors(made.place(of, "model.pt"))["model"]
    assert all(torch.equal(value, state["best"]["weights"][name]) for name, value in model.items())
    assert (receipt["epochs"], receipt["test_clips"]) == (6, 3)
    assert [epoch["epoch"] for epoch in read(made, of, "history.json")] == [1, 2, 3, 4, 5, 6]


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


def test_a_fold_whose_process_dies_again_and_again_at_one_place_fails(parts, tmp_path):
    of, made = plan(parts, train=("s1", "s2"), test=("s0",)), settings(tmp_path, checkpoint_every=4, submission="1")

    def fetch(keys):
        raise PowerCut

    for _ in range(FRUITLESS):
        with pytest.raises(PowerCut):
            learn(made, of, fetch, lambda result: None)
    assert f"{FRUITLESS} times at epoch 1" in learn(made, of, fetch, lambda result: None)
    assert read(made, of, "progress.json")["state"] == "failed"
    again = dataclasses.replace(made, submission="2")
    assert train(again, of, parts) and read(made, of, "done.json")["epochs"] == 4


def test_a_fold_that_raises_names_its_cause_and_keeps_its_checkpoint(parts, tmp_path):
    of, made = plan(parts, train=("s1", "s2"), test=("s0",)), settings(tmp_path)
    given = [parts["s1"], parts["s2"]]

    def report(result):
        if result["epoch"] == 2:
            raise RuntimeError("a broken pipe\nwith details")

    assert learn(made, of, lambda keys: given, report) == "RuntimeError: a broken pipe"
    progress = read(made, of, "progress.json")
    assert (progress["state"], progress["cause"], progress["epoch"]) == ("failed", "RuntimeError: a broken pipe", 2)
    assert [result["epoch"] for result in train(made, of, parts)] == [3, 4]


@pytest.mark.parametrize("every", [1, 2])
def test_no_more_than_an_interval_is_lost_however_slow_the_storage(parts, tmp_path, monkeypatch, every):
    of, made = plan(parts, train=("s1", "s2"), test=("s0",)), settings(tmp_path, checkpoint_every=every)
    stored, save = [0], keeper.save_tensors
    ahead = []

    def slowly(url, value):
        time.sleep(0.3)  # several epochs
        save(url, value)
        if "history" in value:
            stored.append(len(value["history"]))

    monkeypatch.setattr(keeper, "save_tensors", slowly)
    learn(made, of, lambda keys: list(parts.values()), lambda result: ahead.append(result["epoch"] - stored[-1]))
    assert len(ahead) == 4 and max(ahead) <= every


def test_out_of_memory_is_tried_once_more(parts, tmp_path):
    of, made = plan(parts, train=("s1", "s2"), test=("s0",)), settings(tmp_path)
    full = iter([True, False, False])

    def fetch(keys):
        if next(full):
            raise MemoryError
        return list(parts.values())

    assert learn(made, of, fetch, lambda result: None) is None
    full = iter([True, True])
    other = dataclasses.replace(made, folder=str(tmp_path / "other"))
    assert learn(other, of, fetch, lambda result: None).startswith("MemoryError")


def test_a_process_that_has_to_go_writes_a_checkpoint_within_the_epoch(parts, tmp_path):
    of = plan(parts, train=("s1", "s2"), test=("s0",))
    small = dataclasses.replace(RECIPE, batch_size=2)
    whole, cut = (
        settings(tmp_path / name, recipe=small, checkpoint_every=4, submission=name) for name in ("whole", "cut")
    )
    expected = train(whole, of, parts)
    notices = iter([False, True])
    steps = []

    class Leaving(Staying):
        def __call__(self):
            return next(notices)

        def kept(self):  # now the power goes
            steps.append(load_tensors(cut.place(of, "checkpoint.pt"))["pass"]["step"])
            raise PowerCut

    with pytest.raises(PowerCut):
        learn(cut, of, lambda keys: list(parts.values()), lambda result: None, leaving=Leaving())
    assert steps == [2]
    assert [result["loss"] for result in train(cut, of, parts)] == [result["loss"] for result in expected]
