"""Preparation through the real command. If these fail, damaged clips pass or stop a run, or a finished set is not what
it says."""

import csv
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

from benchmarks.clip_sets import damage, multiply, read_rows, write_rows
from hsta.datasets import shards
from hsta.datasets.shard_plan import plan_shards
from hsta.errors import InputError
from hsta.records import Clip
from tests.workflows.conftest import ROOT, load
from workflows import command, prepare
from workflows.engine import ray_session
from workflows.prepare_run import BATCH_CLIPS, batches


@pytest.fixture(scope="module")
def session():
    with ray_session():
        yield


@pytest.fixture(scope="module")
def pristine(demo_set, session, tmp_path_factory):
    """The demo's clips and their prepared set in a folder that `own` restores."""
    folder, assignments = demo_set
    mine = tmp_path_factory.mktemp("own")
    shutil.copytree(folder / "clips", mine / "clips")
    assignments = [*assignments, f"data.manifest={mine}/clips/clips.csv", f"data.prepared={mine}/prepared"]
    assert prepare.run(load(assignments)) == 0
    for name in ("clips", "prepared"):
        shutil.copytree(mine / name, mine / "kept" / name)
    return mine, assignments


@pytest.fixture
def own(pristine):
    """Clips and their prepared set to damage, and the settings that point at them."""
    folder, assignments = pristine
    for name in ("clips", "prepared"):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(folder / "kept" / name, folder / name)
    return folder, assignments


def run(assignments, *flags):
    arguments = ["--config", str(ROOT / "configs/demo.yaml"), *flags]
    for assignment in assignments:
        arguments += ["--set", assignment]
    return command.main("prepare", prepare.__doc__, prepare.run, arguments, flags=prepare.FLAGS)


