"""Prepared sets as the folds use them: opened from their cards, and loaded once into the object store, one part a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hsta import storage
from hsta.datasets import shards
from hsta.records import Clip
from workflows.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """A complete prepared set.

    Attributes:
        root: its folder, absolute path or URL.
        card: its card.
        clips: the annotations of its clips.
        content: hash of each clip's aligned frames, by (dataset, clip_id).
    """

    root: str
    card: Mapping
    clips: tuple[Clip, ...]
    content: Mapping[tuple[str, str], str]


def open_set(url: str) -> PreparedSet:
    """Read card and index. Raises InputError where the set is not complete."""
    root = storage.absolute(url)
    card = shards.read_card(root)
    index = shards.read_index(root).to_pylist()
    return PreparedSet(
        root=root,
        card=card,
        clips=tuple(shards.clip_from_row(row) for row in index),
        content={(row["dataset"], row["clip_id"]): row["frames_sha256"] for row in index},
    )


def load_parts(sets: Sequence[PreparedSet], *, image_size: int, label_set: str) -> dict:
    """Every subject's clips at the model's image size, read from storage once, in Ray's object store.

    Returns:
        keys of the part's clips and the reference to its ClipArrays, by (root, dataset, subject).
    """
    import ray

    from hsta.training.arrays import load_arrays

    load = ray.remote(load_arrays)
    parts = {}
    for source in sets:
        by_subject: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for clip in source.clips:
            by_subject.setdefault((source.root, clip.dataset, clip.subject), []).append((clip.dataset, clip.clip_id))
        for subject, keys in by_subject.items():
            reference = load.remote(source.root, source.card, keys, image_size=image_size, label_set=label_set)
            parts[subject] = (tuple(keys), reference)
    progress = Progress("load", len(parts), "subjects")
    waiting = [reference for _, reference in parts.values()]
    while waiting:
        finished, waiting = ray.wait(waiting, timeout=1.0)
        ray.get(finished)
        progress.update(len(parts) - len(waiting))
    progress.close()
    return parts
