"""Preparation from S3 to S3. If these fail, a lab's terabytes are prepared wrongly, or not at all when the store
hiccups."""

import os
import subprocess
import threading
import time

import pytest

from benchmarks.clip_sets import multiply
from benchmarks.prepare_faults import command as prepare_command
from hsta import storage
from hsta.datasets import shards, synthetic
from tests.workflows.conftest import ROOT, load
from workflows import prepare
from workflows.engine import ray_session

FAULTS = {"p503": 0.02, "p500": 0.01, "preset": 0.01, "preset_after": 0.005, "ptrunc": 0.01}  # one request in twenty


@pytest.fixture(scope="module", autouse=True)
def nowhere(server, tmp_path_factory):
    """A run against a store that is not there, begun first and waited for last. Gives a function for its result."""
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
    }
    manifest = tmp_path_factory.mktemp("nowhere") / "clips.csv"
    manifest.write_text("clip_id,subject,path,onset,apex,offset,label\na,s,a,1,2,3,smile\n")
    arguments = prepare_command([f"data.manifest={manifest}", "data.prepared=s3://bucket/prepared"])
    found = {}

    def wait():
        began = time.monotonic()
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
        found.update(seconds=time.monotonic() - began, status=done.returncode, error=done.stderr)

    thread = threading.Thread(target=wait)
    thread.start()
    yield lambda: thread.join() or found
    thread.join()


@pytest.fixture(scope="module")
def clips(store, tmp_path_factory):
    """Twelve clips on disk and in the store; settings for each."""
    few, mine = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("mine")
    plan = synthetic.demo_plan(subjects=2, clips_per_class=1)[:3]
    for spec in plan:
        synthetic.render_clip(spec, few)
    multiply(synthetic.write_manifest(plan, few), mine, clips=12)
    fs, _ = storage.filesystem(store)
    fs.put(str(mine), f"{store}/raw", recursive=True)
    return mine, *(["prepare.clips_per_shard=2", f"data.manifest={root}/clips.csv"] for root in (f"{store}/raw", mine))


@pytest.fixture(scope="module")
def session(store):
    with ray_session():
        yield


def content(url):
    return {name: storage.read_bytes(f"{url}/{name}") for name in storage.find(url) if name != "run-info.json"}


@pytest.fixture(scope="module")
def calm(clips, session, store, proxy):
    """A set prepared without faults."""
    proxy.fail()
    assert prepare.run(load(clips[1], f"data.prepared={store}/calm")) == 0
    return f"{store}/calm"


def test_the_same_comes_from_a_store_as_from_a_disk(clips, calm, session, store):
    mine, _, local = clips
    assert prepare.run(load(local, f"data.prepared={mine}/prepared")) == 0
    sets = [(root, shards.read_card(root)) for root in (calm, f"{mine}/prepared")]
    assert sets[0][1]["prepared"] == 12
    there, here = (
        {item.clip.clip_id: item for part in card["shards"] for item in shards.read_some(root, part, part["clips"])}
        for root, card in sets
    )
    assert there.keys() == here.keys()
    for clip_id, item in there.items():
        assert (
            item.frames.tobytes() == here[clip_id].frames.tobytes()
            and item.flow.tobytes() == here[clip_id].flow.tobytes()
        )


def test_a_finished_set_in_the_store_is_seen_to_be_finished(clips, calm, capsys):
    assert prepare.run(load(clips[1], f"data.prepared={calm}")) == 0
    assert "12 clips are done" in capsys.readouterr().out


def test_a_store_that_fails_in_one_request_of_twenty_changes_nothing(clips, calm, session, store, proxy):
    wanted = content(calm)
    proxy.fail(seed=2, match="^/clips/(raw|faulty)", **FAULTS)
    assert prepare.run(load(clips[1], f"data.prepared={store}/faulty")) == 0
    counters = proxy.counters
    proxy.fail()
    assert sum(counters.get(kind, 0) for kind in FAULTS) >= 10, counters
    assert content(f"{store}/faulty") == wanted


def test_verify_finds_damage_in_the_store(clips, calm, session, store, capsys):
    wanted = content(calm)
    name = shards.read_card(calm)["shards"][1]["name"]
    storage.write_bytes(f"{calm}/{name}.parquet", b"PAR1 something else PAR1")
    assert prepare.run(load(clips[1], f"data.prepared={calm}", "prepare.verify=true")) == 0
    assert f"{name}.parquet is damaged" in capsys.readouterr().err
    assert content(calm) == wanted


def test_a_store_that_is_not_there_is_said_within_a_minute(nowhere):
    found = nowhere()
    assert found["status"] == 2 and found["seconds"] < 60, found
    assert "http://127.0.0.1:9" in found["error"] and "cure: check the endpoint" in found["error"]
    assert "Traceback" not in found["error"]
