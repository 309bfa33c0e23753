"""If these fail, the demo's truth is not the truth of its clips, or the demo differs from machine to machine."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from hsta.datasets.manifest import read_manifest
from hsta.datasets.synthetic import CLASSES, demo_plan, make_demo, render_clip
from hsta.datasets.synthetic_motion import ACTIONS, displacement, draw_drift, envelope
from hsta.errors import InputError


def test_the_plan_is_what_was_asked_for():
    plan = demo_plan(subjects=9, clips_per_class=4)
    assert len({spec.clip_id for spec in plan}) == len(plan) == 9 * 3 * 4
    assert set(Counter((spec.subject, spec.label) for spec in plan).values()) == {4}
    assert len({spec.recording for spec in plan}) == 18 and len({spec.person for spec in plan}) == 9
    for spec in plan:
        assert 1 < spec.onset < spec.apex < spec.offset < spec.frames
        assert 0.5 <= spec.amplitude <= 2.0 and max(spec.sides) == 1.0
        assert spec.recording.startswith(spec.subject)


def test_no_class_and_no_subject_moves_more_than_another():
    plan = demo_plan()
    for key in ("label", "subject"):
        means = [np.mean([s.amplitude for s in plan if getattr(s, key) == v]) for v in {getattr(s, key) for s in plan}]
        assert max(means) / min(means) < 1.25


def test_a_seed_decides_the_plan_and_more_clips_do_not_change_people():
    assert demo_plan(subjects=3, seed=5) == demo_plan(subjects=3, seed=5)
    assert demo_plan(subjects=3, seed=5) != demo_plan(subjects=3, seed=6)
    assert demo_plan(subjects=3)[0].person == demo_plan(subjects=8, clips_per_class=1)[0].person
    spec = demo_plan(subjects=2)[0]
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize("wrong", [{"subjects": 1}, {"clips_per_class": 0}, {"seed": -1}])
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(InputError, match=f"synthetic.{next(iter(wrong))}"):
        demo_plan(**wrong)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root, calls = tmp_path_factory.mktemp("demo"), []
    make_demo(root, subjects=2, clips_per_class=1, seed=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 6) for k in range(1, 7)]
    return root


def test_the_manifest_reads_back(demo):
    clips = read_manifest(str(demo / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)
    assert [clip.clip_id for clip in clips] == [s.clip_id for s in demo_plan(subjects=2, clips_per_class=1, seed=3)]
    for clip in clips:
        names = sorted(os.listdir(clip.path))
        assert names[0] == "000001.jpg" and int(names[-1][:6]) > clip.offset and clip.fps == 30
        assert cv2.imread(f"{clip.path}/{names[0]}").shape == (360, 360, 3)


def test_the_same_bytes_on_a_processor_without_vector_instructions(demo, tmp_path):
    code = (
        "import sys; from hsta.datasets.synthetic import demo_plan, render_clip;"
        "render_clip(demo_plan(subjects=2, clips_per_class=1, seed=3)[0], sys.argv[1])"
    )
    plain = {
        "OPENCV_CPU_DISABLE": "AVX2,FMA3,AVX",
        "OPENCV_IPP": "disabled",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX AVX512_ICL AVX512_SPR AVX2 FMA3 X86_V3 X86_V4",
    }
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, tmp_path], env={**os.environ, **plain}, check=True)
    first = demo_plan(subjects=2, clips_per_class=1, seed=3)[0]
    folder = demo / first.subject / first.clip_id
    for path in sorted(folder.iterdir()):
        assert (tmp_path / first.subject / first.clip_id / path.name).read_bytes() == path.read_bytes(), path.name


def load(path):
    with np.load(path) as stored:
        return {name: stored[name] for name in stored}


def test_truth_agrees_with_the_plan(demo):
    for spec in demo_plan(subjects=2, clips_per_class=1, seed=3):
        truth = load(demo / "truth" / f"{spec.clip_id}.npz")
        eyes = truth["landmarks"][[33, 133, 362, 263]].reshape(2, 2, 2).mean(axis=1)
        scale = 76.16 / np.hypot(*(eyes[1] - eyes[0]))
        length = np.hypot(*truth["field"].astype(np.float64))
        assert length.max() * scale == pytest.approx(spec.amplitude, rel=0.01)
        assert 500 < truth["moving"].sum() < 20_000 and (length[truth["moving"]] > 0).all()
        assert (int(truth["onset"]), int(truth["apex"]), int(truth["offset"])) == (spec.onset, spec.apex, spec.offset)
        assert truth["strength"][spec.onset - 1] == 0 and truth["strength"].argmax() == spec.apex - 1
        assert len(truth["numbers"]) == spec.frames and np.allclose(truth["drift"][spec.onset - 1], np.eye(2, 3))


def test_pixels_move_as_the_truth_says(demo):
    """Warping the apex frame back by the true field and drift gives the onset frame, up to noise and compression."""
    for spec in demo_plan(subjects=2, clips_per_class=1, seed=3):
        truth = load(demo / "truth" / f"{spec.clip_id}.npz")
        onset, apex = (
            cv2.imread(str(demo / spec.subject / spec.clip_id / f"{n:06d}.jpg"), cv2.IMREAD_GRAYSCALE).astype(float)
            for n in (spec.onset, spec.apex)
        )
        y, x = np.mgrid[:360, :360].astype(np.float64)
        drift, region = truth["drift"][spec.apex - 1], truth["moving"]

        def error(field, drift, x=x, y=y, onset=onset, apex=apex, region=region):
            place = np.tensordot(drift[:, :2], np.stack([x, y]) + field, axes=1) + drift[:, 2][:, None, None]
            back = cv2.remap(apex.astype(np.float32), *place.astype(np.float32), cv2.INTER_CUBIC)
            difference = (back - onset)[region]
            return (difference - difference.mean()).std()

        field = truth["field"].astype(np.float64)
        true, backwards, still = error(field, drift), error(-field, drift), error(0 * field, drift)
        assert true < 3.5 and true < 0.8 * still < backwards, (spec.clip_id, true, still, backwards)
        assert error(field, np.eye(2, 3)) > true


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_pull_where_anatomy_says(demo, action):
    spec = demo_plan(subjects=2, clips_per_class=1, seed=3)[0]
    mesh = load(demo / "truth" / f"{spec.clip_id}.npz")["landmarks"]
    planted = displacement(action, mesh, amplitude=1.0, sides=(1.0, 1.0))

    def at(point):
        return planted.at(*mesh[point].reshape(2, 1))[:, 0]

    mouth_right, mouth_left, brow_right, brow_left = at(61), at(291), at(105), at(334)
    if action == "smile":
        assert mouth_right[1] < -0.3 and mouth_left[1] < -0.3 and mouth_right[0] < -0.3 < 0.3 < mouth_left[0]
        assert np.hypot(*brow_right) < 0.05
    elif action == "brow-raise":
        assert brow_right[1] < -0.4 and brow_left[1] < -0.4 and np.hypot(*mouth_right) < 0.05
    else:
        assert mouth_right[1] > 0.3 and mouth_left[1] > 0.3
        assert at(107)[0] > 0.2 and at(336)[0] < -0.2 and at(107)[1] > 0.2


def test_one_side_can_be_weaker(demo):
    mesh = load(next((demo / "truth").iterdir()))["landmarks"]
    planted = displacement("smile", mesh, amplitude=1.0, sides=(1.0, 0.3))
    right, left = (np.hypot(*planted.at(*mesh[point].reshape(2, 1))[:, 0]) for point in (61, 291))
    assert left / right == pytest.approx(0.3, abs=0.05)


def test_unmoved_inverts_the_movement():
    mesh = np.random.default_rng(0).uniform(100, 260, (468, 2))
    mesh[[33, 133]], mesh[[362, 263]] = [140, 160], [220, 160]
    planted = displacement("frown", mesh, amplitude=2.0, sides=(1.0, 0.8))
    y, x = np.mgrid[:360, :360].astype(np.float64)
    start = planted.unmoved(np.stack([x, y]), 0.9)
    assert np.abs(start + 0.9 * planted.at(*start) - np.stack([x, y])).max() < 2e-3


def test_movement_and_drift_are_smooth():
    strength = envelope(20, 3, 9, 16)
    assert strength[3] == 0 and strength[9] == 1 and (strength[16:] == 0).all() and (strength[:4] == 0).all()
    assert (np.diff(strength[3:10]) > 0).all() and (np.diff(strength[9:17]) < 0).all()
    for seed in range(20):
        drift = draw_drift(np.random.default_rng(seed), 20, 3, np.array([180.0, 180.0]))
        path = drift[:, :, :2] @ [150.0, 150.0] + drift[:, :, 2]
        assert np.hypot(*np.diff(path, axis=0).T).max() < 0.7 and 1 < np.hypot(*np.ptp(path, axis=0)) < 12


def test_rendering_again_replaces_what_was_there(demo, tmp_path):
    spec = demo_plan(subjects=2, clips_per_class=1, seed=3)[0]
    render_clip(dataclasses.replace(spec, frames=spec.frames + 3), tmp_path)
    render_clip(spec, tmp_path)
    assert len(list((tmp_path / spec.subject / spec.clip_id).iterdir())) == spec.frames
