"""One clip, from its stored frames to what the model sees: read, decode, find the face, align, flow, judge."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from hsta.records import Clip, PreparedClip, Quality, RejectedClip
from hsta.vision.align import eye_template, similarity_from_eyes, transform_points, warp
from hsta.vision.drift import DriftTracker
from hsta.vision.errors import ClipError
from hsta.vision.faces import FaceFinder
from hsta.vision.flow import optical_flow
from hsta.vision.frames import FrameFiles, VideoFile, decode_frames, read_clip
from hsta.vision.order import check_order
from hsta.vision.recipe import PrepareRecipe, library_versions, recipe_hash
from hsta.vision.regions import still_mask

STAGES = ("read", "decode", "detect", "track", "warp", "flow", "judge")


def prepare_clip(
    clip: Clip,
    recipe: PrepareRecipe,
    finder: FaceFinder,
    *,
    stored: FrameFiles | VideoFile | None = None,
    seconds: dict[str, float] | None = None,
) -> PreparedClip | RejectedClip:
    """Prepare one clip. What is wrong with the clip comes back as a `RejectedClip` with its reason (`errors.REASONS`).

    Deterministic. Memory is bounded by the stored clip, its aligned frames and one decoded frame. OpenCV's threads
    are the caller's choice: worker processes that share a machine call ``cv2.setNumThreads(1)`` once.

    Args:
        finder: one for each process, see `FaceFinder`.
        stored: the clip's files, where `frames.read_clip` has read them already (to overlap reads with computing).
        seconds: time spent in each of `STAGES` is added to it; together they are the whole but for bookkeeping.

    Raises:
        OSError: storage that fails; it says nothing about the clip and may be tried again.
    """
    clock = _Clock(seconds)
    try:
        apex, apex_source = _apex(clip, recipe)
        if stored is None:
            with clock("read"):
                stored = read_clip(clip.path, clip.onset, clip.offset)
        return _prepare(clip, apex, apex_source, stored, recipe, finder, clock)
    except ClipError as error:
        return RejectedClip(clip=clip, reason=error.reason, detail=error.detail)


def _apex(clip: Clip, recipe: PrepareRecipe) -> tuple[int, str]:
    """The apex frame's number and where it comes from."""
    if clip.apex is None and recipe.missing_apex == "reject":
        raise ClipError("no-apex", "the clip has no annotated apex and the recipe's missing_apex is 'reject'")
    apex, source = (
        (clip.apex, "annotated") if clip.apex is not None else ((clip.onset + clip.offset) // 2, recipe.missing_apex)
    )
    if not clip.onset <= apex <= clip.offset or clip.onset == clip.offset:
        raise ClipError(
            "wrong-frame-order", f"onset {clip.onset}, apex {apex}, offset {clip.offset} are not in this order"
        )
    return apex, source


def _prepare(
    clip: Clip,
    apex: int,
    apex_source: str,
    stored: FrameFiles | VideoFile,
    recipe: PrepareRecipe,
    finder: FaceFinder,
    clock: _Clock,
) -> PreparedClip:
    size = recipe.size
    decoded = clock.each("decode", decode_frames(stored))
    number, image = next(decoded)
    with clock("detect"):
        face = finder.only_face(image)
        transform = similarity_from_eyes(face.eye_centres, eye_template(size, recipe.eye_distance, recipe.eye_height))
        landmarks = transform_points(transform, face.mesh[:, :2])
        still = still_mask(landmarks, (size, size), recipe.eye_distance * size)
        if np.count_nonzero(still) < size * size // 100:
            raise ClipError(
                "no-face", "the face of the onset frame is turned away or cut off: its still part is not in view"
            )
    with clock("track"):
        tracker = None if recipe.stabilise == "none" else DriftTracker(_gray(image), transform, still)
    with clock("warp"):
        numbers, transforms, frames = [number], [transform], [warp(image, transform, size)]
    source_shape = image.shape
    for number, image in decoded:
        if image.shape != source_shape:
            raise ClipError("frame-size-changed", f"frame {number} has {image.shape[1]}x{image.shape[0]} pixels")
        with clock("track"):
            if tracker is not None:
                transform = tracker.follow(_gray(image), number)
        with clock("warp"):
            numbers.append(number)
            transforms.append(transform)
            frames.append(warp(image, transform, size))
    if tracker is not None:
        check_order(np.stack(transforms), numbers, size)
    with clock("flow"):
        named = {"onset": 0, "apex": numbers.index(apex), "offset": len(numbers) - 1}
        gray = {name: _gray(frames[place]) for name, place in named.items()}
        flow = np.stack([_pair_flow(gray, pair, recipe) for pair in recipe.flow_pairs])
    with clock("judge"):
        made = dict(zip(recipe.flow_pairs, flow))
        onset_apex = made["onset-apex"] if "onset-apex" in made else _pair_flow(gray, "onset-apex", recipe)
        pixels = np.stack(frames)
        quality = Quality(
            face_score=face.score,
            interocular_px=face.interocular,
            residual_motion_px=float(np.hypot(*onset_apex)[still].mean()),
            sharpness=float(cv2.Laplacian(gray["onset"], cv2.CV_64F).var()),
        )
        provenance = {
            "recipe": recipe_hash(recipe),
            "frames_sha256": hashlib.sha256(pixels).hexdigest(),
            "apex_source": apex_source,
            "source_size": f"{source_shape[1]}x{source_shape[0]}",
            "source_colour": "gray" if isinstance(stored, FrameFiles) and stored.grayscale else "rgb",
            **library_versions(),
        }
    return PreparedClip(
        clip=clip,
        apex=apex,
        frame_numbers=tuple(numbers),
        frames=pixels,
        flow=flow,
        flow_pairs=recipe.flow_pairs,
        landmarks=landmarks.astype(np.float32),
        transforms=np.stack(transforms),
        quality=quality,
        provenance=provenance,
    )


def _pair_flow(gray: dict[str, np.ndarray], pair: str, recipe: PrepareRecipe) -> np.ndarray:
    first, second = pair.split("-")
    return optical_flow(gray[first], gray[second], recipe.flow, window=recipe.flow_window)


def _gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


class _Clock:
    """Adds the time of named stages to a dictionary, if there is one."""

    def __init__(self, seconds: dict[str, float] | None):
        self._seconds = seconds

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if self._seconds is not None:
                self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - start

    def each(self, stage: str, items: Iterator) -> Iterator:
        """``items``, with the time that each takes to come charged to the stage."""
        while True:
            with self(stage):
                item = next(items, None)
            if item is None:
                return
            yield item
