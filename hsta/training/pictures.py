"""Pictures of flow fields: arrows on black or on the frame where the motion ends, as special data."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from hsta.training.arrays import ClipArrays

_ARROWS_ACROSS = 16
_GREEN = (0, 255, 0)
_SHIFT = 4  # OpenCV draws at 1 / 2 ** shift of a pixel


def flow_pictures(
    arrays: ClipArrays, fields: Sequence[int], grounds: Sequence[str | None], *, full_length: float
) -> np.ndarray:
    """Pictures (N, S, 3, H, W) uint8 of S flow fields of every clip.

    Args:
        fields: which flow fields, as places in ``arrays.flow_pairs``.
        grounds: for each picture "apex" or "offset", the frame below the arrows, or None for black.
        full_length: motion, in pixels of the image, that is drawn as long as the arrows are apart.
    """
    rows = {"apex": arrays.apex, "offset": arrays.starts[1:] - 1}
    size = arrays.frames.shape[-1]
    pictures = np.empty((len(arrays), len(grounds), 3, size, size), np.uint8)
    for clip in range(len(arrays)):
        for item, (field, ground) in enumerate(zip(fields, grounds, strict=True)):
            picture = np.zeros((size, size, 3), np.uint8)
            if ground is not None:
                picture[:] = arrays.frames[rows[ground][clip]].transpose(1, 2, 0)
            draw_arrows(picture, arrays.motion[clip, field, :2].astype(np.float32), full_length=full_length)
            pictures[clip, item] = picture.transpose(2, 0, 1)
    return pictures


def draw_arrows(picture: np.ndarray, flow: np.ndarray, *, full_length: float) -> None:
    """Draw a field (2, H, W) onto a picture (H, W, 3): in each of 16 x 16 cells an arrow of the cell's mean motion.

    Arrows of less than a pixel are left out.
    """
    step = picture.shape[0] / _ARROWS_ACROSS
    places = (np.arange(_ARROWS_ACROSS) + 0.5) * step - 0.5
    cells = cv2.resize(flow.transpose(1, 2, 0), (_ARROWS_ACROSS, _ARROWS_ACROSS), interpolation=cv2.INTER_AREA)
    vectors = cells * (step / full_length)
    for row, column in np.argwhere(np.hypot(*vectors.transpose(2, 0, 1)) >= 1):
        tail = np.array([places[column], places[row]])
        ends = np.rint(np.stack([tail, tail + vectors[row, column]]) * 2**_SHIFT).astype(int)
        cv2.arrowedLine(picture, *map(tuple, ends.tolist()), _GREEN, 1, cv2.LINE_AA, _SHIFT, 0.3)
