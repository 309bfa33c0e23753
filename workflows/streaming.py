"""Clips read from storage while they are trained on, through Ray Data, for sets that no node's memory holds.

The trainer says which clips it wants for each step of an epoch; Ray Data's tasks read them, ahead of the training and no further
than its memory allows, from the shards that hold them. So every batch is the one that it would be with all clips in memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hsta.errors import InputError
from hsta.training.arrays import ClipArrays, concatenate, load_arrays
from hsta.training.stream import ClipStream
from workflows.prepared import PreparedSet

AHEAD = 4  # steps that are read before they are wanted

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredClips:
    """Clips of prepared sets, left in storage.

    Attributes:
        sets: root and card of each set.
        clips: number of the set and label of every clip, by key, in the sets' order.
    """

    sets: tuple[tuple[str, Mapping], ...]
    clips: Mapping[Key, tuple[int, str]]
    image_size: int
    label_set: str

    def only(self, keys: Iterable[Key]) -> StoredClips:
        """Some of the clips; the others cannot be had from it."""
        wanted = set(keys)
        return replace(self, clips={key: value for key, value in self.clips.items() if key in wanted})

    def load(self) -> ClipArrays:
        """The clips, read now."""
        parts = []
        for number, (root, card) in enumerate(self.sets):
            here = [key for key, (of_set, _) in self.clips.items() if of_set == number]
            if here:
                parts.append(load_arrays(root, card, here, image_size=self.image_size, label_set=self.label_set))
        return concatenate(parts)


def stored_clips(sets: Sequence[PreparedSet], *, image_size: int, label_set: str) -> StoredClips:
    """All clips of some sets. Raises InputError for a clip without a label."""
    clips = {}
    for number, source in enumerate(sets):
        for clip in source.clips:
            if label_set not in clip.labels:
                raise InputError(
                    f"clip '{clip.clip_id}' has no label of label set '{label_set}'",
                    where=source.root,
                    cure="prepare the data with the label set that the configuration names",
                )
            clips[clip.dataset, clip.clip_id] = number, clip.labels[label_set]
    roots = tuple((source.root, source.card) for source in sets)
    return StoredClips(sets=roots, clips=clips, image_size=image_size, label_set=label_set)


class RayStream(ClipStream):
    """Clips by way of Ray Data.

    Attributes:
        labels: label of each clip.
    """

    def __init__(self, clips: StoredClips):
        self._clips, self._keys = clips, tuple(clips.clips)
        self.labels = tuple(label for _, label in clips.clips.values())

    def __len__(self) -> int:
        return len(self._keys)

    def batches(self, steps: Sequence[Sequence[int]]) -> Iterator[tuple[ClipArrays, Sequence[int]]]:
        """See `ClipStream.batches`."""
        import ray
        from ray.data import DataContext

        clips = ray.put(self._clips)

        def read(row: dict) -> dict:
            return {"clips": pickle.dumps(ray.get(clips).only(pickle.loads(row["keys"])).load())}

        keys = [sorted({self._keys[row] for row in rows}) for rows in steps]
        context = DataContext.get_current()
        before = context.execution_options.preserve_order
        context.execution_options.preserve_order = True
        try:
            dataset = ray.data.from_items(
                [{"keys": pickle.dumps(of_step)} for of_step in keys], override_num_blocks=len(keys)
            )
            rows_of = dataset.map(read, num_cpus=1).iter_batches(
                batch_size=1, prefetch_batches=AHEAD, batch_format="numpy"
            )
        finally:
            context.execution_options.preserve_order = before
        for rows, batch in zip(steps, rows_of, strict=True):
            arrays = pickle.loads(batch["clips"][0])
            place = {key: number for number, key in enumerate(arrays.keys)}
            yield arrays, [place[self._keys[row]] for row in rows]
