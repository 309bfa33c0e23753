"""Preparation killed, and doubled. If these fail, a run that was killed has to start over, or ends with another
result."""

import random
import re

import pytest

from benchmarks.clip_sets import multiply
from benchmarks.prepare_faults import VICTIMS, content, kill_during, receipts, settings, start, undisturbed


@pytest.fixture(scope="module")
def clips(demo_set, tmp_path_factory):
    """24 clips, and what they become when nothing disturbs."""
    folder = tmp_path_factory.mktemp("faults")
    manifest = multiply(demo_set[0] / "clips/clips.csv", folder / "clips", clips=24, subjects=4)
    return manifest, undisturbed(manifest, folder / "undisturbed")


@pytest.mark.parametrize("victim", VICTIMS)
def test_whoever_is_killed_the_same_command_ends_with_the_same_set(clips, tmp_path, victim):
    manifest, wanted = clips
    prepared = tmp_path / "prepared"
    moment = random.Random(victim).uniform(0.1, 0.6)
    status, output, done = kill_during(settings(manifest, prepared), victim, prepared, moment)
    assert status == 0 if victim == "actor" else status != 0, output
    before = {path.name: path.stat().st_mtime_ns for path in prepared.glob("*/*/*.parquet") if path.stem in done}
    if status != 0:
        assert not (prepared / "card.json").exists()
        again = start(settings(manifest, prepared))
        output, _ = again.communicate(timeout=300)
        assert again.returncode == 0, output
        kept = int(re.search(r"(\d+) clips are done", output)[1])
        assert 2 * len(done) <= kept <= 24  # an actor may have stored a shard after its driver died
    assert content(prepared) == wanted
    assert {name: (next(prepared.glob(f"*/*/{name}"))).stat().st_mtime_ns for name in before} == before  # nothing twice


def test_two_runs_at_once_end_with_the_same_set(clips, tmp_path):
    manifest, wanted = clips
    prepared = tmp_path / "prepared"
    runs = [start(settings(manifest, prepared, "prepare.actors=1")) for _ in range(2)]
    for process in runs:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        assert "24 clips prepared, 0 rejected" in output
    assert content(prepared) == wanted and len(receipts(prepared)) == 12
