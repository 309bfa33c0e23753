"""The head's drift through a clip: the similarity of each frame's face to the onset's.

Micro-expressions move the skin by about a pixel; a head drifts by more within the same half second. The drift is a
similarity fitted to the dense optical flow of the still part of the face, with weights that drop every point which
does not move with the head. A fit to the pixels themselves (Lucas-Kanade, ECC) cannot do that: a brow raised by half
a pixel changes grey levels by less than noise does, so it pulls the fit along. On the demo clips this fit leaves a
third of the error of robust Lucas-Kanade.
"""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.align import compose, invert, warp
from hsta.vision.ecc import ecc_motion
from hsta.vision.errors import ClipError
from hsta.vision.flow import optical_flow

_SIZES = {  # side of the face that is worked on, pixels
    "flow": 112,  # the fit averages over thousands of points, so it can be small
    "ecc": 224,
}
_WINDOW = 15
_STEPS = 5  # of flow and fit, at most, a frame
_CONVERGED_PX = 0.05  # movement of the face's points within the last step, at working size
_REWEIGHTINGS = 10
_CUT = 2.5  # Tukey's biweight drops a point whose residual is this many times the median
_NOISE_FLOOR_PX = 0.01
_BLUR = 1.5  # Gaussian sigma that takes out noise before faces are compared
_MIN_CORRELATION = 0.5  # a head that turns aside keeps 0.56; an upside-down face 0.46, a shifted one 0.32, noise 0.12


class DriftTracker:
    """Follows one face from the onset frame on, each frame from where the one before was.

    Args:
        onset: (H, W) uint8 grayscale onset frame.
        transform: (2, 3) of the onset frame, source to aligned pixels.
        mask: (size, size) bool, the part of the aligned face that is looked at: for "flow" what expressions move least,
            for "ecc" the whole face, as a fit to so little as that is ill-conditioned.
        method: "flow", a similarity fitted robustly to the dense flow; "ecc", rotation and shift by `ecc_motion`, kept
            to compare with pipelines that do so.
    """

    def __init__(self, onset: np.ndarray, transform: np.ndarray, mask: np.ndarray, method: str = "flow"):
        if method not in _SIZES:
            raise ValueError(f"unknown way to follow a face '{method}'")
        self._method, self._size = method, _SIZES[method]
        self._scale = self._size / mask.shape[0]
        self._transform = self._to_working(np.asarray(transform, np.float64))
        self._onset = warp(onset, self._transform, self._size, cv2.INTER_LINEAR)
        self._mask = cv2.resize(mask.astype(np.uint8), (self._size, self._size), interpolation=cv2.INTER_NEAREST) > 0
        rows, columns = np.nonzero(self._mask)
        self._points = np.stack([columns, rows], axis=1).astype(np.float64)

    def follow(self, frame: np.ndarray, number: int) -> np.ndarray:
        """The (2, 3) transform, source to aligned pixels, of the next frame, (H, W) uint8 grayscale.

        Raises:
            ClipError: lost-face, naming frame ``number``: the face is not the onset's any more (a cut, a hand, a turn).
        """
        for _ in range(_STEPS):
            now = warp(frame, self._transform, self._size, cv2.INTER_LINEAR)
            step = self._step(now, number)
            self._transform = compose(step, self._transform)
            if np.abs(self._points @ (step[:, :2] - np.eye(2)).T + step[:, 2]).max() < _CONVERGED_PX:
                break
        correlation = self._correlation(warp(frame, self._transform, self._size, cv2.INTER_LINEAR))
        if not correlation >= _MIN_CORRELATION:
            raise ClipError(
                "lost-face",
                f"frame {number}: the face correlates by {correlation:.2f} with the onset's, under {_MIN_CORRELATION}",
            )
        return self._to_aligned(self._transform)

    def _step(self, now: np.ndarray, number: int) -> np.ndarray:
        """The (2, 3) transform that takes the face in ``now`` to where it was in the onset frame."""
        if self._method == "ecc":
            return invert(ecc_motion(self._onset, now, self._mask, f"frame {number}"))
        flow = optical_flow(self._onset, now, window=_WINDOW)[:, self._mask].T
        return robust_similarity(self._points + flow, self._points)

    def _correlation(self, now: np.ndarray) -> float:
        smooth = (cv2.GaussianBlur(image.astype(np.float64), (0, 0), _BLUR)[self._mask] for image in (self._onset, now))
        first, second = (values - values.mean() for values in smooth)
        spread = np.sqrt((first @ first) * (second @ second))
        return float(first @ second / spread) if spread > 1e-6 else 0.0

    # The centre of a pixel of one size lies between pixels of the other: edges, not centres, are what both share.
    def _to_working(self, transform: np.ndarray) -> np.ndarray:
        return np.column_stack([transform[:, :2], transform[:, 2] + 0.5]) * self._scale - [[0, 0, 0.5]]

    def _to_aligned(self, transform: np.ndarray) -> np.ndarray:
        return np.column_stack([transform[:, :2], transform[:, 2] + 0.5]) / self._scale - [[0, 0, 0.5]]


def robust_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) similarity that takes most (N, 2) source points to their targets: iteratively reweighted least
    squares.

    Tukey's biweight on the residual's length, its cut at `_CUT` medians, so that fewer than half of the points,
    moving in their own way, count for nothing.
    """
    z, w = source @ [1, 1j], target @ [1, 1j]
    weights = np.ones(len(z))
    for _ in range(_REWEIGHTINGS):
        total = weights.sum()
        z_mean, w_mean = (weights * z).sum() / total, (weights * w).sum() / total
        centred = z - z_mean
        ratio = (weights * centred.conj() * (w - w_mean)).sum() / (weights * np.abs(centred) ** 2).sum()
        residual = np.abs(w - w_mean - ratio * centred)
        cut = _CUT * max(float(np.median(residual)), _NOISE_FLOOR_PX)
        weights = np.clip(1 - (residual / cut) ** 2, 0, None) ** 2
    shift = w_mean - ratio * z_mean
    return np.array([[ratio.real, -ratio.imag, shift.real], [ratio.imag, ratio.real, shift.imag]])
