"""A native crash. If this fails, one poisonous clip keeps a whole run from ending, or takes its neighbours with it."""

import os
import signal
from dataclasses import dataclass

import pytest

from hsta.datasets.manifest import read_manifest
from hsta.datasets.shard_plan import plan_shards
from hsta.datasets.shards import read_receipt
from hsta.records import Clip
from hsta.vision.recipe import PrepareRecipe
from workflows.config import Prepare
from workflows.engine import ray_session
from workflows.prepare_run import Made, make_shards


@dataclass(frozen=True, kw_only=True)
class DeadlyClip(Clip):
    """Kills the process that looks at its apex, as a decoder's bug would, unless it is the test's own."""

    home: int = 0

    def __getattribute__(self, name):
        if name == "apex" and object.__getattribute__(self, "home") != os.getpid():
            os.kill(os.getpid(), signal.SIGSEGV)
        return object.__getattribute__(self, name)

    def __reduce__(self):
        names = ("clip_id", "dataset", "subject", "recording", "path", "onset", "apex", "offset", "home")
        return _deadly, tuple(object.__getattribute__(self, name) for name in names)


def _deadly(clip_id, dataset, subject, recording, path, onset, apex, offset, home):
    names = {"clip_id": clip_id, "dataset": dataset, "subject": subject, "recording": recording, "path": path}
    return DeadlyClip(**names, onset=onset, apex=apex, offset=offset, home=home)


@pytest.fixture
def clips(demo_set):
    classes = ("smile", "brow-raise", "frown")
    found = read_manifest(f"{demo_set[0]}/clips/clips.csv", dataset="demo", label_set="demo3", classes=classes)
    names = ("clip_id", "dataset", "subject", "recording", "path", "onset", "apex", "offset")
    deadly = _deadly(*(getattr(found[4], name) for name in names), os.getpid())
    return [*found[:4], deadly, *found[5:]]


def test_a_clip_that_kills_its_process_is_rejected_and_all_others_are_prepared(clips, tmp_path):
    plans = plan_shards(clips, recipe_hash="r", clips_per_shard=3)
    receipts, how, recipe, made = {}, Prepare(), PrepareRecipe(), Made()
    with ray_session():
        for receipt in make_shards(str(tmp_path), plans, how, recipe, made):
            receipts[receipt["name"]] = receipt
        left = [plan for plan in plans if read_receipt(str(tmp_path), plan) is None]
        names = {clip.clip_id for plan in left for clip in plan.clips}
        assert names >= {clip.clip_id for clip in clips[3:6]}
        assert len(left) <= 2  # an actor holds two: what waited behind the deadly shard may have died with it
        for receipt in make_shards(str(tmp_path), left, how, recipe, made, apart=True):
            receipts[receipt["name"]] = receipt
    assert len(receipts) == 3 and made.rejected == 1
    (reject,) = [row for receipt in receipts.values() for row in receipt["rejects"]]
    assert (reject["clip_id"], reject["reason"]) == (clips[4].clip_id, "crashed") and "SIGSEGV" in reject["detail"]
    prepared = [clip_id for receipt in receipts.values() for clip_id in receipt["clips"]]
    assert sorted(prepared) == sorted(clip.clip_id for clip in clips if clip is not clips[4])
