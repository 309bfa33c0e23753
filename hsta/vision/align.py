"""The transform that puts a face at its place, and warping by it.

One transform a clip, from the onset frame's landmarks; never one a frame from each frame's landmarks, whose jitter is
larger than a micro-expression. Coordinates: pixel centres at whole numbers, x right, y down. A transform is a (2, 3)
float64 matrix M that takes a source point to an aligned one: aligned = M[:, :2] @ source + M[:, 2].
"""

from __future__ import annotations

import cv2
import numpy as np


def eye_template(size: int, eye_distance: float, eye_height: float) -> np.ndarray:
    """(2, 2) places of the eye centres in an aligned face of ``size`` pixels, the left of the image first."""
    middle, half = (size - 1) / 2, eye_distance * size / 2
    height = eye_height * size - 0.5
    return np.array([[middle - half, height], [middle + half, height]])


def similarity_from_eyes(eyes: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The (2, 3) similarity (rotation, scale, translation) that takes two source points exactly to two aligned ones."""
    source, target = eyes[1] - eyes[0], template[1] - template[0]
    ratio = complex(*target) / complex(*source)
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([linear, template.mean(axis=0) - linear @ eyes.mean(axis=0)])


def mouth_template(size: int, mouth_height: float) -> np.ndarray:
    """(2,) place of the mouth's centre in an aligned face of ``size`` pixels."""
    return np.array([(size - 1) / 2, mouth_height * size - 0.5])


def affine_from_points(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The (2, 3) affine transform that takes three source points, (3, 2), exactly to three aligned ones.

    Raises:
        ValueError: the three points lie on a line.
    """
    edges = points[1:] - points[0]
    if abs(np.linalg.det(edges)) < 1e-6 * (edges**2).sum():
        raise ValueError("three points on a line make no affine transform")
    linear = np.linalg.solve(edges, template[1:] - template[0]).T
    return np.column_stack([linear, template[0] - linear @ points[0]])


def centre_square(width: int, height: int, size: int) -> np.ndarray:
    """The (2, 3) transform that scales the widest centred square of an image to ``size`` pixels."""
    scale = size / min(width, height)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([np.eye(2) * scale, (size - 1) / 2 - scale * middle])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) points taken through a (2, 3) transform."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The (2, 3) transform that does ``inner`` first, then ``outer``."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 3) transform."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def warp(image: np.ndarray, matrix: np.ndarray, size: int, interpolation: int = cv2.INTER_LANCZOS4) -> np.ndarray:
    """The (size, size) aligned picture of ``image``, sampled once from its pixels.

    Lanczos interpolation (8 x 8). Where the transform shrinks, a Gaussian first takes out what the smaller grid
    cannot hold. Places outside the source repeat its border.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    corners = transform_points(invert(matrix), np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64) - 0.5)
    margin = 4 + 4 / scale
    limit = (image.shape[1] - 1, image.shape[0] - 1)  # one row and column at least is kept, to be repeated
    low = np.clip(np.floor(corners.min(axis=0) - margin), 0, limit).astype(int)
    high = np.maximum(np.clip(np.ceil(corners.max(axis=0) + margin), 0, np.add(limit, 1)).astype(int), low + 1)
    part = image[low[1] : high[1], low[0] : high[0]]
    local = np.column_stack([matrix[:, :2], matrix[:, :2] @ low + matrix[:, 2]])
    if scale < 0.9:
        part = cv2.GaussianBlur(part, (0, 0), 0.5 * float(np.sqrt(1 / scale**2 - 1)))
    return cv2.warpAffine(part, local, (size, size), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
