"""One clip, from its stored frames to what the model sees: read, decode, find the face, align, flow, judge."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from hsta.records import Clip, PreparedClip, Quality, RejectedClip
from hsta.vision.align import compose, invert, warp
from hsta.vision.apex import place_by_motion
from hsta.vision.drift import DriftTracker
from hsta.vision.errors import ClipError
from hsta.vision.faces import FaceFinder
from hsta.vision.fields import flow_fields, frame_flow, to_gray
from hsta.vision.frames import FrameFiles, VideoFile, decode_frames, read_clip
from hsta.vision.interpolate import interpolate_frames, interpolation_weights, sample_positions
from hsta.vision.magnify import magnify
from hsta.vision.order import check_order
from hsta.vision.placing import Placed, find_face, place_face
from hsta.vision.recipe import PrepareRecipe, library_versions, recipe_hash
from hsta.vision.regions import face_mask

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
                stored = read_clip(clip.path, clip.onset, clip.offset, max_missing=recipe.max_missing)
        return _prepare(clip, apex, apex_source, stored, recipe, finder, clock)
    except ClipError as error:
        return RejectedClip(clip=clip, reason=error.reason, detail=error.detail)


def _apex(clip: Clip, recipe: PrepareRecipe) -> tuple[int | None, str]:
    """The apex frame's number, None where the motion has to tell it, and where it comes from."""
    if clip.apex is None and recipe.missing_apex == "reject":
        raise ClipError("no-apex", "the clip has no annotated apex and the recipe's missing_apex is 'reject'")
    if (
        not clip.onset < clip.offset
        or not clip.onset <= (clip.onset if clip.apex is None else clip.apex) <= clip.offset
    ):
        raise ClipError(
            "wrong-frame-order", f"onset {clip.onset}, apex {clip.apex}, offset {clip.offset} are not in this order"
        )
    if clip.apex is not None:
        return clip.apex, "annotated"
    return (clip.onset + clip.offset) // 2 if recipe.missing_apex == "midpoint" else None, recipe.missing_apex


def _prepare(
    clip: Clip,
    apex: int | None,
    apex_source: str,
    stored: FrameFiles | VideoFile,
    recipe: PrepareRecipe,
    finder: FaceFinder,
    clock: _Clock,
) -> PreparedClip:
    size = recipe.size
    if apex is not None and apex not in stored.numbers:
        if apex_source == "annotated":
            raise ClipError("missing-frame", f"the apex, frame {apex}, is not in {clip.path}")
        apex = min(stored.numbers, key=lambda number: abs(number - apex))
    decoded = clock.each("decode", decode_frames(stored))
    number, image = next(decoded)
    with clock("detect"):
        face = find_face(finder, image, recipe)
        placed, upright = place_face(face, image, recipe)
        transform = placed.transform
    with clock("track"):
        track = None if recipe.stabilise == "none" else _tracker(image, placed, upright, recipe.stabilise)
    with clock("warp"):
        numbers, transforms, frames = [number], [transform], [warp(image, transform, size)]
    source_shape = image.shape
    for number, image in decoded:
        if image.shape != source_shape:
            raise ClipError("frame-size-changed", f"frame {number} has {image.shape[1]}x{image.shape[0]} pixels")
        with clock("track"):
            if track is not None:
                transform = track(image, number)
        with clock("warp"):
            numbers.append(number)
            transforms.append(transform)
            frames.append(warp(image, transform, size))
    if track is not None:
        check_order(np.stack(transforms), numbers, size)
    with clock("flow"):
        place = (
            place_by_motion(np.stack(frames), placed.landmarks, apex_source, recipe)
            if apex is None
            else numbers.index(apex)
        )
        apex = numbers[place]
    onset_frame, apex_frame = frames[0], frames[place]
    with clock("warp"):
        pixels, maps = np.stack(frames), np.stack(transforms)
        del frames
        if recipe.magnify:
            pixels = _magnified(pixels, clip.fps, recipe)
    with clock("flow"):
        flow = flow_fields(pixels, place, placed, recipe)
    with clock("warp"):
        positions = None
        if recipe.interpolate:
            positions = sample_positions(len(pixels), place, recipe.interpolate)
            pixels, maps = _at_positions(pixels, maps, positions, recipe)
            numbers = [numbers[0] + int(position) for position in positions]
    with clock("judge"):
        if "onset-apex" in recipe.flow_names and not recipe.magnify and recipe.global_motion == "none":
            motion = flow[recipe.flow_names.index("onset-apex")]
        else:
            motion = frame_flow(onset_frame, apex_frame, recipe)
        quality = Quality(  # of the frames as they are aligned, before anything is magnified or subtracted
            face_score=face.score,
            interocular_px=face.interocular,
            residual_motion_px=float(np.hypot(*motion)[placed.still].mean()),
            sharpness=float(cv2.Laplacian(to_gray(onset_frame), cv2.CV_64F).var()),
        )
        provenance = {
            "recipe": recipe_hash(recipe),
            "frames_sha256": hashlib.sha256(pixels).hexdigest(),
            "apex_source": apex_source,
            "source_size": f"{source_shape[1]}x{source_shape[0]}",
            "source_colour": "gray" if isinstance(stored, FrameFiles) and stored.grayscale else "rgb",
            **library_versions(),
        }
        if positions is not None:
            provenance["frame_positions"] = " ".join(f"{clip.onset + position:.4f}" for position in positions)
    return PreparedClip(
        clip=clip,
        apex=apex,
        frame_numbers=tuple(numbers),
        frames=pixels,
        flow=flow,
        flow_pairs=recipe.flow_names,
        landmarks=placed.landmarks.astype(np.float32),
        transforms=maps,
        quality=quality,
        provenance=provenance,
    )


def _tracker(
    image: np.ndarray, placed: Placed, upright: Placed, method: str
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Gives the (2, 3) transform of each next frame, source to aligned pixels."""
    mask = upright.still if method == "flow" else face_mask(upright.landmarks, upright.still.shape)
    tracker = DriftTracker(to_gray(image), upright.transform, mask, method)
    if placed is upright:
        return lambda image, number: tracker.follow(to_gray(image), number)
    onward = compose(placed.transform, invert(upright.transform))
    return lambda image, number: compose(onward, tracker.follow(to_gray(image), number))


def _magnified(pixels: np.ndarray, fps: float | None, recipe: PrepareRecipe) -> np.ndarray:
    if fps is None:
        raise ClipError("unknown-frame-rate", "the recipe magnifies motion, and the clip has no frames per second")
    settings = recipe.effective()
    return magnify(pixels, recipe.magnify, band=settings["magnify_band"], level=settings["magnify_level"], fps=fps)


def _at_positions(
    pixels: np.ndarray, maps: np.ndarray, positions: np.ndarray, recipe: PrepareRecipe
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and transforms between those of the clip; transforms always linearly."""
    weights = interpolation_weights(len(pixels), positions, recipe.effective()["interpolation"])
    between = np.tensordot(interpolation_weights(len(maps), positions, "linear"), maps, axes=1)
    return interpolate_frames(pixels, weights), between


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