def files(folder):
    """Every file of a prepared set that is the same in every run, with its content."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "run-info.json"}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_the_same_command_again_touches_nothing_and_needs_no_cluster(own, capsys):
    folder, assignments = own
    before, info = times(folder / "prepared"), (folder / "prepared/run-info.json").read_bytes()
    assert run(assignments) == 0
    out = capsys.readouterr().out
    assert "9 clips are done" in out and "9 clips prepared, 0 rejected" in out
    assert times(folder / "prepared") == before and (folder / "prepared/run-info.json").read_bytes() == info


def test_damaged_and_missing_shards_are_found_named_and_made_again(own, session, capsys):
    folder, assignments = own
    before = files(folder / "prepared")
    damaged, missing, _ = sorted((folder / "prepared/demo").rglob("*.parquet"))[:3]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    missing.unlink()
    assert run(assignments, "--verify") == 0
    captured = capsys.readouterr()
    assert damaged.name in captured.err and "is damaged" in captured.err
    assert missing.name in captured.err and "is missing" in captured.err
    assert "2 damaged" in captured.out
    assert files(folder / "prepared") == before
    assert run(assignments, "--verify") == 0 and "0 damaged" in capsys.readouterr().out


def test_starting_over_makes_every_shard_anew_and_the_same(own, session):
    folder, assignments = own
    before, stamps = files(folder / "prepared"), times(folder / "prepared")
    assert run(assignments, "--force") == 0
    assert files(folder / "prepared") == before
    after = times(folder / "prepared")
    assert all(after[name] != stamps[name] for name in stamps)


def test_another_recipe_is_refused_even_before_the_first_run_was_finished(own, session):
    folder, assignments = own
    (folder / "prepared/card.json").unlink()
    with pytest.raises(InputError, match="eye_distance: 0.34 -> 0.4"):
        prepare.run(load(assignments, "vision.eye_distance=0.4"))
    assert run([*assignments, "vision.eye_distance=0.4"], "--force") == 0
    card = shards.read_card(str(folder / "prepared"))
    assert card["recipe"]["eye_distance"] == 0.4
    stored = {
        path.relative_to(folder / "prepared").with_suffix("").as_posix()
        for path in (folder / "prepared/demo").rglob("*.*")
    }
    assert stored == {shard["name"] for shard in card["shards"]}  # nothing of the other recipe is left


def test_a_changed_source_is_named_and_only_its_shard_is_made_again(own, session, capsys):
    folder, assignments = own
    row = read_rows(folder / "clips/clips.csv")[4]
    frame = sorted((folder / "clips" / row["path"]).iterdir())[int(row["onset"]) - 1]
    os.utime(frame, (1, 1))
    before = times(folder / "prepared")
    assert run(assignments) == 0
    assert f"source changed: {row['clip_id']}" in capsys.readouterr().out
    after = times(folder / "prepared")
    kept = [
        name for name in before if after.get(name) == before[name] and name not in ("index.parquet", "rejects.parquet")
    ]
    assert len(kept) >= 2 and len(set(after) - set(before)) == 1


def test_a_repaired_clip_is_prepared_by_the_same_command(own, session, capsys):
    folder, assignments = own
    rows = read_rows(folder / "clips/clips.csv")
    path = folder / "clips" / rows[0]["path"]
    path.rename(folder / "aside")
    assert run([*assignments, "prepare.max_rejected=1"]) == 0
    assert "missing-folder" in capsys.readouterr().err
    (folder / "aside").rename(path)
    assert run(assignments) == 0
    assert "9 clips prepared, 0 rejected" in capsys.readouterr().out


def test_a_changed_manifest_is_named(own, session, capsys):
    folder, assignments = own
    rows = read_rows(folder / "clips/clips.csv")
    gone = rows.pop(8)
    rows[0]["apex"] = str(int(rows[0]["apex"]) + 1)
    write_rows(folder / "clips/clips.csv", rows)
    assert run(assignments) == 0
    out = capsys.readouterr().out
    assert f"removed: {gone['clip_id']}" in out and f"annotation changed: {rows[0]['clip_id']}" in out
    assert shards.read_card(str(folder / "prepared"))["prepared"] == 8


@pytest.fixture(scope="module")
def damaged(demo_set, tmp_path_factory):
    """66 clips, of which 30 are damaged in ten ways and three are grayscale; the reasons expected."""
    folder = tmp_path_factory.mktemp("damaged")
    manifest = multiply(demo_set[0] / "clips/clips.csv", folder, clips=66)
    return folder, damage(manifest, each=3)


def test_clips_damaged_in_ten_ways_are_rejected_with_the_right_reasons(demo_set, damaged, session, capsys):
    folder, expected = damaged
    assignments = [*demo_set[1], f"data.manifest={folder}/clips.csv", f"data.prepared={folder}/prepared"]
    assert run([*assignments, "prepare.max_rejected=0.5"]) == 0
    captured = capsys.readouterr()
    assert "36 clips prepared, 30 rejected" in captured.out and captured.err.count("rejected: ") == 30
    rejects = {row["clip_id"]: row["reason"] for row in pq.read_table(folder / "prepared/rejects.parquet").to_pylist()}
    assert rejects == {clip_id: reason for clip_id, reason in expected.items() if reason is not None}
    assert run([*assignments, "prepare.max_rejected=0.5"], "--strict") == 1  # nothing is made again for it
    assert "prepare.strict allows none" in capsys.readouterr().err
    assert run(assignments) == 1 and "more than prepare.max_rejected" in capsys.readouterr().err
    with (folder / "clips.csv").open() as file:
        gray = [
            row["clip_id"]
            for row in csv.DictReader(file)
            if row["clip_id"] in expected and row["clip_id"] not in rejects
        ]
    index = {row["clip_id"] for row in shards.read_index(str(folder / "prepared")).to_pylist()}
    assert len(gray) == 3 and set(gray) <= index


def test_the_contact_sheet_shows_samples_and_rejects_with_their_reasons(demo_set, damaged, session):
    folder, expected = damaged
    html = (folder / "prepared/contact_sheet.html").read_text()
    assert html.startswith("<!doctype html>") and "<script" not in html
    for clip_id, reason in expected.items():
        if reason is not None:
            assert clip_id in html and reason in html
    assert html.count("data:image/") > 3 * 8  # samples with three pictures each


@pytest.mark.parametrize("actors", [1, 2, 16])
def test_actors_get_much_at_first_and_little_at_last(actors):
    clips = [
        Clip(clip_id=str(n), dataset="d", subject=f"s{n // 30}", recording="r", path=f"{n}", onset=0, apex=1, offset=2)
        for n in range(1000)
    ]
    plans = plan_shards(clips, recipe_hash="r", clips_per_shard=4)
    found = batches(plans, actors)
    assert sorted(plan.name for batch in found for plan in batch) == sorted(plan.name for plan in plans)
    sizes = [sum(len(plan.clips) for plan in batch) for batch in found]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] >= 20 and max(sizes) <= BATCH_CLIPS
    if actors > 1:
        assert all(len(batch) == 1 for batch in found[-2 * actors :])  # so that all end at about the same time
    else:
        assert len(found) == -(-1000 // BATCH_CLIPS)  # nobody to share with


def test_where_the_time_went_adds_up(own):
    info = json.loads((own[0] / "prepared/run-info.json").read_text())
    stages = {**info["stage_seconds"]}
    whole = stages.pop("whole")
    assert 0.9 * whole <= sum(stages.values()) <= whole + 1e-6
    assert info["clips_made"] == 9 and info["video_frames_decoded"] == 0


def test_a_recording_is_decoded_once_for_all_its_clips(demo_set, session, tmp_path):
    """Its intervals are of two subjects and more than a shard holds; some overlap."""
    import cv2

    rows = read_rows(demo_set[0] / "clips/clips.csv")[:3]
    writer, count, spans = None, 0, []
    for row in rows:
        paths = sorted((demo_set[0] / "clips" / row["path"]).iterdir())
        spans.append((count + int(row["onset"]) - 1, count + int(row["apex"]) - 1, count + int(row["offset"]) - 1))
        for path in paths:
            image = cv2.imread(str(path))
            if writer is None:
                shape = (image.shape[1], image.shape[0])
                writer = cv2.VideoWriter(str(tmp_path / "long.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 30, shape)
            writer.write(image)
            count += 1
    writer.release()
    clips = []
    for subject in ("s1", "s2"):
        for number, (onset, apex, offset) in enumerate(
            [*spans, *((onset, apex, offset - 1) for onset, apex, offset in spans)]
        ):
            names = {"clip_id": f"{subject}-{number}", "subject": subject, "recording": "long", "path": "long.avi"}
            clips.append({**rows[0], **names, "onset": onset, "apex": apex, "offset": offset})
    write_rows(tmp_path / "clips.csv", clips)
    assert run([*demo_set[1], f"data.manifest={tmp_path}/clips.csv", f"data.prepared={tmp_path}/prepared"]) == 0
    info = json.loads((tmp_path / "prepared/run-info.json").read_text())
    assert info["clips_made"] == 12 and info["shards_made"] == 4
    assert info["video_frames_decoded"] == spans[-1][2] + 1
