"""The arithmetic before folds. If these fail, a run waits for ever for what its cluster does not have."""

import pytest

from hsta.errors import InputError
from hsta.records import Clip
from tests.workflows.conftest import load
from workflows.fold import FoldPlan
from workflows.preflight import check
from workflows.prepared import PreparedSet

CLIPS = tuple(
    Clip(clip_id=f"c{n}", dataset="demo", subject=f"s{n}", recording=f"r{n}", path="/x", onset=0, apex=5, offset=9)
    for n in range(12)
)
SET = PreparedSet(root="/x", card={}, clips=CLIPS, content={})
KEYS = tuple((clip.dataset, clip.clip_id) for clip in CLIPS)
PENDING = [FoldPlan(fold=f"f{n}", seed=0, train=KEYS[:n] + KEYS[n + 1 :], test=KEYS[n : n + 1]) for n in range(12)]
GB = 10**9


def node(cpus, gpus=0, store=GB):
    return {"CPU": cpus, "object_store_memory": store, **({"GPU": gpus} if gpus else {})}


def slots(nodes, *more):
    return check(load([], *more), [SET], PENDING, nodes, 10.0).slots


def test_folds_at_a_time_follow_from_what_fits_each_node():
    assert slots([node(2)]) == 2
    assert slots([node(3), node(3)], "folds.cpus=2") == 2  # the third CPUs of two nodes are no pair
    assert slots([node(8, 2), node(8)], "folds.gpus=1") == 2
    assert slots([node(16, 1)], "folds.gpus=0.25", "folds.cpus=2") == 4
    assert slots([node(4), node(4)], "folds.workers=4") == 2  # a fold's workers may be on several nodes
    assert slots([node(64)]) == 12  # no more than there are folds


def test_what_would_wait_for_ever_is_refused_with_the_numbers():
    with pytest.raises(InputError, match=r"1 x \(4 CPU and 0 GPU\).*2 nodes: 2 CPU and 0 GPU; 2 CPU"):
        slots([node(2), node(2)], "folds.cpus=4")
    with pytest.raises(InputError, match="folds.concurrent"):
        slots([node(4)], "folds.gpus=1")
    waiting = check(load([], "folds.gpus=1", "folds.concurrent=3"), [SET], PENDING, [node(4)], 10.0)
    assert waiting.slots == 3 and "3 of 3 wait for nodes to join" in waiting.lines[-1]


def test_clips_that_do_not_fit_are_streamed_with_a_cpu_for_each_worker():
    small = check(load([]), [SET], PENDING, [node(4, store=10**6)], 10.0)
    assert small.streams and small.slots == 2
    assert not check(load([]), [SET], PENDING, [node(4)], 10.0).streams
    with pytest.raises(InputError, match=r"object store of a node that trains has 0.0 GB"):
        slots([node(4, store=10**6)], "folds.data=memory")


def test_the_executor_follows_from_workers_and_expected_time():
    def chosen(seconds, *more):
        return check(load([], *more), [SET], PENDING, [node(4)], seconds).executor

    assert chosen(10.0) == "inline"
    assert chosen(4000.0) == "trainer"
    assert chosen(10.0, "folds.workers=2") == "trainer"
    assert chosen(4000.0, "folds.executor=inline") == "inline"
    with pytest.raises(InputError, match="workers > 1"):
        chosen(10.0, "folds.workers=2", "folds.executor=inline")
