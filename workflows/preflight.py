"""Before folds are started: the arithmetic of the cluster, the data and the time, and a refusal of what would wait for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hsta.errors import InputError
from hsta.model.description import describe
from workflows.config import Config, Folds
from workflows.fold import FoldPlan
from workflows.prepared import PreparedSet
from workflows.progress import clock

LONG_FOLD = 1800.0  # seconds; from here on a minute of start-up is nothing, and Ray Train is worth it for one worker
CPU_FLOPS, GPU_FLOPS = 50e9, 300e12  # what a step gets of a core (fp32) and of a data-centre GPU (bf16), roughly
STORE_SHARE = 0.8  # of a node's object store, for the clips


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """How folds will be run.

    Attributes:
        executor: "inline" or "trainer".
        slots: folds at a time.
        streams: the clips are read while they are trained on, for want of memory.
        lines: the arithmetic, for people.
    """

    executor: str
    slots: int
    streams: bool
    lines: tuple[str, ...]


def check(
    config: Config,
    sets: Sequence[PreparedSet],
    pending: Sequence[FoldPlan],
    nodes: Sequence[Mapping[str, float]],
    seconds_known: float | None,
) -> Preflight:
    """Decide how the pending folds are run.

    Args:
        nodes: the resources of each node of the cluster, as Ray names them.
        seconds_known: what a fold of this run has taken, where one is done.

    Raises:
        InputError: not even one fold fits; or the clips are to be kept in memory and do not fit the nodes' object
            stores.
    """
    folds = config.folds
    seconds = seconds_known or _nominal_seconds(config, pending)
    executor, why = _executor(folds, seconds)
    size = sum(loaded_bytes(config, source) for source in sets)
    room = min((node["object_store_memory"] for node in nodes if fits(folds, node)), default=None)
    streams = folds.data == "stream" or (folds.data == "auto" and room is not None and size > STORE_SHARE * room)
    if folds.data == "memory" and room is not None and size > STORE_SHARE * room:
        raise InputError(
            f"the clips take {size / 1e9:.1f} GB at {config.model.image_size} px; the smallest object store of a node that "
            f"trains has {room / 1e9:.1f} GB, of which {STORE_SHARE:.0%} may be used",
            where="folds.data",
            cure="set it to stream or auto; or give Ray more (ray start --object-store-memory BYTES)",
        )
    fitting = sum(fits(folds, node, reading=streams) for node in nodes) // folds.workers
    if fitting < 1 and not folds.concurrent:
        have = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        reading = ", and as many times 1 CPU to read the clips" if streams else ""
        raise InputError(
            f"a fold asks for {folds.workers} x ({folds.cpus} CPU and {folds.gpus:g} GPU), each on one node{reading}; "
            f"the cluster has {len(nodes)} nodes: {have}",
            where="folds.workers, folds.cpus, folds.gpus",
            cure="ask for less, or join a larger cluster; where nodes join later, set folds.concurrent to the number of "
            "folds to run at a time",
        )
    slots = min(folds.concurrent or fitting, len(pending))
    rounds = -(-len(pending) // slots)
    known = "as those that are done took" if seconds_known else "by nominal rates"
    each = f"{folds.workers} x ({folds.cpus} CPU, {folds.gpus:g} GPU)"
    lines = [
        f"folds: {len(pending)} to train, {slots} at a time, {each} each; the cluster fits {fitting}",
        f"folds: executor {executor}: {why}",
        f"folds: {size / 1e6:.0f} MB of clips, {'read in every epoch' if streams else 'read once'}",
        f"folds: about {clock(seconds)} a fold {known}, {clock(rounds * seconds)} in all",
    ]
    if fitting < slots:
        lines.append(f"folds: {slots - fitting} of {slots} wait for nodes to join")
    return Preflight(executor=executor, slots=slots, streams=streams, lines=tuple(lines))


def _executor(folds: Folds, seconds: float) -> tuple[str, str]:
    if folds.executor != "auto":
        return folds.executor, "as folds.executor says"
    if folds.workers > 1:
        return "trainer", f"{folds.workers} workers a fold"
    if seconds >= LONG_FOLD:
        return "trainer", f"a fold takes about {clock(seconds)}: Ray Train may replace its worker when a node leaves"
    return "inline", f"one worker and about {clock(seconds)} a fold: no processes but the trials themselves"


def fits(folds: Folds, node: Mapping[str, float], *, reading: bool = False) -> int:
    """Workers that a node has room for, each with a CPU beside it where clips are read meanwhile."""
    count = node.get("CPU", 0) // (folds.cpus + reading)
    if not folds.gpus:
        return int(count)
    gpus = node.get("GPU", 0)
    return int(min(count, gpus // folds.gpus if folds.gpus >= 1 else gpus * (1 // folds.gpus)))


def loaded_bytes(config: Config, source: PreparedSet) -> int:
    """What the clips take in memory: uint8 frames and float16 flow and strain (`hsta.training.arrays`)."""
    pixels = config.model.image_size**2
    kept = config.vision.interpolate
    frames = sum(kept or clip.offset - clip.onset + 1 for clip in source.clips)
    return frames * 3 * pixels + len(source.clips) * len(config.vision.flow_names) * 3 * 2 * pixels


def _nominal_seconds(config: Config, pending: Sequence[FoldPlan]) -> float:
    """A fold's training time, from its floating-point operations alone."""
    rate = (config.folds.gpus * GPU_FLOPS or config.folds.cpus * CPU_FLOPS) * config.folds.workers
    pretrain = config.pretrain.epochs if config.pretrain else 0
    passes = max(len(plan.train) * config.train.epochs + len(plan.extra) * pretrain for plan in pending)
    return 3 * 2 * describe(config.model).macs * passes / rate
