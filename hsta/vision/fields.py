"""The flow fields of an aligned clip, as a recipe names them."""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.ecc import ecc_motion
from hsta.vision.errors import ClipError
from hsta.vision.flow import optical_flow
from hsta.vision.global_motion import without_patch_motion, without_rigid_motion
from hsta.vision.placing import Placed
from hsta.vision.recipe import PrepareRecipe
from hsta.vision.regions import face_mask, nose_mask


def flow_fields(frames: np.ndarray, apex: int, placed: Placed, recipe: PrepareRecipe) -> np.ndarray:
    """(P, 2, H, W) float32, one field for each of the recipe's ``flow_names``.

    Args:
        frames: (T, H, W, 3) uint8 RGB, aligned, onset to offset.
        apex: place of the apex among them.
        placed: the face of the onset frame.

    Raises:
        ClipError: no-face, lost-face: the global motion cannot be told.
    """
    fields = []
    for name in recipe.flow_names:
        first, second = (frames[place] for place in field_ends(name, apex, len(frames) - 1))
        field = frame_flow(first, second, recipe)
        if recipe.global_motion == "nose":
            patch = nose_mask(placed.landmarks, field.shape[1:], placed.interocular)
            if not patch.any():
                raise ClipError("no-face", "the nose, whose motion the recipe takes out, is not in view")
            field = without_patch_motion(field, patch)
        elif recipe.global_motion == "ecc":
            face = face_mask(placed.landmarks, field.shape[1:])
            motion = ecc_motion(to_gray(first), to_gray(second), face, f"flow field {name}")
            field = without_rigid_motion(field, motion)
        fields.append(field)
    return np.stack(fields)


def field_ends(name: str, apex: int, offset: int) -> tuple[int, int]:
    """Places of the first and the second frame of a field of `PrepareRecipe.flow_names`, halves rounded up."""
    first, second = name.split("-")
    places = {"onset": 0, "apex": apex, "offset": offset}
    if second in places:
        return places[first], places[second]
    step, steps = map(int, second.split("/"))
    return places[first], (2 * step * offset + steps) // (2 * steps)


def frame_flow(first: np.ndarray, second: np.ndarray, recipe: PrepareRecipe) -> np.ndarray:
    """(2, H, W) flow between two aligned frames by the recipe's method."""
    return optical_flow(to_gray(first), to_gray(second), recipe.flow, window=recipe.flow_window)


def to_gray(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of (H, W, 3) uint8 RGB."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
