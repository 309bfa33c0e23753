"""Folds killed. If these fail, a run that was killed has to start over, or ends with other numbers."""

import os
import signal
import time

import pytest

from benchmarks.fold_faults import EVERY, Fire, checkpoint_epoch, settings, start, trained
from benchmarks.servers import wait_until
from hsta import storage
from workflows.engine import STOP_WAIT
from workflows.keeper import Keeper

LONG = pytest.mark.skipif(not os.environ.get("HSTA_LONG"), reason="HSTA_LONG=1, or `make test-cluster`")


@pytest.fixture(scope="module")
def fire(demo_set, tmp_path_factory):
    made = Fire(tmp_path_factory.mktemp("fire"), seed=0)
    made.prepared = demo_set[0] / "prepared"
    return made


@pytest.mark.parametrize(
    "victim, executor", [("driver", "inline"), ("trial", "inline"), pytest.param("worker", "trainer", marks=LONG)]
)
def test_whoever_is_killed_the_same_command_ends_with_the_same_predictions(fire, victim, executor):
    found = fire.round(victim, victim, executor, 1, standing=False, share=0.3)
    assert found["killed_at_epoch"] > 0, found
    assert found["statuses"] == ([-9, 0] if victim == "driver" else [0]), (
        found
    )  # only the driver's end ends the command
    assert found["complete"] and found["once_each"] and found["identical"], found
    assert max(found["attempts"]) == 2, found
    assert 0 <= found["epochs_more"] <= EVERY, found


def test_a_driver_that_is_told_to_stop_ends_as_soon_as_its_folds_have_stored_what_they_have(fire):
    endless = ("train.epochs=100000", "folds.checkpoint_every=100000")
    process = start(
        settings(str(fire.folder / "runs"), "told", fire.prepared, "inline", 1, *endless),
        {**fire.environment, STOP_WAIT: "120"},
    )
    try:
        # a fold that has trained for a while waits in its report for the driver, who must not wait for the fold
        wait_until(lambda: sum(trained(fire.log, "told").values()) > 100 or process.poll() is not None, 120, "epochs")
        before = trained(fire.log, "told")
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        output, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM, output
    assert time.monotonic() - told < 60, "it waited for as long as it may"
    for name, epochs in before.items():
        assert checkpoint_epoch(fire.folder / "runs/told/folds" / name / "checkpoint.pt") >= epochs > 0


def test_a_fold_that_fails_after_its_last_checkpoint_says_why(tmp_path):
    """Its clips cannot be scored, or the last checkpoint could not be written."""
    keep = Keeper(lambda name: f"{tmp_path}/{name}", {"submission": "1"}, [])
    keep.close()
    keep.close(cause="OSError: no space left on device")
    progress = storage.read_json(f"{tmp_path}/progress.json")
    assert (progress["state"], progress["cause"]) == ("failed", "OSError: no space left on device")
