"""Whether a clip's frames are in the order they were taken, judged by the head's path.

A head moves along a path; frames out of order make it jump about. Two measures must agree before a clip is rejected:
- detour: the path's length in the given order against that of a short path through the same places. At most 1.12 on
  clips of two videos of talking people, 1.0 on demo clips, 3.2 to 6.1 on shuffled ones; but 2 for a head that nods;
- roughness: the mean squared step against the variance of the places (von Neumann's ratio): 2 for places in random
  order, at most 0.6 on clips of those videos but one, 0.1 on demo clips and for a nod.
A head that keeps still, a reversed clip, or two frames exchanged that are near each other cannot be told from order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsta.vision.align import invert, transform_points
from hsta.vision.errors import ClipError

_DETOUR = 1.6
_ROUGHNESS = 0.8
_TREMOR = 0.1  # pixels a frame, of a 224-pixel face, that a still head may seem to move


def check_order(transforms: np.ndarray, numbers: Sequence[int], size: int) -> None:
    """Check the order of frames by their transforms.

    Args:
        transforms: (T, 2, 3) of each frame, source to aligned pixels.
        numbers: frame numbers, for the message.
        size: side of the aligned face, pixels.

    Raises:
        ClipError: wrong-frame-order.
    """
    places = _places(transforms, size)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    path, tremor = float(steps.sum()), _TREMOR * size / 224 * len(places)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    if path <= _DETOUR * distance.max() + tremor:  # no path through all places is shorter than the widest distance
        return
    ends = {0, len(places) - 1, *np.unravel_index(distance.argmax(), distance.shape)}
    short = min(_nearest_neighbour_path(distance, int(start)) for start in ends)
    roughness = float((steps**2).mean() / places.var(axis=0).sum())
    if path > _DETOUR * short + tremor and roughness > _ROUGHNESS:
        jump = int(steps.argmax())
        raise ClipError(
            "wrong-frame-order",
            f"the head jumps about: {path:.1f} px from frame to frame where {short:.1f} px would do, "
            f"most of all from frame {numbers[jump]} to {numbers[jump + 1]}; check the numbers in the file names",
        )


def _places(transforms: np.ndarray, size: int) -> np.ndarray:
    """(T, 6) where three points of the face are in each frame, seen from the onset; norms are mean distances."""
    corners = np.array([[0.25, 0.25], [0.75, 0.25], [0.5, 0.75]]) * size
    source = transform_points(invert(transforms[0]), corners)
    return np.stack([transform_points(transform, source).ravel() for transform in transforms]) / np.sqrt(len(corners))


def _nearest_neighbour_path(distance: np.ndarray, start: int) -> float:
    """Length of the path that always goes to the nearest place not visited yet."""
    left = np.ones(len(distance), bool)
    here, length = start, 0.0
    left[here] = False
    while left.any():
        onward = np.where(left, distance[here], np.inf)
        there = int(onward.argmin())
        length += float(distance[here, there])
        left[there] = False
        here = there
    return length
