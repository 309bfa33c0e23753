"""If these fail, head motion is left in the flow, or expressions are taken out with it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hsta.vision.drift import DriftTracker, robust_similarity
from hsta.vision.errors import ClipError


def similarity(scale, angle, x, y):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@pytest.mark.parametrize("moving", [0.0, 0.2, 0.4])
def test_points_that_move_on_their_own_count_for_nothing(moving):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (3000, 2))
    truth = similarity(1.004, 0.006, 1.3, -0.7)
    target = points @ truth[:, :2].T + truth[:, 2] + rng.normal(0, 0.03, points.shape)
    target[: int(moving * len(points))] += [0.1, -0.8]
    found = robust_similarity(points, target)
    error = points @ (found - truth)[:, :2].T + (found - truth)[:, 2]
    assert np.hypot(*error.T).max() < 0.02


@pytest.fixture(scope="module")
def face():
    y, x = np.mgrid[:300, :300]
    noise = np.random.default_rng(3).standard_normal((300, 300))
    texture = 128 + 400 * cv2.GaussianBlur(noise, (0, 0), 4) + 60 * cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(texture + 20 * np.sin(x / 20) + 20 * np.sin(y / 24), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("method", "growth", "size"), [("flow", 0.003, 96), ("flow", 0.003, 224), ("ecc", 0.0, 112)])
def test_a_drifting_face_is_followed(face, method, growth, size):
    onset = np.array([[0.9, 0.05, 10], [-0.05, 0.9, 12]]) * size / 224
    still = np.zeros((size, size), bool)
    still[size // 5 : -size // 5, size // 5 : -size // 5] = True
    tracker = DriftTracker(face, onset, still, method)
    corners = np.array([[80.0, 80], [220, 80], [150, 220]])
    for k in range(1, 6):
        drift = similarity(1 + growth * k, -0.006 * k, 1.4 * k, -0.9 * k)
        frame = cv2.warpAffine(face, drift, (300, 300), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        found = tracker.follow(frame, k)
        there = (corners @ drift[:, :2].T + drift[:, 2]) @ found[:, :2].T + found[:, 2]
        assert np.hypot(*(there - corners @ onset[:, :2].T - onset[:, 2]).T).max() < 0.08 * size / 224 + 0.04


@pytest.mark.parametrize("frame", ["black", "other"])
def test_a_lost_face_is_named(face, frame):
    still = np.zeros((224, 224), bool)
    still[40:180, 40:180] = True
    tracker = DriftTracker(face, np.array([[1.0, 0, -30], [0, 1, -30]]), still)
    other = np.zeros_like(face) if frame == "black" else np.ascontiguousarray(face[::-1, ::-1].T)
    with pytest.raises(ClipError, match="frame 31") as caught:
        tracker.follow(other, 31)
    assert caught.value.reason == "lost-face"


def test_an_unknown_way_to_follow_is_refused(face):
    with pytest.raises(ValueError, match="unknown"):
        DriftTracker(face, np.eye(2, 3), np.ones((96, 96), bool), "lucas-kanade")
