"""If these fail, prepared clips do not show the planted motion, or bad clips are not rejected for what is wrong."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.vision import GOALS, compare, summarise
from hsta.records import Clip, PreparedClip, RejectedClip
from hsta.vision.align import eye_template, transform_points
from hsta.vision.clip import STAGES, prepare_clip
from hsta.vision.errors import REASONS
from hsta.vision.faces import eye_centres
from hsta.vision.frames import frame_number, read_clip
from hsta.vision.recipe import PrepareRecipe, recipe_hash


@pytest.fixture(scope="module")
def prepared(demo, finder) -> list[PreparedClip]:
    from hsta.datasets.manifest import read_manifest
    from hsta.datasets.synthetic import CLASSES

    clips = read_manifest(str(demo / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)
    return [prepare_clip(clip, PrepareRecipe(), finder) for clip in clips]


def test_flow_and_alignment_meet_the_goals_on_planted_motion(prepared, demo):
    summary = summarise([compare(clip, demo / "truth" / f"{clip.clip.clip_id}.npz") for clip in prepared])
    for name, (low, high) in GOALS.items():
        assert low <= summary[name] <= high, (name, summary[name])
    assert summary["drift_removed_worst_clip"] > 0.9 and summary["false_motion"] < 0.08
    assert summary["landmark_error"] < 0.05 and summary["eye_error"] < 0.04


def test_what_a_prepared_clip_holds(prepared):
    for result in prepared:
        assert isinstance(result, PreparedClip)
        count = result.clip.offset - result.clip.onset + 1
        assert result.frame_numbers == tuple(range(result.clip.onset, result.clip.offset + 1))
        assert result.frames.shape == (count, 224, 224, 3) and result.frames.dtype == np.uint8
        assert result.flow.shape == (2, 2, 224, 224) and result.flow.dtype == np.float32
        assert result.landmarks.shape == (468, 2) and result.landmarks.dtype == np.float32
        assert result.transforms.shape == (count, 2, 3) and result.transforms.dtype == np.float64
        assert np.abs(eye_centres(result.landmarks) - eye_template(224, 0.34, 0.36)).max() < 1e-3
        for linear in result.transforms[:, :, :2]:  # similarities, all of them
            assert np.allclose(linear.T @ linear, np.eye(2) * np.linalg.det(linear))
        quality = result.quality
        assert quality.face_score > 0.7 and 60 < quality.interocular_px < 90
        assert quality.residual_motion_px < 0.3 and quality.sharpness > 5
        assert result.apex == result.clip.apex and result.provenance["apex_source"] == "annotated"
        assert result.provenance["recipe"] == recipe_hash(PrepareRecipe())


def test_the_flow_back_to_the_offset_undoes_the_flow_to_the_apex(prepared):
    for result in prepared:
        there, back = result.flow
        moved = np.hypot(*there) > 0.4
        assert (there * back).sum(axis=0)[moved].mean() < 0


def test_without_stabilising_the_drift_stays(clips, demo, finder):
    result = prepare_clip(clips[0], PrepareRecipe(stabilise="none"), finder)
    assert (result.transforms == result.transforms[0]).all()
    figures = compare(result, demo / "truth" / f"{clips[0].clip_id}.npz")
    assert figures.drift_left == pytest.approx(figures.drift_planted)


def test_again_is_the_same_and_stages_are_timed(clips, prepared, finder):
    seconds: dict[str, float] = {}
    stored = read_clip(clips[0].path, clips[0].onset, clips[0].offset)
    again = prepare_clip(clips[0], PrepareRecipe(), finder, stored=stored, seconds=seconds)
    assert again.provenance == prepared[0].provenance and np.array_equal(again.flow, prepared[0].flow)
    assert np.array_equal(again.frames, prepared[0].frames) and set(seconds) == set(STAGES) - {"read"}
    prepare_clip(clips[0], PrepareRecipe(), finder, seconds=seconds)
    assert set(seconds) == set(STAGES) and all(value > 0 for value in seconds.values())


def test_a_smaller_face_and_one_flow_field(clips, finder):
    recipe = PrepareRecipe(size=112, flow_pairs=("apex-offset",), flow="dis")
    result = prepare_clip(clips[0], recipe, finder)
    assert result.frames.shape[1:] == (112, 112, 3) and result.flow.shape == (1, 2, 112, 112)


def test_a_missing_apex_is_the_midpoint_by_name_or_a_reject(clips, finder):
    clip = dataclasses.replace(clips[0], apex=None)
    result = prepare_clip(clip, PrepareRecipe(), finder)
    assert result.apex == (clip.onset + clip.offset) // 2 and result.provenance["apex_source"] == "midpoint"
    assert prepare_clip(clip, PrepareRecipe(missing_apex="reject"), finder).reason == "no-apex"


def test_a_clip_with_a_gap_is_prepared_by_name_unless_the_apex_is_gone(clips, prepared, finder, tmp_path):
    clip = dataclasses.replace(clips[0], path=str(tmp_path / "clip"))
    shutil.copytree(clips[0].path, clip.path)
    files = {frame_number(path.name): path for path in Path(clip.path).iterdir()}
    gone = next(number for number in range(clip.onset + 1, clip.offset) if abs(number - clip.apex) > 1)
    files[gone].unlink()
    recipe = PrepareRecipe(max_missing=0.2)
    assert prepare_clip(clip, PrepareRecipe(), finder).reason == "missing-frame"
    result, whole = prepare_clip(clip, recipe, finder), prepared[0]
    kept = [number != gone for number in whole.frame_numbers]
    assert result.frame_numbers == tuple(number for number in whole.frame_numbers if number != gone)
    assert result.apex == clip.apex and np.abs(result.flow - whole.flow).mean() < 0.05
    assert np.abs(result.frames.astype(float) - whole.frames[kept]).mean() < 2
    files[clip.apex].unlink()
    assert prepare_clip(clip, recipe, finder).reason == "missing-frame"
    without = prepare_clip(dataclasses.replace(clip, apex=None), PrepareRecipe(max_missing=0.5), finder)
    assert without.apex in without.frame_numbers


def test_real_videos_are_prepared_and_hold_stiller_with_stabilising(sample_video, finder):
    clip = Clip(
        clip_id="v", dataset="d", subject="s", recording="r", path=str(sample_video), onset=30, apex=None, offset=42
    )
    steady, shaky = (prepare_clip(clip, PrepareRecipe(stabilise=name), finder) for name in ("flow", "none"))
    assert steady.frames.shape == (13, 224, 224, 3)
    assert steady.quality.residual_motion_px < shaky.quality.residual_motion_px


@pytest.fixture
def copy(clips, tmp_path):
    """A clip whose frames may be damaged."""
    shutil.copytree(clips[0].path, tmp_path / "clip")
    return dataclasses.replace(clips[0], path=str(tmp_path / "clip")), tmp_path / "clip"


def jpg(folder, number):
    return folder / f"{number:06d}.jpg"


def damage_missing(clip, folder):
    jpg(folder, clip.onset + 2).unlink()


def damage_zero_bytes(clip, folder):
    jpg(folder, clip.onset + 2).write_bytes(b"")


def damage_truncated(clip, folder):
    path = jpg(folder, clip.apex)
    path.write_bytes(path.read_bytes()[:-2000])


def damage_twin(clip, folder):
    shutil.copy(jpg(folder, clip.apex), folder / f"{clip.apex}.jpg")


def damage_shuffled(clip, folder):
    numbers = list(range(clip.onset, clip.offset + 1))
    contents = [jpg(folder, number).read_bytes() for number in numbers]
    for number, place in zip(numbers, np.random.default_rng(0).permutation(len(numbers)), strict=True):
        jpg(folder, number).write_bytes(contents[place])


def damage_no_face(clip, folder):
    cv2.imwrite(str(jpg(folder, clip.onset)), np.full((360, 360, 3), 120, np.uint8))


def damage_two_faces(clip, folder):
    for path in folder.iterdir():
        image = cv2.imread(str(path))
        cv2.imwrite(str(path), np.concatenate([image, image[:, ::-1]], axis=1))


def damage_cut(clip, folder):
    image = cv2.imread(str(jpg(folder, clip.offset)))
    cv2.imwrite(str(jpg(folder, clip.offset)), cv2.rotate(image, cv2.ROTATE_180))


def damage_size(clip, folder):
    image = cv2.imread(str(jpg(folder, clip.offset)))
    cv2.imwrite(str(jpg(folder, clip.offset)), image[:-4])


def damage_folder(clip, folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_missing, "missing-frame"),
        (damage_zero_bytes, "unreadable-frame"),
        (damage_truncated, "unreadable-frame"),
        (damage_twin, "wrong-frame-order"),
        (damage_shuffled, "wrong-frame-order"),
        (damage_no_face, "no-face"),
        (damage_two_faces, "two-faces"),
        (damage_cut, "lost-face"),
        (damage_size, "frame-size-changed"),
        (damage_folder, "missing-folder"),
    ],
)
def test_damaged_clips_are_rejected_with_their_reason(copy, finder, damage, reason):
    clip, folder = copy
    damage(clip, folder)
    result = prepare_clip(clip, PrepareRecipe(), finder)
    assert isinstance(result, RejectedClip) and result.clip is clip
    assert (result.reason, result.reason in REASONS) == (reason, True), result.detail
    assert len(result.detail) > 20


@pytest.mark.parametrize("change", [{"apex": 1}, {"apex": 999}, {"onset": 9, "offset": 3}])
def test_annotations_out_of_order_are_rejected(clips, finder, change):
    assert prepare_clip(dataclasses.replace(clips[0], **change), PrepareRecipe(), finder).reason == "wrong-frame-order"


def test_grayscale_clips_are_prepared_and_said_to_be_gray(copy, finder):
    clip, folder = copy
    for path in folder.iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    result = prepare_clip(clip, PrepareRecipe(), finder)
    assert result.provenance["source_colour"] == "gray"
    assert (result.frames[..., 0] == result.frames[..., 2]).all()


def test_transforms_go_from_source_to_aligned_pixels(prepared, demo):
    result = prepared[0]
    with np.load(demo / "truth" / f"{result.clip.clip_id}.npz") as truth:
        landmarks = transform_points(result.transforms[0], truth["landmarks"])
    assert np.hypot(*(landmarks - result.landmarks).T).mean() < 4
