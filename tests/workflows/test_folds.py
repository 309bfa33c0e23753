"""Folds through real Ray. If these fail, the held-out subject leaks, a run cannot be resumed, or executors disagree."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hsta.errors import InputError
from tests.workflows.conftest import load
from workflows import evaluate, loso, prepare, report
from workflows.engine import ray_session


@pytest.fixture(scope="module")
def session():
    with ray_session():
        yield


@pytest.fixture(scope="module")
def finished(demo_set, session):
    """A complete small run."""
    config = load(demo_set[1], "run.name=inline")
    assert loso.run(config) == 0
    return config


def predictions(config):
    return pd.read_parquet(f"{config.folder}/predictions.parquet")


def read(config, name):
    with open(f"{config.folder}/{name}") as file:
        return json.load(file)


def test_a_run_folder_holds_what_was_promised(finished):
    table = pq.read_table(f"{finished.folder}/predictions.parquet")
    names = ["clip_id", "dataset", "subject", "fold", "seed", "truth", "prediction"]
    assert table.column_names == [*names, "p_smile", "p_brow-raise", "p_frown"]
    assert table.num_rows == 9 and len(set(table["clip_id"].to_pylist())) == 9
    results = read(finished, "results.json")
    assert {"uf1", "uar", "acc"} <= set(results["pooled"])
    assert (results["folds"]["complete"], results["folds"]["total"]) == (3, 3)
    assert results["audit"]["passed"] is True
    html = open(f"{finished.folder}/report.html").read()
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert load([], "run.name=x").run.name == "x"
    from workflows.config import load as load_config

    assert load_config(f"{finished.folder}/config.yaml") == finished


def test_every_fold_tests_one_subject_that_it_did_not_train_on(finished):
    split = read(finished, "split.json")
    for fold in split["folds"]:
        tested = {clip_id.split("-")[0] for _, clip_id in fold["test"]}
        trained = {clip_id.split("-")[0] for _, clip_id in fold["train"]}
        assert len(tested) == 1 and not tested & trained


def test_both_executors_give_the_same_numbers(demo_set, finished, session):
    other = load(demo_set[1], "run.name=trainer", "folds.executor=trainer")
    assert loso.run(other) == 0
    pd.testing.assert_frame_equal(predictions(other), predictions(finished), check_exact=True)
    assert read(other, "results.json")["pooled"] == read(finished, "results.json")["pooled"]


def test_clips_that_are_streamed_give_the_same_numbers_as_clips_in_memory(demo_set, finished, session):
    other = load(demo_set[1], "run.name=streamed", "folds.data=stream", "tracking.to=[]")
    assert loso.run(other) == 0
    pd.testing.assert_frame_equal(predictions(other), predictions(finished), check_exact=True)


def test_the_same_command_again_trains_nothing(finished, capsys):
    before = predictions(finished)
    assert loso.run(finished) == 0
    assert "3 in all, 3 done" in capsys.readouterr().out
    pd.testing.assert_frame_equal(predictions(finished), before, check_exact=True)


def test_a_fold_goes_on_from_its_checkpoint_to_the_same_numbers(demo_set, finished, session, monkeypatch):
    """The fold is interrupted by an exception in its second epoch, inside the real training function."""
    from workflows import folds

    config = load(demo_set[1], "run.name=interrupted")
    monkeypatch.setattr(folds, "run_fold", interrupted_fold)
    assert loso.run(config) == 1
    results = read(config, "results.json")
    assert results["pooled"]["uf1"] is None and results["folds"]["complete"] == 0
    assert all("power cut" in failure["cause"] for failure in results["folds"]["failed"])
    monkeypatch.undo()
    assert loso.run(config) == 0
    pd.testing.assert_frame_equal(predictions(config), predictions(finished), check_exact=True)
    history = read(config, "folds/loso-demo-s01-seed0/history.json")
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]


def interrupted_fold(config, **more):
    """`run_fold`, in whose training the second epoch fails."""
    from hsta.training.loop import Trainer
    from workflows import executors

    run_epoch = Trainer.run_epoch

    def fails(self, *arguments):
        if self.epoch == 1:
            raise RuntimeError("power cut")
        return run_epoch(self, *arguments)

    Trainer.run_epoch = fails
    try:
        executors.run_fold(config, **more)
    finally:
        Trainer.run_epoch = run_epoch


def test_a_fold_that_raises_one_that_yields_nan_and_one_that_needs_too_much_memory(
    demo_set, finished, session, monkeypatch
):
    """Of ten, three break, each in its own way, and seven complete; then the causes are removed."""
    from workflows import folds

    ten = ("protocol.name=subject-kfold-2", "protocol.seeds=[0,1,2,3,4]", "train.epochs=2", "tracking.to=[]")
    config = load(demo_set[1], *ten, "run.name=broken")
    monkeypatch.setattr(folds, "run_fold", broken_fold)
    assert loso.run(config) == 1
    results = read(config, "results.json")
    assert results["pooled"]["uf1"] is None and results["folds"]["complete"] == 0  # of no fold are all five seeds there
    first, second = (failure["cause"].split("; seed ") for failure in results["folds"]["failed"])
    raised, not_finite = first
    assert raised.startswith("seed 0: ") and "ValueError: a bad batch" in raised
    assert not_finite.startswith("1: ") and "FloatingPointError" in not_finite and "nan" in not_finite
    assert len(second) == 1 and second[0].startswith("seed 2: ") and "allocate memory" in second[0]
    names = os.listdir(f"{config.folder}/folds")
    done = [name for name in names if os.path.exists(f"{config.folder}/folds/{name}/done.json")]
    assert len(names) == 10 and sorted(set(names) - set(done)) == sorted(BROKEN)
    monkeypatch.undo()
    assert loso.run(config) == 0
    assert len(predictions(config)) == 5 * 9


BROKEN = {
    "kfold-1of2-seed0": "raises",
    "kfold-1of2-seed1": "yields NaN",
    "kfold-2of2-seed2": "needs more memory than there is",
}


def broken_fold(config, **more):
    """`run_fold`, in whose training the folds of BROKEN break."""
    import torch

    from hsta.training.loop import Trainer
    from workflows import executors

    step = Trainer._step

    def breaks(self, *batch):
        way = BROKEN.get(config["fold"])
        if way == "raises":
            raise ValueError("a bad batch")
        if way == "needs more memory than there is":
            torch.empty(1 << 50)
        loss, right = step(self, *batch)
        return (loss * float("nan") if way == "yields NaN" else loss), right

    Trainer._step = breaks
    try:
        executors.run_fold(config, **more)
    finally:
        Trainer._step = step


def test_the_held_out_subject_never_reaches_the_training_function(demo_set, finished, session):
    """Its clips are poisoned: every pixel and every vector is replaced. The fold that holds it out must train the same."""
    import shutil

    from hsta.datasets import shards

    folder, assignments = demo_set
    poisoned = folder / "poisoned"
    shutil.copytree(folder / "prepared", poisoned)
    card = shards.read_card(str(poisoned))
    (shard,) = [shard for shard in card["shards"] if "/s01/" in shard["name"]]
    path = f"{poisoned}/{shard['name']}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        row["frames"] = b"\xff" * len(row["frames"])
        row["flow"] = np.full(len(row["flow"]) // 2, 1000, "<f2").tobytes()
    with pq.ParquetWriter(path, table.schema) as writer:
        for row in rows:
            writer.write_table(table.from_pylist([row], schema=table.schema))
    config = load(assignments, "run.name=poisoned", f"data.prepared={poisoned}")
    assert loso.run(config) == 0

    def losses(of, fold):
        return [epoch["loss"] for epoch in read(of, f"folds/{fold}-seed0/history.json")]

    assert losses(config, "loso-demo-s01") == losses(finished, "loso-demo-s01")
    assert losses(config, "loso-demo-s02") != losses(finished, "loso-demo-s02")  # the poison is real


def test_other_settings_under_one_name_are_refused(demo_set, finished):
    with pytest.raises(InputError, match="train.epochs: 3 -> 4"):
        loso.run(load(demo_set[1], "run.name=inline", "train.epochs=4"))


def test_shuffled_labels_change_the_training_and_not_the_truth(demo_set, finished, session):
    config = load(demo_set[1], "run.name=shuffled", "protocol.shuffle_labels=true")
    assert loso.run(config) == 0
    assert list(predictions(config)["truth"]) == list(predictions(finished)["truth"])
    assert not np.allclose(predictions(config)["p_smile"], predictions(finished)["p_smile"])


def test_evaluate_and_report_work_from_the_run_folder_alone(finished):
    before = read(finished, "results.json")
    for name in ("results.json", "report.html"):
        __import__("os").remove(f"{finished.folder}/{name}")
    assert evaluate.run(finished) == 0
    assert read(finished, "results.json") == before
    assert report.run(finished) == 0


def test_more_than_the_cluster_has_is_refused_before_it_waits_for_ever(demo_set, session):
    with pytest.raises(InputError, match="the cluster has"):
        loso.run(load(demo_set[1], "run.name=greedy", "folds.cpus=1000"))


def test_preparing_again_keeps_what_is_done_and_refuses_another_recipe(demo_set, capsys):
    config = load(demo_set[1])
    assert prepare.run(config) == 0
    assert "9 clips are done" in capsys.readouterr().out
    with pytest.raises(InputError, match="flow_window"):
        prepare.run(load(demo_set[1], "vision.flow_window=15"))
