"""If these fail, head motion that a recipe asks to subtract stays in the flow, or other motion goes with it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hsta.vision.align import transform_points
from hsta.vision.ecc import ecc_motion
from hsta.vision.errors import ClipError
from hsta.vision.global_motion import without_patch_motion, without_rigid_motion
from hsta.vision.regions import NOSE_BRIDGE, nose_mask

MOTION = np.array([[np.cos(0.01), -np.sin(0.01), 1.6], [np.sin(0.01), np.cos(0.01), -0.8]])


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(2).standard_normal((160, 160)).astype(np.float32)
    return np.clip(128 + 300 * cv2.GaussianBlur(noise, (0, 0), 3), 0, 255).astype(np.uint8)


def test_ecc_finds_where_points_went(picture):
    moved = cv2.warpAffine(picture, MOTION, (160, 160), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    found = ecc_motion(picture, moved, np.ones((160, 160), bool), "test")
    points = np.array([[20.0, 20], [140, 30], [80, 130]])
    assert np.abs(transform_points(found, points) - transform_points(MOTION, points)).max() < 0.1


def test_ecc_looks_at_the_mask_only(picture):
    moved = cv2.warpAffine(picture, MOTION, (160, 160), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    moved[:, 100:] = picture[:, 100:]
    mask = np.zeros((160, 160), bool)
    mask[10:150, 10:90] = True
    points = np.array([[20.0, 20], [80, 130]])
    expected = transform_points(MOTION, points)
    assert np.abs(transform_points(ecc_motion(picture, moved, mask, "test"), points) - expected).max() < 0.15


def test_pictures_without_anything_in_common_are_named(picture):
    with pytest.raises(ClipError, match="frame 7") as caught:
        ecc_motion(picture, np.full_like(picture, 90), np.ones((160, 160), bool), "frame 7")
    assert caught.value.reason == "lost-face"


def test_what_moves_otherwise_is_left():
    y, x = np.indices((60, 80), np.float32)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    head = (transform_points(MOTION, points) - points).T.reshape(2, 60, 80).astype(np.float32)
    own = np.zeros((2, 60, 80), np.float32)
    own[:, 30:40, 30:50] = [[[0.5]], [[-1.0]]]
    left = without_rigid_motion(head + own, MOTION)
    assert left.dtype == np.float32 and np.allclose(left, own, atol=1e-4)
    shifted = own + np.float32([[[1.5]], [[-0.25]]])
    patch = np.zeros((60, 80), bool)
    patch[5:10, 5:10] = True
    assert np.allclose(without_patch_motion(shifted, patch), own, atol=1e-5)
    with pytest.raises(ValueError, match="empty"):
        without_patch_motion(own, np.zeros((60, 80), bool))


def test_the_nose_patch_lies_on_the_nose():
    landmarks = np.zeros((468, 2))
    landmarks[NOSE_BRIDGE] = (50.4, 70.6)
    rows, columns = np.nonzero(nose_mask(landmarks, (120, 120), 40.0))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (45, 55, 66, 76)
    landmarks[NOSE_BRIDGE] = (-30, 20)
    assert not nose_mask(landmarks, (120, 120), 40.0).any()
