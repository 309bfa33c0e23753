"""Faces and their landmarks: MediaPipe's short-range BlazeFace and 468-point face mesh, run by OpenCV's DNN module.

The two TFLite models lie in ``models`` with their licence; their checksums are verified when loaded. Sources: the
model cards "BlazeFace (short range)" and "MediaPipe Face Mesh" (Google, 2021), which give inputs, outputs and the
anchor layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from hsta.vision.errors import ClipError
from hsta.vision.models import model_bytes

RIGHT_EYE, LEFT_EYE = (33, 133), (362, 263)  # mesh points of the corners of the person's own right and left eye
MOUTH = (61, 291)  # of the corners of the mouth

_DETECTOR_SIZE, _MESH_SIZE = 128, 192
_MIN_SCORE = 0.5  # of a detection, and of the mesh's own "a face is here"
_SAME_FACE_OVERLAP = 0.3  # intersection over union above which two detections are one face
_SIMILAR_SIZE = 0.6  # a second face with at least this part of the first one's side makes the clip ambiguous
_ROI_MARGIN = 1.5  # side of the mesh's crop relative to the box it is placed on


@dataclass(frozen=True, slots=True)
class Face:
    """One face in source pixels.

    Attributes:
        box: (4,) left, top, right, bottom as detected.
        score: detector's confidence, 0 to 1.
        keypoints: (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear (the person's own right and left).
        mesh: (468, 3) face mesh; x right, y down, z towards the camera negative, all in pixels.
        presence: the mesh network's confidence that its crop holds a face, 0 to 1.
    """

    box: np.ndarray
    score: float
    keypoints: np.ndarray
    mesh: np.ndarray
    presence: float

    @property
    def eye_centres(self) -> np.ndarray:
        """(2, 2) midpoints of the eyes' corners, the left one of the image first (corners stay when eyes blink)."""
        return eye_centres(self.mesh)

    @property
    def mouth_centre(self) -> np.ndarray:
        """(2,) midpoint of the mouth's corners."""
        return self.mesh[list(MOUTH), :2].mean(axis=0)

    @property
    def interocular(self) -> float:
        """Distance between the eye centres, pixels."""
        first, second = self.eye_centres
        return float(np.hypot(*(second - first)))


def eye_centres(mesh: np.ndarray) -> np.ndarray:
    """(2, 2) eye centres of a (468, 2 or 3) mesh: the midpoints of the eyes' corners."""
    return np.stack([mesh[list(RIGHT_EYE), :2].mean(axis=0), mesh[list(LEFT_EYE), :2].mean(axis=0)])


class FaceFinder:
    """Finds faces and their landmarks. Holds the two networks: make one for each process (it cannot be pickled).

    Deterministic. OpenCV's threads are the caller's choice (``cv2.setNumThreads``).

    Raises:
        InputError: a model file is missing or is not the one whose checksum is known.
    """

    def __init__(self) -> None:
        self._detector = _load("face_detection_short_range.tflite")
        self._mesh = _load("face_landmark.tflite")
        self._anchors = _anchors()

    def __reduce__(self):
        raise TypeError("a FaceFinder holds networks and cannot be pickled; make one in each process")

    def find(self, image: np.ndarray, *, margin: float = 0.0) -> list[Face]:
        """All faces of an RGB image (H, W, 3) uint8, the largest first; an empty list where there is none.

        Looks at the whole image first, then, if that shows none, at overlapping square parts of it (small faces).

        Args:
            margin: black added around the whole image, as a part of its longer side. The detector expects space about
                a face and misses one that fills the image; a quarter finds those.
        """
        for squares in _search_squares(image.shape[1], image.shape[0], margin):
            detections = [d for square in squares for d in self._detect(image, square)]
            faces = [self._face(image, *merged) for merged in _merge(detections)]
            faces = [face for face in faces if face.presence >= _MIN_SCORE]
            if faces:
                return sorted(faces, key=lambda face: -_side(face.box))
        return []

    def only_face(self, image: np.ndarray, *, margin: float = 0.0) -> Face:
        """The one face of an RGB image (H, W, 3) uint8: the largest, if no other has 60 % of its side or more.

        ``margin`` is that of `find`.

        Raises:
            ClipError: no-face, two-faces.
        """
        faces = self.find(image, margin=margin)
        if not faces:
            raise ClipError("no-face", f"no face in the onset frame of {image.shape[1]}x{image.shape[0]} pixels")
        if len(faces) > 1 and _side(faces[1].box) >= _SIMILAR_SIZE * _side(faces[0].box):
            sides = " and ".join(f"{_side(face.box):.0f}" for face in faces[:2])
            raise ClipError(
                "two-faces", f"{len(faces)} faces in the onset frame, the largest with sides of {sides} pixels"
            )
        return faces[0]

    def _detect(self, image: np.ndarray, square: tuple[float, float, float]) -> Iterator[tuple[float, np.ndarray]]:
        """Detections in a square (left, top, side; it may reach out of the image): score, (8, 2) box and keypoints."""
        left, top, side = square
        crop = _sample(image, np.array([[left, top], [left + side, top], [left, top + side]]), _DETECTOR_SIZE)
        self._detector.setInput(cv2.dnn.blobFromImage(crop, 1 / 127.5, mean=(127.5,) * 3))
        logits, boxes = self._detector.forward(["classificators", "regressors"])
        scores = _sigmoid(logits.ravel())
        for index in np.flatnonzero(scores >= _MIN_SCORE):
            raw = boxes.reshape(-1, 8, 2)[index] / _DETECTOR_SIZE
            centre = raw[0] + self._anchors[index]
            points = np.concatenate([[centre - raw[1] / 2, centre + raw[1] / 2], raw[2:] + self._anchors[index]])
            yield float(scores[index]), points * side + (left, top)

    def _face(self, image: np.ndarray, score: float, points: np.ndarray) -> Face:
        (left, top), (right, bottom) = points[:2]
        eyes = points[2:4]
        centre, side = np.array([(left + right) / 2, (top + bottom) / 2]), max(right - left, bottom - top)
        mesh, _ = self._landmarks(image, centre, side * _ROI_MARGIN, eyes[1] - eyes[0])
        # Once more on a crop placed by the landmarks themselves, as MediaPipe's tracking does: half the error of the
        # first.
        low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
        axis = np.subtract(*eye_centres(mesh)[::-1])
        mesh, presence = self._landmarks(image, (low + high) / 2, float((high - low).max()) * _ROI_MARGIN, axis)
        return Face(points[:2].ravel(), score, points[2:], mesh, presence)

    def _landmarks(
        self, image: np.ndarray, centre: np.ndarray, side: float, axis: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Mesh and presence in a square crop of the image whose x axis points along ``axis``."""
        x = axis / max(float(np.hypot(*axis)), 1e-6) * side
        y = np.array([-x[1], x[0]])
        corner = centre - (x + y) / 2
        crop = _sample(image, np.stack([corner, corner + x, corner + y]), _MESH_SIZE)
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255.0))
        points, flag = self._mesh.forward(["conv2d_21", "conv2d_31"])
        local = points.reshape(468, 3).astype(np.float64) / _MESH_SIZE
        mesh = np.empty((468, 3), np.float64)
        mesh[:, :2] = corner + local[:, :1] * x + local[:, 1:2] * y
        mesh[:, 2] = local[:, 2] * side
        return mesh, float(_sigmoid(flag.ravel())[0])


def _load(name: str) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromTFLite(np.frombuffer(model_bytes(name), np.uint8))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))


def _anchors() -> np.ndarray:
    """(896, 2) anchor centres, 0 to 1: two for each cell of 16 x 16, then six for each of 8 x 8."""
    layers = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) / cells
        layers.append(np.repeat(centres, repeats, axis=0))
    return np.concatenate(layers)


def _sample(image: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """A square of ``image`` given by its top left, top right and bottom left corner, as (size, size, 3), black outside.

    Pixel centres lie at whole numbers, so an image begins at -0.5. Shrinking is done with a Gaussian first, so that
    no detail is aliased into the network's input.
    """
    shrink = float(np.hypot(*(corners[1] - corners[0]))) / size
    low = np.floor(np.minimum(corners.min(axis=0), (corners[1] + corners[2] - corners[0])) - 4 * max(shrink, 1)).astype(
        int
    )
    high = np.ceil(np.maximum(corners.max(axis=0), (corners[1] + corners[2] - corners[0])) + 4 * max(shrink, 1)).astype(
        int
    )
    low, high = np.maximum(low, 0), np.minimum(high, (image.shape[1], image.shape[0]))
    if (high <= low).any():
        return np.zeros((size, size, 3), np.uint8)
    part = image[low[1] : high[1], low[0] : high[0]]
    if shrink > 1.5:
        part = cv2.GaussianBlur(part, (0, 0), 0.4 * shrink)
    target = np.array([[0, 0], [size, 0], [0, size]], np.float32) - 0.5
    matrix = cv2.getAffineTransform((corners - low).astype(np.float32), target)
    return cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _search_squares(width: int, height: int, margin: float) -> Iterator[list[tuple[float, float, float]]]:
    """Squares (left, top, side) to look at: the whole image letterboxed; then of the short side; then of half of it."""
    longest, shortest = max(width, height), min(width, height)
    whole = longest * (1 + 2 * margin)
    yield [((width - whole) / 2 - 0.5, (height - whole) / 2 - 0.5, whole)]
    for side in (shortest, shortest // 2):
        if side >= 48 and side < longest:
            lefts = np.linspace(0, width - side, _steps(width, side))
            tops = np.linspace(0, height - side, _steps(height, side))
            yield [(float(left) - 0.5, float(top) - 0.5, side) for top in tops for left in lefts]


def _steps(length: int, side: int) -> int:
    """How many squares cover a length with an overlap of half a side."""
    return 1 + int(np.ceil((length - side) / (side / 2)))


def _merge(detections: list[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    """Detections of one face become one, points averaged by score (BlazeFace, section 3.4: blending)."""
    left = sorted(detections, key=lambda detection: -detection[0])
    while left:
        best = left[0]
        same = [other for other in left if _overlap(best[1], other[1]) > _SAME_FACE_OVERLAP]
        left = [other for other in left if _overlap(best[1], other[1]) <= _SAME_FACE_OVERLAP and other is not best]
        weights = np.array([score for score, _ in same] or [1.0])
        points = np.stack([points for _, points in same] or [best[1]])
        yield best[0], np.tensordot(weights, points, axes=1) / weights.sum()


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes, each rows 0 (top left) and 1 (bottom right)."""
    inner = np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])
    intersection = float(np.prod(np.maximum(inner, 0)))
    union = float(np.prod(first[1] - first[0]) + np.prod(second[1] - second[0])) - intersection
    return intersection / union if union > 0 else 0.0


def _side(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))
