"""Planted motion with known truth: facial action units as displacement fields, their rise and fall, head drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALIGNED_EYE_DISTANCE = 76.16  # of a 224-pixel aligned face, pixels: 0.34 x 224; amplitudes are given at this scale


@dataclass(frozen=True, slots=True)
class Pull:
    """One muscle's pull: the skin about a mesh point moves by ``direction``, fading to nothing at ``reach``.

    Attributes:
        point: index of the face-mesh point.
        direction: (outward, up), outward being away from the face's midline; relative to the clip's amplitude.
        reach: radius of the moved region, in eye distances.
    """

    point: int
    direction: tuple[float, float]
    reach: float


# The person's right side; the left side is its mirror image. Facial Action Coding System (Ekman and Friesen 1978).
ACTIONS: dict[str, dict[str, tuple[Pull, ...]]] = {
    "smile": {  # AU12, lip corner puller: corners up and out along zygomaticus major, cheeks follow
        "right": (Pull(61, (0.72, 0.69), 0.58), Pull(205, (0.25, 0.55), 0.52)),
        "left": (Pull(291, (0.72, 0.69), 0.58), Pull(425, (0.25, 0.55), 0.52)),
    },
    "brow-raise": {  # AU1 and AU2, inner and outer brow raiser: frontalis lifts the brow, the forehead's skin follows
        "right": (Pull(107, (0.0, 0.6), 0.50), Pull(105, (0.0, 0.7), 0.52), Pull(70, (0.05, 0.5), 0.46)),
        "left": (Pull(336, (0.0, 0.6), 0.50), Pull(334, (0.0, 0.7), 0.52), Pull(300, (0.05, 0.5), 0.46)),
    },
    "frown": {  # AU4 and AU15, brow lowerer and lip corner depressor: brows together and down, lip corners down
        "right": (Pull(107, (-0.70, -0.62), 0.52), Pull(61, (0.12, -0.85), 0.56)),
        "left": (Pull(336, (-0.70, -0.62), 0.52), Pull(291, (0.12, -0.85), 0.56)),
    },
}


@dataclass(frozen=True, slots=True)
class Displacement:
    """A displacement field as a sum of bumps: the skin at x moves to x + displacement(x). Source pixels.

    Each bump is (1 - r^2)^3 within its radius and nothing outside. Polynomials in float64, without a library's
    transcendental functions, so that the field is the same on every machine.

    Attributes:
        centres: (N, 2).
        radii: (N,).
        vectors: (N, 2) displacement at each centre by its own bump.
    """

    centres: np.ndarray
    radii: np.ndarray
    vectors: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(2, ...) displacement at the points x, y."""
        total = np.zeros((2, *x.shape))
        for (centre_x, centre_y), radius, (vector_x, vector_y) in zip(self.centres, self.radii, self.vectors):
            dx, dy = (x - centre_x) / radius, (y - centre_y) / radius
            bump = np.maximum(1 - dx * dx - dy * dy, 0)
            bump = bump * bump * bump
            total[0] += vector_x * bump
            total[1] += vector_y * bump
        return total

    def field(self, shape: tuple[int, int]) -> np.ndarray:
        """(2, H, W) displacement at every pixel."""
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
        return self.at(x, y)

    def unmoved(self, points: np.ndarray, strength: float) -> np.ndarray:
        """Where the skin now at (2, H, W) ``points`` was in the onset frame: the x of x + strength * field(x) = points.

        By fixed-point iteration. The field bends by less than a tenth of a pixel a pixel, so four iterations leave
        less than a thousandth of a pixel.
        """
        start = points.copy()
        if strength == 0:
            return start
        margin = self.radii + np.abs(self.vectors).sum()
        (left, top), (right, bottom) = (
            (self.centres - margin[:, None]).min(axis=0),
            (self.centres + margin[:, None]).max(axis=0),
        )
        near = (points[0] > left) & (points[0] < right) & (points[1] > top) & (points[1] < bottom)
        target = points[:, near]
        moving = target
        for _ in range(4):
            moving = target - strength * self.at(*moving)
        start[:, near] = moving
        return start


def displacement(action: str, landmarks: np.ndarray, *, amplitude: float, sides: tuple[float, float]) -> Displacement:
    """The displacement of one action at its apex.

    Args:
        action: a key of `ACTIONS`.
        landmarks: (468, 2) face mesh of the onset frame, source pixels.
        amplitude: largest displacement, pixels of a 224-pixel aligned face.
        sides: relative strength of the person's right and left side; the stronger is 1.
    """
    eyes = landmarks[[33, 133]].mean(axis=0), landmarks[[362, 263]].mean(axis=0)
    along = eyes[1] - eyes[0]
    eye_distance = float(np.sqrt((along * along).sum()))
    along = along / eye_distance
    down = np.array([-along[1], along[0]])
    centres, radii, vectors = [], [], []
    for side, strength, outward in (("right", sides[0], -along), ("left", sides[1], along)):
        for pull in ACTIONS[action][side]:
            centres.append(landmarks[pull.point])
            radii.append(pull.reach * eye_distance)
            vectors.append(strength * (pull.direction[0] * outward - pull.direction[1] * down))
    unscaled = Displacement(np.array(centres), np.array(radii), np.array(vectors))
    # Bumps overlap: the largest displacement is looked for on a grid of half pixels.
    low, high = landmarks.min(axis=0) - eye_distance, landmarks.max(axis=0) + eye_distance
    y, x = np.mgrid[low[1] : high[1] : 0.5, low[0] : high[0] : 0.5]
    largest = np.sqrt((unscaled.at(x, y) ** 2).sum(axis=0).max())
    scale = amplitude * eye_distance / ALIGNED_EYE_DISTANCE / largest
    return Displacement(unscaled.centres, unscaled.radii, unscaled.vectors * scale)


def envelope(frames: int, onset: int, apex: int, offset: int) -> np.ndarray:
    """(frames,) strength of the movement: 0 to the onset, smooth rise to 1 at the apex, smooth fall to the offset."""
    frame = np.arange(frames, dtype=np.float64)
    rise = np.clip((frame - onset) / (apex - onset), 0, 1)
    fall = np.clip((offset - frame) / (offset - apex), 0, 1)
    part = np.where(frame <= apex, rise, fall)
    return part * part * (3 - 2 * part)


def draw_drift(rng: np.random.Generator, frames: int, onset: int, centre: np.ndarray) -> np.ndarray:
    """A slow, smooth drift of the head: (frames, 2, 3) similarities from the onset frame to each frame.

    Over a clip: 2 to 5 px of translation, up to 0.9 degrees of rotation and 0.9 % of scale about ``centre``.
    """
    time = (np.arange(frames) - onset) / (frames - 1)
    speed = rng.uniform(2.0, 5.0) * _unit(rng.uniform(0, 2 * np.pi))
    bend = rng.uniform(-1.5, 1.5, 2)
    turn, growth = rng.uniform(-0.016, 0.016), rng.uniform(-0.009, 0.009)
    drift = np.empty((frames, 2, 3))
    for k, t in enumerate(time):
        angle, scale = turn * (t - 0.3 * t * t), 1 + growth * (t + 0.2 * t * t)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        drift[k] = np.column_stack([linear, centre - linear @ centre + speed * t + bend * t * t])
    return drift


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])
