"""Regions of the face by their face-mesh points, as masks."""

from __future__ import annotations

import cv2
import numpy as np

# Contours of MediaPipe's face mesh (468 points). Right and left are the person's own.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
NOSE_BRIDGE = 195  # on the back of the nose, above its tip
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)


def face_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: inside the outline of the face. ``landmarks`` is (468, 2), pixels of that image."""
    return _hull(landmarks, FACE_OVAL, shape)


def still_mask(landmarks: np.ndarray, shape: tuple[int, int], interocular: float) -> np.ndarray:
    """(H, W) bool: the part of the face that expressions move least: nose, cheekbones, temples.

    The face's outline without its rim (hair, background) and without wide margins about brows, eyes, mouth and chin,
    sized by ``interocular``, the distance of the eye centres in pixels.
    """
    mask = cv2.erode(_hull(landmarks, FACE_OVAL, shape).astype(np.uint8), _disc(0.10 * interocular))
    for points, margin in ((RIGHT_EYE, 0.10), (LEFT_EYE, 0.10), (RIGHT_BROW, 0.14), (LEFT_BROW, 0.14), (LIPS, 0.26)):
        mask[cv2.dilate(_hull(landmarks, points, shape).astype(np.uint8), _disc(margin * interocular)) > 0] = 0
    chin = landmarks[list(LIPS), 1].max()
    mask[max(int(chin), 0) :] = 0
    return mask > 0


def nose_mask(landmarks: np.ndarray, shape: tuple[int, int], interocular: float) -> np.ndarray:
    """(H, W) bool: a square patch on the back of the nose, a quarter of ``interocular`` wide.

    The size of the 11 x 11 patch of a 128-pixel face of Liong et al. 2021, "Shallow Optical Flow Three-Stream CNN".
    """
    mask = np.zeros(shape, bool)
    x, y = np.round(landmarks[NOSE_BRIDGE, :2]).astype(int)
    half = max(int(round(0.125 * interocular)), 1)
    mask[max(y - half, 0) : max(y + half + 1, 0), max(x - half, 0) : max(x + half + 1, 0)] = True
    return mask


def _hull(landmarks: np.ndarray, points: tuple[int, ...], shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(np.round(landmarks[list(points), :2]).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    return mask > 0


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(int(round(radius)), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
