"""Clips as arrays. If these fail, a model trains on frames or labels of other clips, or on flow in the wrong unit."""

import dataclasses

import numpy as np
import pytest

from hsta.errors import InputError
from hsta.training.arrays import build_arrays, concatenate, select


def build(prepared, size=64):
    return build_arrays(prepared, image_size=size, label_set="demo3")


def frames_of(arrays, row):
    return arrays.frames[arrays.starts[row] : arrays.starts[row + 1]]


def test_each_clip_keeps_its_frames_apex_and_label(prepared):
    arrays = build(prepared)
    assert len(arrays) == 12
    for row, item in enumerate(prepared):
        np.testing.assert_array_equal(frames_of(arrays, row), item.frames.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(arrays.frames[arrays.apex[row]], item.frames[3].transpose(2, 0, 1))
        assert arrays.labels[row] == item.clip.labels["demo3"]
        assert arrays.keys[row] == ("mine", item.clip.clip_id)


def test_flow_shrinks_with_the_image(prepared):
    whole, half = build(prepared), build(prepared, 32)
    assert half.frames.shape[-1] == half.motion.shape[-1] == 32
    inside_whole = whole.motion[0, 0, 0, 22:38, 22:38].astype(float).mean()
    inside_half = half.motion[0, 0, 0, 11:19, 11:19].astype(float).mean()
    assert inside_half == pytest.approx(inside_whole / 2, rel=0.01)


def test_parts_put_together_are_the_whole(prepared):
    whole, joined = build(prepared), concatenate([build(prepared[:5]), build(prepared[5:])])
    for name in ("frames", "starts", "apex", "motion"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.keys == whole.keys


def test_a_selection_is_what_building_it_alone_gives(prepared):
    rows = [1, 4, 11]
    chosen = select(build(prepared), [("mine", f"c{row}") for row in rows])
    alone = build([prepared[row] for row in rows])
    for name in ("frames", "starts", "apex", "motion"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(alone, name))
    assert chosen.keys == alone.keys and chosen.labels == alone.labels


def test_nothing_to_select_or_load_is_an_error(prepared):
    with pytest.raises(InputError, match="1 of the 2 clips named are not here: mine/other"):
        select(build(prepared), [("mine", "c1"), ("mine", "other")])
    with pytest.raises(InputError, match="none named"):
        select(build(prepared), [])
    with pytest.raises(InputError, match="no clips to load"):
        build([])


def test_clips_prepared_with_different_flow_are_not_put_together(prepared):
    other = dataclasses.replace(prepared[0], flow=prepared[0].flow[:1], flow_pairs=("onset-apex",))
    with pytest.raises(InputError, match="(?s)different flow fields.*one recipe"):
        concatenate([build(prepared[1:]), build([other])])


def test_a_missing_label_is_named(prepared):
    with pytest.raises(InputError, match="'c0' has no label of label set 'megc3'"):
        build_arrays(prepared, image_size=64, label_set="megc3")
