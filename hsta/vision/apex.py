"""The apex of a clip for which none is annotated, from its motion: policies by name, recorded with every clip."""

from __future__ import annotations

import numpy as np

from hsta.vision.fields import frame_flow
from hsta.vision.recipe import PrepareRecipe
from hsta.vision.regions import face_mask

FIRST_MOTION_PART = 0.5


def place_by_motion(frames: np.ndarray, landmarks: np.ndarray, policy: str, recipe: PrepareRecipe) -> int:
    """Place of the apex among aligned frames, by the mean length of the flow from the onset over the face.

    Args:
        frames: (T, H, W, 3) uint8 RGB, aligned, onset to offset.
        landmarks: (468, 2) of the onset frame, aligned pixels.
        policy: "flow-maximum": the frame that has moved most. "first-motion": the first that has moved at least half as far.
    """
    face = face_mask(landmarks, frames.shape[1:3])
    lengths = np.array([np.hypot(*frame_flow(frames[0], frame, recipe))[face].mean() for frame in frames[1:]])
    if policy == "first-motion":
        return 1 + int(np.argmax(lengths >= FIRST_MOTION_PART * lengths.max()))
    return 1 + int(lengths.argmax())
