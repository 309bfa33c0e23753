"""Batches out of resident clips. If these fail, the model is shown other frames or motion than its configuration
says."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from hsta.errors import InputError
from hsta.model import SPECIAL
from hsta.training import special as kinds
from hsta.training.arrays import build_arrays
from hsta.training.augment import Changes
from hsta.training.pictures import draw_arrows
from hsta.training.resident import ResidentClips
from hsta.training.transfer import Rows
from tests.training.conftest import CONFIG, make_prepared

MEAN, STD = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def clips(arrays, config=CONFIG, **options):
    return ResidentClips(arrays, config, device=torch.device("cpu"), **options)


def batch(arrays, config=CONFIG, *, padding="repeat", **options):
    return clips(arrays, config, padding=padding).batch(torch.arange(len(arrays)), **options)


def special_of(arrays, kind, **options):
    return batch(arrays, dataclasses.replace(CONFIG, special=kind), **options)[1]


def normalised(frames):
    """(n, H, W, 3) uint8 as the model sees them."""
    return (frames.transpose(0, 3, 1, 2) / 255.0 - MEAN) / STD


def test_frames_are_the_middles_of_equal_stretches(prepared, arrays):
    video, _ = batch(arrays)
    item = prepared[3]  # 8 frames, 4 stretches of 2
    assert len(item.frames) == 8
    np.testing.assert_allclose(video[3].numpy(), normalised(item.frames[[1, 3, 5, 7]]), atol=1e-5)


def test_drawn_frames_stay_in_their_stretch(prepared, arrays):
    early, _ = batch(arrays, places_BT=torch.zeros(12, 4))
    late, _ = batch(arrays, places_BT=torch.full((12, 4), 1 - 1e-6))
    for video, rows in ((early, [0, 2, 4, 6]), (late, [1, 3, 5, 7])):
        np.testing.assert_allclose(video[3].numpy(), normalised(prepared[3].frames[rows]), atol=1e-5)


@pytest.mark.parametrize("place", [0.0, 0.5, 1 - 1e-6])
def test_a_short_clip_repeats_frames_or_ends_in_zeros(place):
    item = make_prepared(0, "smile", length=5)
    arrays = build_arrays([item, make_prepared(1, "frown", length=8)], image_size=64, label_set="demo3")
    config = dataclasses.replace(CONFIG, frames=8)
    places = torch.full((2, 8), place)
    repeated, _ = batch(arrays, config, places_BT=places)
    shown = [np.abs(normalised(item.frames) - frame).max((1, 2, 3)).argmin() for frame in repeated[0].numpy()]
    assert set(shown) == {0, 1, 2, 3, 4} and shown == sorted(shown)
    padded, _ = batch(arrays, config, padding="zeros", places_BT=places)
    np.testing.assert_allclose(padded[0, :5].numpy(), normalised(item.frames), atol=1e-5)
    assert not padded[0, 5:].any()
    assert torch.equal(padded[1], repeated[1])  # long enough


def test_every_kind_of_special_data_is_built_in_the_models_shape(arrays):
    assert {*kinds.FRAMES, *kinds.MOTION, *kinds.PICTURES} == set(SPECIAL)
    seen = {}
    for name, kind in SPECIAL.items():
        data = special_of(arrays, name)
        assert data.shape == (12, kind.items, kind.channels, 64, 64) and data.isfinite().all() and data.std() > 0, name
        assert torch.equal(data, special_of(arrays, name)), f"{name}: scoring must be deterministic"
        seen[name] = data
    names = list(seen)
    for index, name in enumerate(names):
        for other in names[:index]:
            assert seen[name].shape != seen[other].shape or not torch.equal(seen[name], seen[other]), (name, other)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("onset_apex", [0, 3]), ("apex_offset", [3, 7]), ("onset_offset", [0, 7]), ("random_pair", [2, 6])],
)
def test_frame_pairs_are_the_frames_named(prepared, arrays, kind, rows):
    np.testing.assert_allclose(special_of(arrays, kind)[3].numpy(), normalised(prepared[3].frames[rows]), atol=1e-5)


def test_frame_differences_are_later_minus_earlier(prepared, arrays):
    onset, apex, offset = prepared[3].frames[[0, 3, 7]].astype(float).transpose(0, 3, 1, 2) / 255
    expected = np.stack([(apex - onset) / STD, (offset - apex) / STD])
    np.testing.assert_allclose(special_of(arrays, "frame_difference")[3].numpy(), expected, atol=1e-5)


def test_random_pairs_are_two_different_frames_in_time_order(prepared, arrays):
    pair = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))
    pair[0], pair[1] = torch.tensor([0.0, 0.0]), torch.tensor([1 - 1e-7, 1 - 1e-7])
    drawn = special_of(arrays, "random_pair", pair_B2=pair)
    for clip, item in enumerate(prepared):
        distance = np.abs(drawn[clip].numpy()[:, None] - normalised(item.frames)[None]).max((2, 3, 4))
        first, second = distance.argmin(1)
        assert first < second and distance.min(1).max() < 1e-5


def test_flow_is_what_was_prepared_in_units_of_the_scale(prepared, arrays):
    flow = special_of(arrays, "flow")
    np.testing.assert_allclose(flow[0, 0, :2].numpy(), prepared[0].flow[0], atol=2e-3)
    scaled = clips(arrays, motion_scale=(2.0, 0.5)).batch(torch.arange(12))[1]
    torch.testing.assert_close(scaled, flow * torch.tensor([0.5, 0.5, 0.2]).view(3, 1, 1))
    pair = special_of(arrays, "flow_pair")
    assert torch.equal(pair[:, :1], flow)
    np.testing.assert_allclose(pair[0, 1, :2].numpy(), prepared[0].flow[1], atol=2e-3)


def test_special_data_that_were_not_prepared_are_refused(prepared):
    one = [dataclasses.replace(item, flow=item.flow[1:], flow_pairs=("apex-offset",)) for item in prepared]
    arrays = build_arrays(one, image_size=64, label_set="demo3")
    for kind in ("flow", "flow_pair", "flow_picture_black"):
        with pytest.raises(InputError, match="onset-apex was not prepared"):
            special_of(arrays, kind)
    assert special_of(arrays, "onset_apex").shape == (12, 2, 3, 64, 64)


def test_flow_fields_are_found_by_name(prepared, arrays):
    swapped = [dataclasses.replace(item, flow=item.flow[::-1], flow_pairs=item.flow_pairs[::-1]) for item in prepared]
    for kind in ("flow", "flow_pair", "flow_picture_mixed"):
        ours = special_of(build_arrays(swapped, image_size=64, label_set="demo3"), kind)
        assert torch.equal(ours, special_of(arrays, kind)), kind


def test_arrows_point_where_the_motion_goes_and_grow_with_it():
    def drawn(u, v, full_length=1.0):
        flow = np.zeros((2, 64, 64), np.float32)
        flow[:, 24:40, 24:40] = np.array([u, v])[:, None, None]
        picture = np.zeros((64, 64, 3), np.uint8)
        draw_arrows(picture, flow, full_length=full_length)
        rows, columns = np.nonzero(picture[..., 1])
        return columns.mean() - 31.5 if len(columns) else 0, rows.mean() - 31.5 if len(rows) else 0

    assert drawn(0, 0) == (0, 0)
    for u, v in ((3, 0), (-3, 0), (0, 3), (0, -3)):
        right, down = drawn(u, v)
        assert np.sign(right) == np.sign(u) if u else abs(right) < 2
        assert np.sign(down) == np.sign(v) if v else abs(down) < 2
    assert drawn(6, 0)[0] > drawn(3, 0)[0] > drawn(3, 0, full_length=2.0)[0] > 0


def test_flow_pictures_lie_on_black_or_on_their_frames(prepared, arrays):
    def pixels(kind):
        return np.rint((special_of(arrays, kind)[3].numpy() * STD + MEAN) * 255)

    black, frame, mixed = (pixels(f"flow_picture_{ground}") for ground in ("black", "frame", "mixed"))
    apex, offset = prepared[3].frames[[3, 7]].transpose(0, 3, 1, 2)
    arrow = black.max(1) > 0  # both pictures
    assert 0.01 < arrow.mean() < 0.5 and not black[:, [0, 2]].any()  # green on black
    for item, ground in enumerate((apex, offset)):
        np.testing.assert_array_equal(frame[item][:, ~arrow[item]], ground[:, ~arrow[item]])
        assert not np.array_equal(frame[item], ground)
    np.testing.assert_array_equal(mixed, np.stack([black[0], frame[1]]))


def test_the_picture_of_a_mirrored_flow_is_the_mirrored_picture():
    y, x = np.mgrid[:64, :64].astype(np.float32)
    flow = np.stack([np.sin(x / 9), np.cos(y / 7 + x / 11)])
    plain, mirrored = np.zeros((2, 64, 64, 3), np.uint8)
    draw_arrows(plain, flow, full_length=0.5)
    draw_arrows(mirrored, np.ascontiguousarray(flow[:, :, ::-1]) * np.float32([[[-1]], [[1]]]), full_length=0.5)
    same = np.corrcoef(mirrored[..., 1].ravel(), cv2.flip(plain, 1)[..., 1].ravel())[0, 1]
    assert same > 0.9  # up to the pixels that OpenCV draws beside a line


def test_a_mirror_image_moves_the_other_way(arrays):
    plain_video, plain = batch(arrays)
    video, mirrored = batch(arrays, changes=Changes(mirror_B=torch.ones(12, dtype=torch.bool)))
    assert torch.equal(video, plain_video.flip(-1))
    assert torch.equal(mirrored[:, :, 0], -plain[:, :, 0].flip(-1))
    assert torch.equal(mirrored[:, :, 1:], plain[:, :, 1:].flip(-1))


@pytest.mark.parametrize("branch", ["video", "special"])
def test_a_missing_branch_gets_nothing(arrays, branch):
    alone = dict(zip(("video", "special"), batch(arrays, dataclasses.replace(CONFIG, branches=branch, fusion="none"))))
    both = dict(zip(("video", "special"), batch(arrays)))
    assert torch.equal(alone.pop(branch), both[branch])
    assert list(alone.values()) == [None]


def test_nothing_is_copied_on_a_cpu(arrays):
    """A hundred folds on one machine share the clips of the object store."""
    made = clips(arrays)
    assert made._frames._host is arrays.frames and np.shares_memory(made._fields._host, arrays.motion)
    arrays.frames.flags.writeable = arrays.motion.flags.writeable = False  # as the object store gives them
    batch(arrays)


def test_rows_kept_on_the_device_are_the_rows_gathered_on_the_host(arrays):
    index = torch.tensor([[5, 1], [5, 11]])
    device = torch.device("cpu")
    kept, gathered = (Rows(arrays.frames, device, resident=resident).take(index) for resident in (True, False))
    assert torch.equal(kept, gathered) and kept.shape == (2, 2, 3, 64, 64)
    np.testing.assert_array_equal(gathered[1, 1].numpy(), arrays.frames[11])
