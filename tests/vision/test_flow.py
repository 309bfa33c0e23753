"""If these fail, the motion that the model learns from has a wrong sign, unit or size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hsta.vision.flow import flow_to_rgb, optical_flow, optical_strain
from hsta.vision.recipe import FLOW_METHODS


def textured(shift=(0.0, 0.0)) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((360, 360)).astype(np.float32)
    image = 128 + 250 * cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(cv2.warpAffine(image, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (360, 360)), 0, 255)[
        80:280, 80:280
    ].astype(np.uint8)


@pytest.mark.parametrize("method", FLOW_METHODS)
@pytest.mark.parametrize("shift", [(1.0, 0.0), (-0.5, 0.75)])
def test_flow_goes_from_the_first_to_the_second_in_pixels(method, shift):
    flow = optical_flow(textured(), textured(shift), method)
    assert flow.shape == (2, 200, 200) and flow.dtype == np.float32
    assert np.median(flow[0, 20:-20, 20:-20]) == pytest.approx(shift[0], abs=0.12)
    assert np.median(flow[1, 20:-20, 20:-20]) == pytest.approx(shift[1], abs=0.12)


def test_a_window_changes_farneback_and_is_refused_elsewhere():
    first, second = textured(), textured((0.7, 0.2))
    assert np.abs(optical_flow(first, second, window=15) - optical_flow(first, second)).max() > 0.01
    assert np.array_equal(optical_flow(first, second, window=21), optical_flow(first, second))
    with pytest.raises(ValueError, match="no window"):
        optical_flow(first, second, "dis", window=21)


@pytest.mark.parametrize(
    ("first", "second", "method"),
    [
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), "farneback"),
        (np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32), "farneback"),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 9), np.uint8), "farneback"),
        (np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), "raft"),
    ],
)
def test_wrong_images_and_methods_are_refused(first, second, method):
    with pytest.raises(ValueError):
        optical_flow(first, second, method)


def linear_flow(ux, uy, vx, vy):
    y, x = np.mgrid[:20, :30].astype(np.float64)
    return np.stack([ux * x + uy * y + 5, vx * x + vy * y - 3])


@pytest.mark.parametrize(
    ("gradient", "strain"),
    [
        ((0, 0, 0, 0), 0.0),  # translation
        ((0, -0.02, 0.02, 0), 0.0),  # rotation
        ((0.03, 0, 0, 0.04), 0.05),  # stretch
        ((0, 0.02, 0, 0), 0.02 / np.sqrt(2)),  # shear
    ],
)
def test_strain_of_known_fields(gradient, strain):
    assert np.allclose(optical_strain(linear_flow(*gradient)), strain, atol=1e-12)
    stack = np.stack([linear_flow(*gradient)] * 3)
    assert optical_strain(stack).shape == (3, 20, 30)


def test_pictures_of_flow():
    still = flow_to_rgb(np.zeros((2, 10, 10)))
    assert still.shape == (10, 10, 3) and (still == 255).all()
    right = np.zeros((2, 10, 10))
    right[0] = 1.0
    assert tuple(flow_to_rgb(right, limit=1.0)[5, 5]) == (255, 0, 0)
    assert tuple(flow_to_rgb(right, limit=2.0)[5, 5]) == (255, 128, 128)
