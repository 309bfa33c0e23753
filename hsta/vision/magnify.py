"""Eulerian magnification: small motion made larger by amplifying how each place's brightness changes over time.

Wu et al. 2012, "Eulerian video magnification for revealing subtle changes in the world", the linear method. Changes of
brightness stand for motion as long as ``(1 + factor) * motion < wavelength / 8``: finer detail is
left out by working on one level of a Gaussian pyramid. Noise in the band grows with the motion.
"""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.errors import ClipError
from hsta.vision.interpolate import cosine_basis


def magnify(frames: np.ndarray, factor: float, *, band: tuple[float, float], level: int, fps: float) -> np.ndarray:
    """A clip whose motion from its first frame is ``1 + factor`` times as large, where its frequency is in ``band``.

    The first frame stays as it is: what is amplified is the difference of the filtered brightness from the first
    frame's. Colour differences are not amplified.

    Args:
        frames: (T, H, W, 3) uint8 RGB, aligned.
        factor: how much is added, above 0.
        band: lowest and highest frequency that is amplified, Hz. The filter is ideal, on the clip continued by its
            mirror image (Wu et al. repeat it, which joins its last frame to its first).
        level: how often the picture is halved before its changes are amplified: detail under about ``2 ** (level + 1)``
            pixels is not.
        fps: frames per second.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        ClipError: too-short: no frequency of the clip is within the band.
    """
    count = len(frames)
    frequencies = np.arange(count) * fps / (2 * count)
    chosen = (frequencies >= band[0]) & (frequencies <= band[1])
    if not chosen.any():
        raise ClipError(
            "too-short",
            f"{count} frames at {fps:g} a second hold no frequency from {band[0]:g} to {band[1]:g} Hz, "
            f"only multiples of {fps / (2 * count):.3g} Hz up to {fps / 2:g}",
        )
    basis = cosine_basis(count, np.arange(count))[:, chosen]
    passed = basis @ basis.T
    weights = factor * (passed - passed[0])
    coarse = np.stack([_halved(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), level) for frame in frames])
    result = np.empty_like(frames)
    for place, change in enumerate(np.tensordot(weights, coarse, axes=1)):
        grown = _doubled(change.astype(np.float32), frames.shape[1:3], level)
        result[place] = np.clip(np.rint(frames[place] + grown[..., None]), 0, 255)
    return result


def _halved(image: np.ndarray, level: int) -> np.ndarray:
    image = image.astype(np.float32)
    for _ in range(level):
        image = cv2.pyrDown(image)
    return image


def _doubled(image: np.ndarray, shape: tuple[int, int], level: int) -> np.ndarray:
    sizes = [shape]
    for _ in range(level - 1):
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    for height, width in reversed(sizes[:level]):
        image = cv2.pyrUp(image, dstsize=(width, height))
    return image
