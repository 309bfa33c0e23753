"""Where a fold is trained: a Ray Tune trial either trains it itself, or has it trained by the workers of a Ray Train run.

    inline    one worker, the trial's own process
    trainer   one worker or several, on one node or several, of a `TorchTrainer`

Both keep their processes from fold to fold, and with them imports, CUDA contexts, process groups and compiled models: Ray Tune
reuses the trial's process, and the process keeps its Ray Train run, whose workers take one fold after another from a mailbox.
A worker that dies takes its group with it; Ray Train starts another one, which takes the same fold up from its checkpoint.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hsta.training.distributed import Ranks
from workflows import engine
from workflows.fold import FoldPlan, FoldSettings, Key, describe, learn

if TYPE_CHECKING:
    from workflows.streaming import StoredClips

REPORT_SECONDS = 1.0  # Ray Tune is told of epochs at most so often: every report costs it some milliseconds
START_LIMIT = 30  # times that Ray Train waits a minute for its workers' resources before it gives up


def run_fold(
    config: Mapping,
    *,
    settings: FoldSettings,
    plans: Mapping[str, FoldPlan],
    data: Mapping | StoredClips,
    executor: str,
) -> None:
    """A Ray Tune trial: train the fold that ``config["fold"]`` names, then score it.

    Args:
        data: the clips' keys and an ObjectRef to the clips, by subject; or the clips in storage, to be streamed.
    """
    from ray import tune

    plan, metrics = plans[config["fold"]], _Metrics(settings.run, config["fold"])
    reported = time.monotonic()

    def report(figures: dict) -> None:
        nonlocal reported
        metrics.epoch(figures)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            tune.report(figures)

    order = {"plan": plan, "parts": list(data.values()) if isinstance(data, Mapping) else data}
    if executor == "inline":
        with engine.Leaving() as leaving:
            cause = learn(settings, plan, _fetcher(order["parts"]), report, device=_device(settings), leaving=leaving)
    else:
        cause = _slot(settings).run(order, report)
    metrics.end(cause)
    tune.report({"epoch": settings.epochs, "complete": int(cause is None), "cause": cause})


def _fetcher(parts: Sequence[tuple[Sequence[Key], object]] | StoredClips) -> Callable:
    import ray

    if not isinstance(parts, Sequence):
        return parts.only

    def fetch(keys: Sequence[Key]) -> list:
        wanted = set(keys)
        return ray.get([reference for members, reference in parts if not wanted.isdisjoint(members)])

    return fetch


def _device(settings: FoldSettings) -> str:
    import torch

    return "cuda" if settings.gpus and torch.cuda.is_available() else "cpu"


class Mailbox:
    """Passes folds to the workers of one Ray Train run, and news of them back. An asynchronous actor."""

    def __init__(self) -> None:
        self._number, self._order, self._changed = 0, None, asyncio.Condition()
        self._news: asyncio.Queue = asyncio.Queue()

    async def put(self, order: dict) -> None:
        """The next fold for the workers."""
        async with self._changed:
            self._number, self._order, self._news = self._number + 1, order, asyncio.Queue()
            self._changed.notify_all()

    async def take(self, after: int) -> tuple[int, dict]:
        """The fold in hand, with its number, when that is above ``after``; until then, wait."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._order is not None and self._number > after)
            return self._number, self._order

    async def tell(self, number: int | None, news: dict) -> None:
        """News of fold ``number``; of the run as a whole where it is None."""
        if number is None or (number == self._number and self._order is not None):
            await self._news.put(news)
            if "cause" in news:
                self._order = None

    async def hear(self) -> dict:
        """The next news."""
        return await self._news.get()


