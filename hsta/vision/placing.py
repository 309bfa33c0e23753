"""Where a recipe puts the face of the onset frame, and what of it keeps still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsta.vision.align import (
    affine_from_points,
    centre_square,
    eye_template,
    mouth_template,
    similarity_from_eyes,
    transform_points,
)
from hsta.vision.errors import ClipError
from hsta.vision.faces import Face, FaceFinder, eye_centres
from hsta.vision.recipe import EYE_DISTANCE, EYE_HEIGHT, PrepareRecipe
from hsta.vision.regions import still_mask

_LEAST_STILL = 0.0865  # of the still part's area in view, as a part of the squared eye distance
_CROP_MARGIN = 0.25  # of space added around frames that come cropped; finds faces whose eyes are 0.55 of it apart


@dataclass(frozen=True, slots=True)
class Placed:
    """A face at a place in a square picture.

    Attributes:
        transform: (2, 3), source to aligned pixels.
        landmarks: (468, 2) of the mesh, aligned pixels.
        interocular: distance of the eye centres, aligned pixels.
        still: (size, size) bool, the part of the aligned face that expressions move least.
    """

    transform: np.ndarray
    landmarks: np.ndarray
    interocular: float
    still: np.ndarray


def find_face(finder: FaceFinder, image: np.ndarray, recipe: PrepareRecipe) -> Face:
    """The one face of the onset frame. Raises ClipError (no-face, two-faces)."""
    return finder.only_face(image, margin=_CROP_MARGIN if recipe.alignment == "none" else 0.0)


def place_face(face: Face, image: np.ndarray, recipe: PrepareRecipe) -> tuple[Placed, Placed]:
    """Where the recipe's alignment puts the face of the onset frame, and where a similarity puts it for tracking.

    Both are the same for alignment "similarity". The head's drift is followed in an upright face of known size whatever
    the alignment: a head moves by a similarity of the source, not of a stretched picture of it.

    Raises:
        ClipError: no-face: too little of the face is in view, or eyes and mouth lie on a line.
    """
    size = recipe.size
    eyes = eye_template(size, recipe.eye_distance, recipe.eye_height)
    if recipe.alignment == "none":
        eyes = eye_template(size, EYE_DISTANCE, EYE_HEIGHT)
    upright = _placed(face, similarity_from_eyes(face.eye_centres, eyes), size)
    if recipe.alignment == "similarity":
        return upright, upright
    if recipe.alignment == "none":
        return _placed(face, centre_square(image.shape[1], image.shape[0], size), size), upright
    template = np.stack([*eyes, mouth_template(size, recipe.mouth_place)])
    try:
        transform = affine_from_points(np.stack([*face.eye_centres, face.mouth_centre]), template)
    except ValueError as error:
        raise ClipError("no-face", f"the face of the onset frame is no face to align: {error}") from None
    return _placed(face, transform, size), upright


def _placed(face: Face, transform: np.ndarray, size: int) -> Placed:
    landmarks = transform_points(transform, face.mesh[:, :2])
    interocular = float(np.hypot(*np.subtract(*eye_centres(landmarks))))
    still = still_mask(landmarks, (size, size), interocular)
    if np.count_nonzero(still) < int(_LEAST_STILL * interocular**2):
        raise ClipError(
            "no-face", "the face of the onset frame is turned away or cut off: its still part is not in view"
        )
    return Placed(transform, landmarks, interocular, still)
