"""If these fail, magnified clips show motion of a wrong size or frequency, or a changed onset frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hsta.vision.errors import ClipError
from hsta.vision.fields import to_gray
from hsta.vision.flow import optical_flow
from hsta.vision.magnify import magnify

FPS = 50.0
COUNT = 25  # half a second


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal((200, 200)).astype(np.float32)
    return 128 + 700 * cv2.GaussianBlur(noise, (0, 0), 7)


def moving(image, shifts):
    frames = [
        cv2.warpAffine(image, np.array([[1, 0, x], [0, 1, 0]], np.float64), (200, 200), flags=cv2.INTER_CUBIC)
        for x in shifts
    ]
    gray = np.clip(np.stack(frames), 0, 255).astype(np.uint8)[:, 20:180, 20:180, None]
    return gray.repeat(3, axis=3)


def seen(frames, place):
    """Median motion to the right from the first frame, pixels."""
    return float(np.median(optical_flow(to_gray(frames[0]), to_gray(frames[place]))[0, 30:-30, 30:-30]))


@pytest.mark.parametrize("factor", [1.0, 4.0])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_motion_from_the_onset_grows_by_the_factor(smooth, factor, level):
    bump = 0.3 * np.sin(np.pi * np.arange(COUNT) / (COUNT - 1)) ** 2
    frames = moving(smooth, bump)
    grown = magnify(frames, factor, band=(0.5, 8.0), level=level, fps=FPS)
    assert grown.shape == frames.shape and grown.dtype == np.uint8
    assert np.array_equal(grown[0], frames[0])
    assert seen(grown, 12) == pytest.approx((1 + factor) * seen(frames, 12), rel=0.1 + 0.1 * level)


def test_motion_outside_the_band_stays(smooth):
    quick = 0.3 * np.cos(2 * np.pi * 15 * (np.arange(COUNT) + 0.5) / FPS)
    frames = moving(smooth, quick)
    grown = magnify(frames, 8.0, band=(0.5, 6.0), level=1, fps=FPS)
    assert np.abs(grown.astype(int) - frames).mean() < 0.5
    assert np.abs(magnify(frames, 8.0, band=(10.0, 20.0), level=1, fps=FPS).astype(int) - frames).mean() > 3


def test_the_rate_decides_what_is_in_the_band(smooth):
    frames = moving(smooth, 0.3 * np.cos(2 * np.pi * 3 * (np.arange(COUNT) + 0.5) / FPS))
    grown = [magnify(frames, 5.0, band=(2.0, 6.0), level=1, fps=fps).astype(int) for fps in (FPS, 4 * FPS)]
    assert np.abs(grown[0] - frames).mean() > 5 * np.abs(grown[1] - frames).mean()


def test_colours_are_kept_and_fine_detail_left(smooth):
    frames = moving(smooth, np.linspace(0, 3, COUNT)) // 3 + 60
    frames[..., 0] += 40
    grown = magnify(frames, 2.0, band=(0.5, 6.0), level=1, fps=FPS).astype(int)
    assert np.abs(grown - frames).max() > 3 and np.abs(grown[..., 0] - grown[..., 1] - 40).max() <= 1
    flicker = np.full((COUNT, 64, 64, 3), 128, np.uint8)
    flicker[:, ::2, ::2] += (60 * np.sin(np.pi * np.arange(COUNT) / (COUNT - 1))).astype(np.uint8)[:, None, None, None]
    change = [np.ptp(magnify(flicker, 1.0, band=(0.5, 6), level=k, fps=FPS)[12].astype(int)) for k in (0, 3)]
    assert change[0] > 100 and change[1] < 70


def test_a_clip_without_a_frequency_of_the_band_is_rejected(smooth):
    with pytest.raises(ClipError, match="3 frames at 200") as caught:
        magnify(moving(smooth, [0, 0.1, 0.2]), 2.0, band=(0.5, 6.0), level=1, fps=200.0)
    assert caught.value.reason == "too-short"
