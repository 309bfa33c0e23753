"""The records that flow through the project, each named and immutable.

Clip -> PreparedClip (or RejectedClip) -> shard row -> batch -> Prediction -> Report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One micro-expression as annotated. No pixel has been read.

    Attributes:
        clip_id: unique within a dataset.
        dataset: name of the dataset; a subject is only identified together with it.
        subject: subject id as the dataset writes it.
        recording: the recording the clip was cut from; clips of one recording are never split between training and test.
        path: folder of frames or video file, absolute path or fsspec URL.
        onset, apex, offset: frame numbers as they appear in the file names (frame folders) or frame indices from 0 (videos),
            inclusive. ``apex`` is None where the dataset annotates none.
        fps: frames per second, None where unknown.
        labels: label by label set name.
    """

    clip_id: str
    dataset: str
    subject: str
    recording: str
    path: str
    onset: int
    apex: int | None
    offset: int
    fps: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How far a prepared clip can be trusted.

    Attributes:
        face_score: confidence of the face detector on the onset frame, 0 to 1.
        interocular_px: distance between the eye centres in the source onset frame, pixels.
        residual_motion_px: mean length of the flow from onset to apex over the still part of the face, aligned pixels.
        sharpness: variance of the Laplacian of the aligned onset face, grey levels squared.
    """

    face_score: float
    interocular_px: float
    residual_motion_px: float
    sharpness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedClip:
    """A clip as the model sees it: an aligned face, its motion, and where they come from.

    Attributes:
        clip: the annotation it was made from.
        apex: number of the frame used as apex (the annotated one, or the one a named policy chose).
        frame_numbers: (T,) numbers of the frames kept, onset to offset.
        frames: (T, H, W, 3) uint8 RGB, aligned.
        flow: (P, 2, H, W) float32, displacement (u right, v down) in pixels of the aligned face, one field for each pair of
            ``flow_pairs``; a point x of the first frame is found at x + flow(x) in the second.
        flow_pairs: names of the fields, such as ("onset-apex", "apex-offset").
        landmarks: (468, 2) float32, MediaPipe face mesh of the onset frame in pixels of the aligned face.
        transforms: (T, 2, 3) float64, affine maps from source pixels to aligned pixels, one a frame.
        quality: figures to judge the clip by.
        provenance: versions and content hashes, by name.
    """

    clip: Clip
    apex: int
    frame_numbers: tuple[int, ...]
    frames: np.ndarray
    flow: np.ndarray
    flow_pairs: tuple[str, ...]
    landmarks: np.ndarray
    transforms: np.ndarray
    quality: Quality
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedClip:
    """A clip that could not be prepared. It is recorded and reported; it stops nothing and is never replaced by anything.

    Attributes:
        clip: the annotation.
        reason: a short stable code, such as ``no-face``, ``missing-frame``, ``unreadable-frame``, ``wrong-frame-order``.
        detail: a sentence that names the file or the figure.
    """

    clip: Clip
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a fold's model said of one held-out clip.

    Attributes:
        probabilities: one per class of the label set, in its order.
    """

    clip_id: str
    dataset: str
    subject: str
    fold: str
    seed: int
    truth: str
    prediction: str
    probabilities: tuple[float, ...]
