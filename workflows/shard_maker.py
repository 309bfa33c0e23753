"""The actor that prepares: one CPU, one clip at a time, shard after shard.

The next clip's files are read while the current one is computed, and a finished shard is stored while the next one
begins, so that object storage costs little time. Whoever dies is replaced: shards that have their receipt are not made
again.
"""

from __future__ import annotations

import json
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from hsta.datasets import shards
from hsta.datasets.shard_plan import ShardPlan
from hsta.errors import InputError
from hsta.records import Clip, PreparedClip, RejectedClip
from hsta.vision.recipe import PrepareRecipe

STAGES = ("start", "read", "decode", "detect", "track", "warp", "flow", "judge", "encode", "write", "report")


class ShardMaker:
    """Makes the shards of rows ``{"plans": pickled sequence of ShardPlan}``.

    Gives a row a shard: ``receipt`` (JSON) and ``effort`` (JSON: seconds by stage and ``whole``, and ``video_frames``
    decoded; never in the receipt, which is the same in every run), with ``began``, the time when work on it began; or
    ``error`` (a pickled InputError that ends the run).

    Args:
        root: the prepared set, absolute path or URL.
        apart: prepare every clip in a process of its own; for shards whose clips ended this actor before.
    """

    def __init__(self, root: str, recipe: PrepareRecipe, apart: bool):
        self._root, self._recipe, self._apart = root, recipe, apart
        self._finder = None
        self._metrics = _Metrics()

    def __call__(self, batch: dict) -> Iterator[dict]:
        for plans in batch["plans"]:
            clock = _Clock()
            began = time.time()
            try:
                for receipt, video_frames in self._make(pickle.loads(plans), clock):
                    seconds = clock.lap()
                    self._metrics.count(receipt, seconds)
                    effort = {**seconds, "video_frames": video_frames}
                    yield _row(receipt=json.dumps(receipt), effort=json.dumps(effort), began=began)
                    clock.charge("report")
                    began = time.time()
            except InputError as error:
                yield _row(error=pickle.dumps(error))
            except (OSError, MemoryError) as error:
                problem = InputError(
                    f"{type(error).__name__}: {error}",
                    where=self._root,
                    cure="see to it; then run the same command again",
                )
                yield _row(error=pickle.dumps(problem))

    def _make(self, plans: Sequence[ShardPlan], clock: _Clock) -> Iterator[tuple[dict, int]]:
        with clock("start"):
            from hsta.vision.frames import ClipReader

            self._finder = self._finder or _face_finder()
        spans = ((clip.path, clip.onset, clip.offset) for plan in plans for clip in plan.clips)
        reader = ClipReader(spans, max_missing=self._recipe.max_missing)
        unit = [(plan, clip, source) for plan in plans for clip, source in zip(plan.clips, plan.sources)]
        done: dict[str, dict] = {}

        def read(plan: ShardPlan, clip: Clip, source: str):
            """In the reading thread: the clip's stored frames; None where its shard has been made meanwhile, by another
            run."""
            if clip is plan.clips[0]:
                receipt = shards.read_receipt(self._root, plan)
                if receipt is not None:
                    done[plan.name] = receipt
            return None if plan.name in done or self._apart else _read(reader, clip, source)

        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as storing:
            stored = _one_ahead(reading, ((read, item) for item in unit))
            waiting: Future | None = None
            decoded = 0
            for plan in plans:
                writer = shards.ShardWriter(self._root, plan)
                for clip in plan.clips:
                    with clock("read"):
                        files = next(stored).result()
                    if plan.name in done:
                        continue
                    result = self._prepare(clip, files, clock)
                    files = None
                    with clock("encode"):
                        writer.add(result)
                if waiting is not None:
                    with clock("write"):
                        receipt = waiting.result()
                    waiting = None
                    yield receipt, reader.decoded - decoded
                    decoded = reader.decoded
                if plan.name in done:
                    yield done[plan.name], 0
                else:
                    waiting = storing.submit(writer.commit)
            if waiting is not None:
                with clock("write"):
                    receipt = waiting.result()
                yield receipt, reader.decoded - decoded

    def _prepare(self, clip: Clip, files, clock: _Clock) -> PreparedClip | RejectedClip:
        if isinstance(files, RejectedClip):
            return files
        try:
            if self._apart:
                from hsta.vision.apart import prepare_apart

                with clock("start"):
                    return prepare_apart(clip, self._recipe)
            with clock("start"):
                from hsta.vision.clip import prepare_clip
            return prepare_clip(clip, self._recipe, self._finder, stored=files, seconds=clock.seconds)
        except (InputError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever a library does not like about a clip's pixels concerns that clip only
            lines = str(error).strip().splitlines()
            return RejectedClip(
                clip=clip,
                reason="crashed",
                detail=f"{type(error).__name__}: {lines[0] if lines else 'without a message'}",
            )


def _read(reader, clip: Clip, source: str):
    """The clip's stored frames, or why they cannot be had."""
    from hsta.vision.errors import ClipError

    if source and reader.fingerprint(clip.path, clip.onset, clip.offset) != source:
        raise InputError(
            f"the source of clip '{clip.clip_id}' changed while it was being prepared",
            where=clip.path,
            cure="run the same command again when it no longer changes",
        )
    try:
        return reader.read(clip.path, clip.onset, clip.offset)
    except ClipError as error:
        return RejectedClip(clip=clip, reason=error.reason, detail=error.detail)


def _one_ahead(pool: ThreadPoolExecutor, calls: Iterable[tuple[Callable, tuple]]) -> Iterator[Future]:
    """The calls' futures in order; when one is handed out, the next has begun."""
    before: Future | None = None
    for function, arguments in calls:
        after = pool.submit(function, *arguments)
        if before is not None:
            yield before
        before = after
    if before is not None:
        yield before


def _face_finder():
    import cv2

    from hsta.vision.faces import FaceFinder

    cv2.setNumThreads(1)
    return FaceFinder()


def _row(*, receipt: str = "", effort: str = "{}", began: float = 0.0, error: bytes = b"") -> dict:
    return {"receipt": [receipt], "effort": [effort], "began": [began], "error": [error]}


class _Clock:
    """Where the time goes: seconds by stage, and the whole, since the last `lap`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._began = self._mark = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def lap(self) -> dict[str, float]:
        """Seconds by stage and ``whole`` since the last time."""
        now = time.perf_counter()
        found = {**self.seconds, "whole": now - self._began}
        self.seconds.clear()
        self._began = self._mark = now
        return found

    def charge(self, stage: str) -> None:
        """Charge the time since the last `lap` to a stage."""
        self.seconds[stage] += time.perf_counter() - self._mark


class _Metrics:
    """What the actor did, for Ray's metrics endpoint."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge

        self._clips = Counter("hsta_prepare_clips_total", "Clips prepared or rejected.", tag_keys=("status",))
        self._bytes = Counter("hsta_prepare_bytes_total", "Bytes of shards stored.")
        self._seconds = Counter("hsta_prepare_stage_seconds_total", "Seconds by stage.", tag_keys=("stage",))
        self._rate = Gauge("hsta_prepare_clips_per_second", "Clips a second of this actor, over its last shard.")

    def count(self, receipt: dict, seconds: dict[str, float]) -> None:
        """Count a shard."""
        counts = {"prepared": len(receipt["clips"]), "rejected": len(receipt["rejects"])}
        for status, number in counts.items():
            if number:
                self._clips.inc(number, tags={"status": status})
        if receipt["bytes"]:
            self._bytes.inc(receipt["bytes"])
        for stage in STAGES:
            if seconds.get(stage, 0) > 0:
                self._seconds.inc(seconds[stage], tags={"stage": stage})
        self._rate.set(sum(counts.values()) / max(seconds["whole"], 1e-9))
