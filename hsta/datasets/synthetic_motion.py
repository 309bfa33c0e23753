"""Planted motion with known truth: facial action units as displacement fields, their rise and fall, and the head's drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALIGNED_EYE_DISTANCE = 76.16  # eye distance, pixels, of a 224-pixel aligned face: 0.34 x 224; amplitudes are given at this scale


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


def displacement_field(
    action: str, landmarks: np.ndarray, shape: tuple[int, int], *, amplitude: float, sides: tuple[float, float]
) -> np.ndarray:
    """Displacement at the apex, (2, H, W) float64, source pixels: the skin at x moves to x + field(x).

    Zero exactly outside the pulled regions. Polynomial, so that it is the same on every machine.

    Args:
        action: a key of `ACTIONS`.
        landmarks: (468, 2) face mesh of the onset frame, source pixels.
        amplitude: largest displacement, pixels of a 224-pixel aligned face.
        sides: relative strength of the person's right and left side; the stronger is 1.
    """
    eyes = landmarks[[33, 133]].mean(axis=0), landmarks[[362, 263]].mean(axis=0)
    along = eyes[1] - eyes[0]
    eye_distance = float(np.hypot(*along))
    along = along / eye_distance
    down = np.array([-along[1], along[0]])
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    field = np.zeros((2, *shape))
    for side, strength, outward in (("right", sides[0], -along), ("left", sides[1], along)):
        for pull in ACTIONS[action][side]:
            centre = landmarks[pull.point]
            squared = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (pull.reach * eye_distance) ** 2
            bump = np.clip(1 - squared, 0, None) ** 3
            vector = strength * (pull.direction[0] * outward - pull.direction[1] * down)
            field += vector[:, None, None] * bump
    largest = np.sqrt((field**2).sum(axis=0).max())
    return field * (amplitude * eye_distance / ALIGNED_EYE_DISTANCE / largest)


def envelope(frames: int, onset: int, apex: int, offset: int) -> np.ndarray:
    """(frames,) strength of the movement by frame: 0 to the onset, a smooth rise to 1 at the apex, a smooth fall to the offset."""
    frame = np.arange(frames, dtype=np.float64)
    rise = np.clip((frame - onset) / (apex - onset), 0, 1)
    fall = np.clip((offset - frame) / (offset - apex), 0, 1)
    part = np.where(frame <= apex, rise, fall)
    return part * part * (3 - 2 * part)


def draw_drift(rng: np.random.Generator, frames: int, onset: int, centre: np.ndarray) -> np.ndarray:
    """A slow, smooth drift of the head: (frames, 2, 3) similarities that take a point of the onset frame to where it is.

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


def unmoved(points: np.ndarray, field: np.ndarray, strength: float) -> np.ndarray:
    """Where the skin now at ``points`` was in the onset frame: solves x + strength * field(x) = points by fixed-point iteration.

    The fields bend by less than a tenth of a pixel a pixel, so four iterations leave less than a thousandth of a pixel.

    Args:
        points: (2, H, W) x and y, source pixels.
        field: (2, h, w) as `displacement_field` gives it.
    """
    import cv2

    field = field.astype(np.float32)
    x = points.astype(np.float32)
    if strength == 0:
        return x
    start, target = x.copy(), x
    for _ in range(4):
        moved = [cv2.remap(part, start[0], start[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for part in field]
        start = target - np.float32(strength) * np.stack(moved)
    return start


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])
