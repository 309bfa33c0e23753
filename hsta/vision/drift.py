"""The head's drift through a clip: the similarity of each frame's face to the onset's, from the still part of the face.

Micro-expressions move the skin by about a pixel; a head drifts by more within the same half second. The drift is estimated on
the parts that expressions move least, with weights that turn away from pixels that do not follow the head, so that it takes
out the head and leaves the expression.
"""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.align import compose, invert, warp
from hsta.vision.errors import ClipError

_ITERATIONS = 30
_CONVERGED_PX = 0.003  # largest movement of a point of the face within one iteration
_BLURS = (3.0, 1.0)  # Gaussian sigmas of an aligned face of 224 pixels: coarse for reach, fine for precision
_TUKEY = 4.685  # 95 % efficiency for normal noise
_MIN_CORRELATION = 0.5


class DriftTracker:
    """Follows one face from the onset frame on, frame by frame, each start being the frame before.

    Args:
        onset: (H, W) uint8 grayscale onset frame.
        transform: (2, 3) of the onset frame, source to aligned pixels.
        mask: (size, size) bool, the still part of the aligned face.
        method: "similarity": four degrees of freedom by robust Lucas-Kanade, inverse compositional (Baker and Matthews 2004),
            with brightness gain and offset as nuisances and Tukey weights. "ecc": three degrees (no scale) by
            cv2.findTransformECC (Evangelidis and Psarakis 2008).
    """

    def __init__(self, onset: np.ndarray, transform: np.ndarray, mask: np.ndarray, method: str = "similarity"):
        if method not in ("similarity", "ecc"):
            raise ValueError(f"unknown stabiliser '{method}'")
        self._method, self._mask, self._size = method, mask, mask.shape[0]
        self._current = np.array(transform, np.float64)
        self._levels = [_Level(self._aligned(onset, transform), mask, sigma * self._size / 224) for sigma in _BLURS]

    def follow(self, frame: np.ndarray, number: int) -> np.ndarray:
        """The (2, 3) transform, source to aligned pixels, of the next frame, (H, W) uint8 grayscale.

        Raises:
            ClipError: lost-face, naming frame ``number``: the face is not the onset's any more (a cut, a hand, a turn).
        """
        transform = self._ecc(frame, number) if self._method == "ecc" else self._lucas_kanade(frame)
        correlation = self._levels[-1].correlation(self._aligned(frame, transform))
        if not correlation >= _MIN_CORRELATION:
            raise ClipError(
                "lost-face", f"the face of frame {number} correlates by {correlation:.2f} with the onset's; at least {_MIN_CORRELATION}"
            )
        self._current = transform
        return transform

    def _aligned(self, image: np.ndarray, transform: np.ndarray) -> np.ndarray:
        return warp(image, transform, self._size, cv2.INTER_LINEAR).astype(np.float32)

    def _lucas_kanade(self, frame: np.ndarray) -> np.ndarray:
        transform = self._current
        for level in self._levels:
            for _ in range(_ITERATIONS):
                step = level.step(self._aligned(frame, transform))
                transform = compose(step, transform)
                if level.reach(step) < _CONVERGED_PX:
                    break
        return transform

    def _ecc(self, frame: np.ndarray, number: int) -> np.ndarray:
        transform, criteria = self._current, (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6)
        start = np.eye(2, 3, dtype=np.float32)
        try:
            _, back = cv2.findTransformECC(
                self._levels[-1].template,
                self._aligned(frame, transform),
                start,
                cv2.MOTION_EUCLIDEAN,
                criteria,
                self._mask.astype(np.uint8),
                5,
            )
        except cv2.error as error:
            raise ClipError("lost-face", f"ECC does not converge at frame {number}: {error.err}") from None
        return compose(invert(back.astype(np.float64)), transform)


class _Level:
    """The onset's face at one blur, and one Lucas-Kanade step towards it."""

    def __init__(self, template: np.ndarray, mask: np.ndarray, sigma: float):
        self._sigma, self._mask = sigma, mask
        self.template = cv2.GaussianBlur(template, (0, 0), sigma)
        rows, columns = np.nonzero(mask)
        self._centre = np.array([columns.mean(), rows.mean()])
        self._x, self._y = columns - self._centre[0], rows - self._centre[1]
        self._radius = float(np.hypot(self._x, self._y).max())
        self._values = self.template[mask].astype(np.float64)
        gy, gx = np.gradient(self.template)
        gx, gy = gx[mask].astype(np.float64), gy[mask].astype(np.float64)
        # Derivatives by scale, rotation (both in pixels at the mask's rim), x, y, gain and offset.
        turns = ((gx * self._x + gy * self._y) / self._radius, (gy * self._x - gx * self._y) / self._radius)
        self._descent = np.stack([*turns, gx, gy, self._values - self._values.mean(), np.ones_like(gx)], axis=1)

    def step(self, image: np.ndarray) -> np.ndarray:
        """The (2, 3) correction that takes the aligned ``image`` towards the template: one reweighted Gauss-Newton step."""
        error = cv2.GaussianBlur(image, (0, 0), self._sigma)[self._mask] - self._values
        error -= np.median(error)
        residual, solution = error, None
        for _ in range(2):  # weights from the residual that the step itself leaves
            scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-3)
            weights = np.square(np.clip(1 - np.square(residual / (_TUKEY * scale)), 0, None))
            weighted = self._descent * weights[:, None]
            solution = np.linalg.lstsq(weighted.T @ self._descent, weighted.T @ error, rcond=None)[0]
            residual = error - self._descent @ solution
        scale, turn, x, y = solution[:4]
        scale, turn = scale / self._radius, turn / self._radius
        # image(p) = template(p + delta(p)): what is at p belongs at p + delta(p).
        linear = np.array([[1 + scale, -turn], [turn, 1 + scale]])
        return np.column_stack([linear, self._centre - linear @ self._centre + (x, y)])

    def reach(self, step: np.ndarray) -> float:
        """How far the step moves a point at the mask's rim, pixels, at most."""
        shift = step[:, :2] @ self._centre + step[:, 2] - self._centre
        return float(np.hypot(*shift) + np.hypot(step[0, 0] - 1, step[1, 0]) * self._radius)

    def correlation(self, image: np.ndarray) -> float:
        values = cv2.GaussianBlur(image, (0, 0), self._sigma)[self._mask]
        return float(np.corrcoef(values, self._values)[0, 1])
