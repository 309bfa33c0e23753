"""If these fail, a setting of the recipe does nothing, or something else than it says."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from benchmarks.vision import compare
from hsta.records import PreparedClip
from hsta.vision.align import eye_template, similarity_from_eyes, transform_points, warp
from hsta.vision.clip import prepare_clip
from hsta.vision.faces import MOUTH, eye_centres
from hsta.vision.fields import field_ends
from hsta.vision.frames import decode_frames, read_clip
from hsta.vision.recipe import PrepareRecipe


@pytest.fixture(scope="module")
def prepare(demo, finder):
    """The first demo clip prepared with the settings given, each combination once."""
    from hsta.datasets.manifest import read_manifest
    from hsta.datasets.synthetic import CLASSES

    clip = read_manifest(str(demo / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)[0]
    made = {}

    def prepared(**settings) -> PreparedClip:
        key = tuple(settings.items())
        if key not in made:
            made[key] = prepare_clip(clip, PrepareRecipe(**settings), finder)
            assert isinstance(made[key], PreparedClip), made[key]
        return made[key]

    return prepared


@pytest.fixture(scope="module")
def figures(demo, prepare):
    def compared(**settings):
        result = prepare(**settings)
        return compare(result, demo / "truth" / f"{result.clip.clip_id}.npz")

    return compared


def test_affine_puts_eyes_and_mouth_at_their_places(prepare):
    for settings, mouth in (({}, 0.36 + 1.1 * 0.34), ({"mouth_height": 0.68}, 0.68)):
        result = prepare(alignment="affine", **settings)
        assert np.abs(eye_centres(result.landmarks) - eye_template(224, 0.34, 0.36)).max() < 1e-3
        assert np.abs(result.landmarks[list(MOUTH)].mean(axis=0) - [111.5, mouth * 224 - 0.5]).max() < 1e-3


def test_affine_takes_out_drift_as_the_similarity_does(figures, prepare):
    affine, similarity = figures(alignment="affine"), figures()
    assert affine.drift_planted > 1 and affine.drift_left < 1.5 * similarity.drift_left + 0.02
    linear = prepare(alignment="affine").transforms[3, :, :2]
    assert np.abs(linear.T @ linear / np.linalg.det(linear) - np.eye(2)).max() > 0.05  # no similarity


def test_alignment_none_keeps_the_frames_of_a_cropped_data_set(tmp_path, prepare, clips, finder):
    crops = tmp_path / "cropped"
    crops.mkdir()
    for number, image in decode_frames(read_clip(clips[0].path, clips[0].onset, clips[0].offset)):
        eyes = eye_template(170, 0.55, 0.3)  # so tight that the detector sees no face without a margin
        if number == clips[0].onset:
            tight = similarity_from_eyes(finder.only_face(image).eye_centres, eyes)
        cv2.imwrite(str(crops / f"{number}.png"), warp(image, tight, 170)[..., ::-1])
    clip = dataclasses.replace(clips[0], path=str(crops))
    recipe = PrepareRecipe(alignment="none", stabilise="none", size=170)
    result = prepare_clip(clip, recipe, finder)
    assert isinstance(result, PreparedClip), result
    for number, frame in zip(result.frame_numbers, result.frames, strict=True):
        assert np.array_equal(frame, cv2.imread(str(crops / f"{number}.png"))[..., ::-1])
    assert np.abs(eye_centres(result.landmarks) - eye_template(170, 0.55, 0.3)).max() < 5
    steady = prepare_clip(clip, dataclasses.replace(recipe, stabilise="flow"), finder)
    assert np.array_equal(steady.frames[0], result.frames[0])
    assert steady.quality.residual_motion_px < 0.5 * result.quality.residual_motion_px


def test_alignment_none_takes_the_centre_of_wider_frames(prepare, figures):
    result = prepare(alignment="none")
    scale = 224 / min(map(int, result.provenance["source_size"].split("x")))
    assert np.allclose(result.transforms[0][:, :2], scale * np.eye(2))
    assert figures(alignment="none").drift_left < 0.15 * figures(alignment="none").drift_planted


def test_alignment_none_still_wants_a_face(tmp_path, clips, finder):
    for number in range(clips[0].onset, clips[0].offset + 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((120, 120, 3), 128, np.uint8))
    clip = dataclasses.replace(clips[0], path=str(tmp_path))
    assert prepare_clip(clip, PrepareRecipe(alignment="none"), finder).reason == "no-face"


def test_ecc_takes_out_most_of_the_drift_but_less_than_flow(figures):
    ecc, flow, none = (figures(stabilise=name) for name in ("ecc", "flow", "none"))
    assert flow.drift_left < ecc.drift_left < 0.3 * none.drift_left


def test_tvl1_measures_the_planted_motion(figures):
    tvl1 = figures(flow="tvl1", flow_pairs=("onset-apex",))
    assert np.median(tvl1.epe) < 0.35
    gain = (tvl1.along * tvl1.true_length).sum() / (tvl1.true_length**2).sum()
    assert 0.3 < gain < 1.1


def test_a_sequence_goes_from_the_onset_to_frames_evenly_spaced(prepare):
    result = prepare(flow_pairs=("onset-apex", "sequence"), flow_steps=4)
    assert result.flow_pairs == ("onset-apex", "onset-1/4", "onset-2/4", "onset-3/4", "onset-4/4")
    assert result.flow.shape == (5, 2, 224, 224)
    last = len(result.frames) - 1
    places = [field_ends(name, 3, last)[1] for name in result.flow_pairs[1:]]
    assert places[-1] == last and max(np.diff([0, *places])) - min(np.diff([0, *places])) <= 1
    moving = dataclasses.replace(result, flow=result.flow[1:])
    lengths = np.hypot(moving.flow[:, 0], moving.flow[:, 1])[:, lengths_where(prepare)].mean(axis=1)
    assert lengths[1:3].max() > 1.5 * lengths[3]  # the expression comes and goes
    assert np.array_equal(result.flow[0], prepare().flow[0])


def lengths_where(prepare):
    return np.hypot(*prepare().flow[0]) > 0.4


def test_a_sequence_longer_than_the_clip_repeats_frames():
    places = [field_ends(f"onset-{k}/8", 1, 3)[1] for k in range(1, 9)]
    assert places == [0, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize("name", ["nose", "ecc"])
def test_global_motion_is_taken_out_of_the_flow_and_not_of_the_figures(name, prepare, figures):
    raw, less = prepare(stabilise="none"), prepare(stabilise="none", global_motion=name)
    assert np.array_equal(raw.frames, less.frames) and raw.quality == less.quality
    before, after = figures(stabilise="none"), figures(stabilise="none", global_motion=name)
    assert before.false_motion > 0.3 and after.false_motion < 0.5 * before.false_motion
    if name == "nose":
        difference = raw.flow - less.flow
        assert np.ptp(difference.reshape(4, -1), axis=1).max() < 1e-4


def test_magnified_clips_move_more_and_keep_onset_and_figures(prepare):
    plain, grown = prepare(), prepare(magnify=3.0)
    assert np.array_equal(plain.frames[0], grown.frames[0]) and plain.quality == grown.quality
    moving = lengths_where(prepare)
    ratio = np.hypot(*grown.flow[0])[moving].mean() / np.hypot(*plain.flow[0])[moving].mean()
    assert 1.8 < ratio < 4.2
    finer = np.hypot(*prepare(magnify=3.0, magnify_level=0).flow[0])[moving].mean()
    coarser = np.hypot(*prepare(magnify=3.0, magnify_level=3).flow[0])[moving].mean()
    assert finer > 1.2 * coarser
    still_band = prepare(magnify=3.0, magnify_band=(10.0, 15.0))
    assert np.hypot(*still_band.flow[0])[moving].mean() < 0.8 * np.hypot(*grown.flow[0])[moving].mean()


def test_magnifying_needs_the_frame_rate_and_a_long_enough_clip(clips, finder):
    unknown = dataclasses.replace(clips[0], fps=None)
    assert prepare_clip(unknown, PrepareRecipe(magnify=2.0), finder).reason == "unknown-frame-rate"
    fast = dataclasses.replace(clips[0], fps=2000.0)
    assert prepare_clip(fast, PrepareRecipe(magnify=2.0), finder).reason == "too-short"


@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("method", ["tim", "linear"])
def test_interpolated_clips_have_one_length_and_their_apex(count, method, prepare):
    plain, result = prepare(), prepare(interpolate=count, interpolation=method)
    assert len(result.frames) == len(result.frame_numbers) == len(result.transforms) == count
    assert np.array_equal(result.flow, plain.flow) and result.quality == plain.quality
    for number in (result.clip.onset, result.apex, result.clip.offset):
        place, before = result.frame_numbers.index(number), plain.frame_numbers.index(number)
        assert np.array_equal(result.frames[place], plain.frames[before])
        assert np.allclose(result.transforms[place], plain.transforms[before])
    positions = [float(text) for text in result.provenance["frame_positions"].split()]
    assert tuple(map(int, positions)) == result.frame_numbers and list(positions) == sorted(positions)
    for place in range(count):
        low = result.frame_numbers[place] - result.clip.onset
        part = positions[place] - result.frame_numbers[place]
        ends = plain.frames[[low, min(low + 1, len(plain.frames) - 1)]].astype(float)
        blend = (1 - part) * ends[0] + part * ends[1]
        assert np.abs(result.frames[place] - blend).mean() < (0.6 if method == "linear" else 4)


def test_interpolation_methods_differ(prepare):
    tim, linear = (prepare(interpolate=40, interpolation=name) for name in ("tim", "linear"))
    assert not np.array_equal(tim.frames, linear.frames)
    assert np.array_equal(tim.frames, prepare(interpolate=40).frames)


def test_points_of_an_interpolated_clip_map_from_the_source(prepare):
    result = prepare(interpolate=40, interpolation="linear")
    source = np.array([[150.0, 150.0], [220.0, 180.0]])
    path = np.stack([transform_points(matrix, source) for matrix in result.transforms])
    assert np.abs(np.diff(path, axis=0)).max() < 1.5


@pytest.mark.parametrize(("policy", "part"), [("flow-maximum", 1.0), ("first-motion", 0.5)])
def test_motion_tells_an_apex_that_is_not_annotated(demo, finder, policy, part):
    """The planted motion rises from onset to apex: its maximum is at the true apex, half of it about halfway there."""
    from hsta.datasets.manifest import read_manifest
    from hsta.datasets.synthetic import CLASSES

    clip = read_manifest(str(demo / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)[0]
    blind = dataclasses.replace(clip, apex=None)
    result = prepare_clip(blind, PrepareRecipe(missing_apex=policy), finder)
    assert result.provenance["apex_source"] == policy and result.clip.apex is None
    assert abs(result.apex - (clip.onset + part * (clip.apex - clip.onset))) <= 2
    with_apex = prepare_clip(clip, PrepareRecipe(missing_apex=policy), finder)
    assert (with_apex.apex, with_apex.provenance["apex_source"]) == (clip.apex, "annotated")
