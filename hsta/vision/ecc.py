"""Rigid motion between two pictures by the enhanced correlation coefficient (ECC).

Evangelidis and Psarakis 2008, "Parametric image alignment using enhanced correlation coefficient maximization", as
OpenCV's ``findTransformECC`` has it.
"""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.errors import ClipError

_STEPS, _EPSILON = 60, 1e-6
_BLUR = 5  # side of the Gaussian that both pictures are smoothed with, pixels


def ecc_motion(first: np.ndarray, second: np.ndarray, mask: np.ndarray, what: str) -> np.ndarray:
    """The rotation and shift, (2, 3), that take a point of ``first`` to where it is in ``second``.

    Args:
        first, second: (H, W) uint8 grayscale, alike but for a few pixels of motion.
        mask: (H, W) bool, the pixels that count.
        what: names the pictures in the message.

    Raises:
        ClipError: lost-face: the pictures have nothing in common, so that the fit does not converge.
    """
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _EPSILON)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, motion = cv2.findTransformECC(
            first, second, start, cv2.MOTION_EUCLIDEAN, criteria, mask.astype(np.uint8), _BLUR
        )
    except cv2.error as error:
        raise ClipError("lost-face", f"{what}: ECC finds no motion that explains it ({error.err.strip()})") from None
    return motion.astype(np.float64)
