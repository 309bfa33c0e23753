"""If these fail, a clip with its frames mixed up is trained on, or a good clip is thrown away."""

from __future__ import annotations

import numpy as np
import pytest

from hsta.vision.errors import ClipError
from hsta.vision.order import check_order


def path(frames: int, length: float, noise: float, seed: int = 0) -> np.ndarray:
    """Transforms of a head that moves along a bow, ``length`` pixels long, with the estimate's noise."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, frames)
    transforms = np.tile(np.array([[1.5, 0.1, -40.0], [-0.1, 1.5, -60.0]]), (frames, 1, 1))
    transforms[:, 0, 2] += length * t
    transforms[:, 1, 2] += length * 0.4 * np.sin(3 * t)
    transforms[:, :, 2] += rng.normal(0, noise, (frames, 2))
    return transforms


@pytest.mark.parametrize("frames", [4, 13, 300])
@pytest.mark.parametrize("length", [0.0, 0.5, 3.0, 40.0])
def test_frames_in_order_pass(frames, length):
    check_order(path(frames, length, 0.03), range(frames), 224)


def test_a_head_that_turns_back_passes():
    there = path(12, 6.0, 0.03)
    check_order(np.concatenate([there, there[::-1]]), range(24), 224)


def test_a_head_that_nods_passes():
    t = np.arange(30)
    transforms = path(30, 0.0, 0.03)
    transforms[:, 1, 2] += 6 * np.sin(2 * np.pi * t / 10)
    check_order(transforms, range(30), 224)


@pytest.mark.parametrize("size", [112, 224])
def test_shuffled_frames_are_rejected(size):
    transforms = path(14, 4.0 * size / 224, 0.02)[np.random.default_rng(1).permutation(14)]
    with pytest.raises(ClipError, match="from frame") as caught:
        check_order(transforms, range(100, 114), size)
    assert caught.value.reason == "wrong-frame-order"


def test_two_exchanged_frames_are_rejected():
    transforms = path(14, 5.0, 0.02)
    transforms[[2, 11]] = transforms[[11, 2]]
    with pytest.raises(ClipError, match="jumps about"):
        check_order(transforms, range(14), 224)
