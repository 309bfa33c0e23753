"""Shards made and verified on the cluster: Ray Data hands out plans and collects receipts, never pixels."""

from __future__ import annotations

import json
import logging
import pickle
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsta.datasets import shards
from hsta.datasets.shard_plan import ShardPlan
from hsta.errors import InputError
from hsta.vision.recipe import PrepareRecipe
from workflows import engine
from workflows.config import Prepare
from workflows.progress import Progress
from workflows.shard_maker import ShardMaker

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH_CLIPS = 64  # at most so many clips go to an actor at once, unless one recording has more


@dataclass
class Made:
    """What a run has made so far, and what it took.

    Attributes:
        seconds: wall time of making, of which ``start_seconds`` passed before the first actor began; ``ray_seconds``
            before it.
        began, ended: when the first actor began and the last shard was stored, seconds since 1970.
        effort: of the actors: seconds by stage and ``whole``, and ``video_frames`` decoded.
    """

    shards: int = 0
    clips: int = 0
    rejected: int = 0
    bytes: int = 0
    actors: int = 0
    seconds: float = 0.0
    start_seconds: float = 0.0
    ray_seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    effort: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def make_shards(
    root: str, plans: Sequence[ShardPlan], how: Prepare, recipe: PrepareRecipe, made: Made, *, apart: bool = False
) -> Iterator[dict]:
    """Make shards on an actor pool; gives each shard's receipt when it is stored, and counts it in ``made``.

    An actor that dies is replaced and its work done once more; shards that end their actor twice are left out, to be
    made ``apart``, every clip in a process of its own.

    Raises:
        InputError: storage that fails, a source that changes.
    """
    if not plans:
        return
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    actors = how.actors or engine.cluster_cpus()
    work = batches(plans, actors)
    most = min(len(work), actors)
    least = min(most, how.min_actors or most)
    made.actors = max(made.actors, most)
    context = DataContext.get_current().copy()
    context.max_errored_blocks = -1  # only the death of an actor is one: other failures come as rows
    context.target_max_block_size = 1  # every receipt travels as soon as it is there
    # One operator, whose results are receipts: nothing to divide between operators, nothing to hold back. Both together:
    # without the first, the second would hold tasks back while actors are idle.
    context.op_resource_reservation_enabled = False
    context.downstream_capacity_backpressure_ratio = None
    with DataContext.current(context), warnings.catch_warnings():
        # Ray Data restarts a dead actor and repeats its task for ever; 2.60 has no other way to bound it than this
        # argument, which it calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = ray.data.from_items(
            [{"plans": pickle.dumps(batch)} for batch in work], override_num_blocks=len(work)
        ).map_batches(
            ShardMaker,
            fn_constructor_args=(root, recipe, apart),
            batch_size=1,
            num_cpus=1,
            memory=how.memory_mb << 20,
            max_task_retries=1,
            compute=ActorPoolStrategy(
                min_size=least, max_size=most, initial_size=least, max_tasks_in_flight_per_actor=2
            ),
        )
    progress = Progress("prepare", sum(len(plan.clips) for plan in plans), "clips")
    progress.update(0, "starting the actors")
    began, started, done, offset = time.monotonic(), time.time(), 0, made.seconds
    for row in _rows(dataset):
        if row["error"]:
            raise pickle.loads(row["error"])
        if not made.began:
            made.began, made.start_seconds = row["began"], row["began"] - started
        receipt = json.loads(row["receipt"])
        done += len(receipt["clips"]) + len(receipt["rejects"])
        made.shards += 1
        made.clips += len(receipt["clips"]) + len(receipt["rejects"])
        made.rejected += len(receipt["rejects"])
        made.bytes += receipt["bytes"]
        made.seconds = offset + time.monotonic() - began
        made.ended = time.time()
        for stage, seconds in json.loads(row["effort"]).items():
            made.effort[stage] += seconds
        progress.update(done, f"{made.rejected} rejected, {made.bytes / 1e6:.0f} MB")
        yield receipt
    progress.close()


def _rows(dataset: Dataset) -> Iterator[dict]:
    """A dataset's rows. Raises InputError for what goes wrong within Ray."""
    from ray.exceptions import RayError

    # A dead actor's traceback is no news to a user: its work is done again, or it ends as a rejected clip.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        problem = f"Ray failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise InputError(
            problem, where="prepare", cure="run the same command again, it goes on where it stopped"
        ) from error


def batches(plans: Sequence[ShardPlan], actors: int) -> list[tuple[ShardPlan, ...]]:
    """Divide shards into what an actor gets at once, in the order in which it is handed out.

    Shards of one recording or tar stay together, so that it is read once; the largest come first. Batches are large at
    first, for reads and stores that overlap with computing, and smaller and smaller, so that all actors end at the same
    time.
    """
    from hsta.vision.frames import read_once_container

    jobs: dict[str, list[ShardPlan]] = {}
    for plan in plans:
        container = read_once_container(plan.clips[0].path)
        jobs.setdefault(container or plan.name, []).append(plan)
    left = sum(len(plan.clips) for plan in plans)
    found: list[list[ShardPlan]] = []
    room = 0
    for job in sorted(jobs.values(), key=lambda job: -_clips(job)):
        count = _clips(job)
        if room < count:
            found.append([])
            room = max(count, min(BATCH_CLIPS, left // (3 * actors - 2)))
        found[-1] += job
        room -= count
        left -= count
    return [tuple(batch) for batch in found]


def _clips(plans: Sequence[ShardPlan]) -> int:
    return sum(len(plan.clips) for plan in plans)


def verify_shards(root: str, receipts: Sequence[dict]) -> list[tuple[str, str]]:
    """Read shards again, side by side on the cluster. Returns (name, what is wrong) of the damaged ones.

    Raises:
        InputError: storage that fails.
    """
    import ray

    check = ray.remote(num_cpus=1)(_check)
    progress = Progress("verify", len(receipts), "shards")
    waiting = [check.remote(root, receipts[start : start + 16]) for start in range(0, len(receipts), 16)]
    found, done = [], 0
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        checked = ray.get(ready[0])
        done += len(checked)
        progress.update(done)
        found += [(name, problem) for name, problem in checked if problem]
    progress.close()
    return sorted(found)


def _check(root: str, receipts: Sequence[dict]) -> list[tuple[str, str | None]]:
    return [(receipt["name"], shards.check_shard(root, receipt)) for receipt in receipts]
