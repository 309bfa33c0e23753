"""Motion of the whole head taken out of a flow field, after the frames have been aligned.

Alignment (`hsta.vision.drift`) takes the head's drift out before the flow is made and is the better place for it; these
are the steps that published pipelines do on the flow itself.
"""

from __future__ import annotations

import numpy as np


def without_patch_motion(flow: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """A (2, H, W) flow less its mean over the (H, W) bool patch, such as the nose: a shift of the whole head.

    Liong et al. 2021, "Shallow Optical Flow Three-Stream CNN", and others on spotting.

    Raises:
        ValueError: an empty patch.
    """
    if not patch.any():
        raise ValueError("the patch whose motion is to be taken out is empty")
    return flow - flow[:, patch].mean(axis=1)[:, None, None]


def without_rigid_motion(flow: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A (2, H, W) flow less the displacement by a (2, 3) transform, which takes a point to where the head took it."""
    y, x = np.indices(flow.shape[1:], np.float32)
    (a, b, c), (d, e, f) = (motion - np.eye(2, 3)).astype(np.float32)
    return flow - np.stack([a * x + b * y + c, d * x + e * y + f])
