"""Folds whose run folder is in S3. If these fail, a run on machines that come and go cannot be resumed."""

import os

import pytest

from benchmarks.fold_faults import EPOCHS, EVERY, Fire, kill_during, settings, start, trained, verdict
from hsta import storage
from tests.s3.test_prepare_s3 import FAULTS


@pytest.mark.skipif(not os.environ.get("HSTA_LONG"), reason="takes a minute: HSTA_LONG=1, or `make test-cluster`")
def test_a_store_that_fails_in_one_request_of_twenty_holds_checkpoints_to_go_on_from(store, proxy, tmp_path):
    proxy.fail()
    fire = Fire(tmp_path, seed=0)
    fire.prepare(clips_per_class=1)
    wanted = fire.wanted(1)
    storage.filesystem(store)[0].put(str(fire.prepared), f"{store}/prepared", recursive=True)
    assignments = settings(f"{store}/runs", "faulty", f"{store}/prepared", "inline", 1)

    proxy.fail(seed=1, match="^/clips/(prepared|runs)", **FAULTS)
    process = start(assignments, {**fire.environment, **storage.environment()})
    kill_during(
        process,
        lambda: [process.pid],
        lambda: sum(trained(fire.log, "faulty").values()),
        EPOCHS,
        0.2,
        fire.chance,
    )
    process.communicate(timeout=60)
    assert process.returncode == -9
    began = trained(fire.log, "faulty")

    process = start(assignments, {**fire.environment, **storage.environment()})
    output, _ = process.communicate(timeout=180)
    counters = proxy.counters
    proxy.fail()
    assert process.returncode == 0, output
    assert sum(counters.get(kind, 0) for kind in FAULTS) >= 5, counters
    found = verdict(f"{store}/runs/faulty", fire.log, "faulty", wanted)
    assert found["complete"] and found["once_each"] and found["identical"], found
    assert max(began.values()) >= 5 and found["epochs_more"] <= EVERY, (began, found)
    assert max(found["attempts"]) == 2
