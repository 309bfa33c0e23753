"""Prepared clips as plain arrays at the model's image size: what a training process holds in memory.

NumPy arrays only, so that Ray's object store can share them between processes without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hsta.datasets.shards import read_prepared
from hsta.errors import InputError
from hsta.records import PreparedClip
from hsta.vision.flow import optical_strain
from hsta.vision.recipe import FLOW_PAIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipArrays:
    """N clips with F frames in all.

    Attributes:
        keys: (dataset, clip_id) of each clip.
        subjects: subject of each clip.
        labels: label of each clip.
        frames: (F, 3, H, W) uint8 RGB, the frames of all clips one after another.
        starts: (N + 1,) int64; the frames of clip i are starts[i] to starts[i + 1].
        apex: (N,) int64, row of ``frames`` with the apex of each clip.
        motion: (N, P, 3, H, W) float16: flow u and v in pixels at this image size, and optical strain, for each flow
            pair of ``flow_pairs``.
        flow_pairs: names of the flow fields.
    """

    keys: tuple[tuple[str, str], ...]
    subjects: tuple[str, ...]
    labels: tuple[str, ...]
    frames: np.ndarray
    starts: np.ndarray
    apex: np.ndarray
    motion: np.ndarray
    flow_pairs: tuple[str, ...] = FLOW_PAIRS

    def __len__(self) -> int:
        return len(self.keys)


def load_arrays(
    root: str, card: Mapping, keys: Iterable[tuple[str, str]], *, image_size: int, label_set: str
) -> ClipArrays:
    """Read prepared clips from their shards, at ``image_size`` pixels. Touches only the shards that hold them.

    Raises:
        InputError: a clip without a label of ``label_set``, or a missing or damaged shard.
    """
    return build_arrays(read_prepared(root, card, keys), image_size=image_size, label_set=label_set)


def build_arrays(prepared: Iterable[PreparedClip], *, image_size: int, label_set: str) -> ClipArrays:
    """Prepared clips at ``image_size`` pixels. Frames shrink by area averaging; flow is scaled to the new pixels."""
    keys, subjects, labels, frames, apexes, motions, counts, pairs = [], [], [], [], [], [], [], set()
    for item in prepared:
        clip = item.clip
        if label_set not in clip.labels:
            raise InputError(
                f"clip '{clip.clip_id}' has no label of label set '{label_set}'; "
                f"it has {', '.join(clip.labels) or 'none'}",
                where=clip.dataset,
                cure="prepare the data with the label set that the configuration names",
            )
        keys.append((clip.dataset, clip.clip_id))
        subjects.append(clip.subject)
        labels.append(clip.labels[label_set])
        apexes.append(sum(counts) + item.frame_numbers.index(item.apex))
        counts.append(len(item.frames))
        frames.append(np.stack([_resize(frame, image_size).transpose(2, 0, 1) for frame in item.frames]))
        motions.append(np.stack([_motion(flow, image_size) for flow in item.flow]))
        pairs.add(tuple(item.flow_pairs))
    if not keys:
        raise InputError("no clips to load", cure="check that the split and the prepared set belong together")
    flow_pairs = _same_pairs(pairs)
    return ClipArrays(
        keys=tuple(keys),
        subjects=tuple(subjects),
        labels=tuple(labels),
        frames=np.concatenate(frames),
        starts=np.cumsum([0, *counts]),
        apex=np.array(apexes),
        motion=np.stack(motions),
        flow_pairs=flow_pairs,
    )


def concatenate(parts: Sequence[ClipArrays]) -> ClipArrays:
    """Several sets as one, in order. Raises InputError when they hold different flow fields."""
    flow_pairs = _same_pairs({part.flow_pairs for part in parts})
    offsets = np.cumsum([0, *(len(part.frames) for part in parts)])
    shifted = [part.starts[:-1] + offset for part, offset in zip(parts, offsets[:-1])]
    return ClipArrays(
        keys=tuple(key for part in parts for key in part.keys),
        subjects=tuple(subject for part in parts for subject in part.subjects),
        labels=tuple(label for part in parts for label in part.labels),
        frames=np.concatenate([part.frames for part in parts]),
        starts=np.concatenate([*shifted, offsets[-1:]]),
        apex=np.concatenate([part.apex + offset for part, offset in zip(parts, offsets[:-1])]),
        motion=np.concatenate([part.motion for part in parts]),
        flow_pairs=flow_pairs,
    )


def select(arrays: ClipArrays, keys: Iterable[tuple[str, str]]) -> ClipArrays:
    """The clips named, in the order they have in ``arrays``; ``arrays`` itself when that is all of them."""
    wanted = set(keys)
    missing = sorted(wanted.difference(arrays.keys))
    if missing or not wanted:
        named = ", ".join("/".join(key) for key in missing[:5]) or "none named"
        raise InputError(
            f"{len(missing)} of the {len(wanted)} clips named are not here: {named}",
            cure="check the split against the prepared set",
        )
    if wanted.issuperset(arrays.keys):
        return arrays
    rows = [row for row, key in enumerate(arrays.keys) if key in wanted]
    spans = [np.arange(arrays.starts[row], arrays.starts[row + 1]) for row in rows]
    counts = [len(span) for span in spans]
    starts = np.cumsum([0, *counts])
    return ClipArrays(
        keys=tuple(arrays.keys[row] for row in rows),
        subjects=tuple(arrays.subjects[row] for row in rows),
        labels=tuple(arrays.labels[row] for row in rows),
        frames=arrays.frames[np.concatenate(spans)],
        starts=starts,
        apex=arrays.apex[rows] - arrays.starts[rows] + starts[:-1],
        motion=arrays.motion[rows],
        flow_pairs=arrays.flow_pairs,
    )


def _same_pairs(pairs: set[tuple[str, ...]]) -> tuple[str, ...]:
    if len(pairs) > 1:
        raise InputError(
            f"clips with different flow fields: {'; '.join(', '.join(names) for names in sorted(pairs))}",
            cure="prepare all of them with one recipe",
        )
    return pairs.pop()


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    if image.shape[:2] == (size, size):
        return image
    shrinks = size < image.shape[0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _motion(flow: np.ndarray, size: int) -> np.ndarray:
    scale = size / flow.shape[-1]
    small = np.stack([_resize(component, size) for component in flow]) * np.float32(scale)
    return np.concatenate([small, optical_strain(small)[None]]).astype(np.float16)