class _Slot:
    """A Ray Train run that trains one fold after another."""

    def __init__(self, settings: FoldSettings):
        import ray
        from ray import train
        from ray.train.torch import TorchTrainer

        node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self.ended = ""  # why
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).options(scheduling_strategy=node).remote()
        resources = {"CPU": settings.cpus, **({"GPU": settings.gpus} if settings.gpus else {})}
        trainer = TorchTrainer(
            _work,
            train_loop_config={"settings": settings, "mailbox": self._mailbox},
            scaling_config=train.ScalingConfig(
                num_workers=settings.workers, use_gpu=settings.gpus > 0, resources_per_worker=resources
            ),
            run_config=train.RunConfig(
                name=f"slot-{os.getpid()}-{time.time_ns()}",
                storage_path=os.getcwd(),  # in Ray's session; checkpoints go to the run's folder, by `workflows.keeper`
                failure_config=train.FailureConfig(max_failures=-1, controller_failure_limit=START_LIMIT),
            ),
        )
        threading.Thread(target=self._fit, args=(trainer,), name="ray-train", daemon=True).start()

    def run(self, order: dict, report: Callable[[dict], None]) -> str | None:
        """Have a fold trained. Returns why it failed, None when it is done.

        Raises:
            RuntimeError: the Ray Train run has ended. Ray Tune then starts the trial again, in another process.
        """
        import ray

        ray.get(self._mailbox.put.remote(order))
        note = ""
        while not self.ended:
            news = ray.get(self._mailbox.hear.remote())
            if "figures" in news:
                report(news["figures"])
            elif "note" in news:
                note = news["note"]
            elif "cause" in news:
                known = not note or note in (news["cause"] or note)
                return news["cause"] if known else f"{news['cause']} ({note})"
        raise RuntimeError(f"{self.ended} ({note})" if note else self.ended)

    def _fit(self, trainer) -> None:
        import ray

        cause = "its Ray Train run ended"
        try:
            trainer.fit()
        except Exception as error:
            cause = f"Ray Train: {describe(error)}"
        self.ended = cause
        ray.get(self._mailbox.tell.remote(None, {"ended": cause}))


_kept: _Slot | None = None


def _slot(settings: FoldSettings) -> _Slot:
    """This process's Ray Train run; another one where it has ended."""
    global _kept
    if _kept is None or _kept.ended:
        _kept = _Slot(settings)
    return _kept


def _work(config: dict) -> None:
    """A worker of the Ray Train run: fold after fold, for ever."""
    import ray
    import ray.train.torch
    from ray import train

    settings, mailbox = config["settings"], config["mailbox"]
    context = train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    device = str(ray.train.torch.get_device()) if settings.gpus else "cpu"
    told, number = time.monotonic(), 0

    def report(figures: dict) -> None:
        nonlocal told
        if ranks.rank == 0 and time.monotonic() - told > REPORT_SECONDS:
            told = time.monotonic()
            mailbox.tell.remote(number, {"figures": figures})

    while True:
        number, order = ray.get(mailbox.take.remote(number))
        try:
            fetch = _fetcher(order["parts"])
            with engine.Leaving() if ranks.rank == 0 else engine.STAYING as leaving:
                cause = learn(settings, order["plan"], fetch, report, ranks=ranks, device=device, leaving=leaving)
        except Exception as error:
            ray.get(mailbox.tell.remote(number, {"note": describe(error)}))
            raise
        if ranks.rank == 0:
            ray.get(mailbox.tell.remote(number, {"cause": cause}))


class _Metrics:
    """What the folds do, for Ray's metrics endpoint."""

    def __init__(self, run: str, fold: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {"run": run, "fold": fold}
        keys = tuple(self._tags)
        self._seconds = Gauge("hsta_fold_epoch_seconds", "Seconds of the last epoch.", tag_keys=keys)
        self._loss = Gauge("hsta_fold_loss", "Mean training loss of the last epoch.", tag_keys=keys)
        self._done = Counter("hsta_folds_done_total", "Folds trained and scored.", tag_keys=("run",))
        self._failed = Counter("hsta_folds_failed_total", "Folds that failed.", tag_keys=("run",))

    def epoch(self, figures: Mapping) -> None:
        """An epoch is over."""
        self._seconds.set(figures["seconds"], tags=self._tags)
        self._loss.set(figures["loss"], tags=self._tags)

    def end(self, cause: str | None) -> None:
        """The fold is over."""
        (self._done if cause is None else self._failed).inc(tags={"run": self._tags["run"]})
