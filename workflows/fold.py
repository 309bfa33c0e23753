"""One fold, from its training clips to its scored held-out clips. `workflows.executors` says in which process.

The training function, `train_fold`, receives the training clips alone, inner validation and pre-training clips with them,
none of them of a held-out subject. When its last epoch is over, the held-out clips are fetched and scored, once.

A fold keeps everything in ``<run>/folds/<name>``: ``checkpoint.pt`` and ``progress.json`` while it trains, then ``model.pt``,
``history.json``, ``predictions.parquet`` and, last, ``done.json``. A fold with ``done.json`` is never trained again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from hsta import storage
from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.training.distributed import ALONE, Ranks
from hsta.training.recipe import Recipe
from workflows.config import Tracking
from workflows.engine import STAYING, Staying
from workflows.keeper import FRUITLESS, Keeper, load_tensors, save_tensors
from workflows.tracking import trackers

if TYPE_CHECKING:
    from hsta.training.arrays import ClipArrays
    from workflows.streaming import StoredClips

Key = tuple[str, str]  # (dataset, clip_id)


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """One model to train: the fold of the split, the seed, and the keys of the clips in each role (`splits.Fold`)."""

    fold: str
    seed: int
    train: tuple[Key, ...]
    test: tuple[Key, ...]
    validation: tuple[Key, ...] = ()
    extra: tuple[Key, ...] = ()

    @property
    def learnt_from(self) -> tuple[Key, ...]:
        """All clips that the training function receives: to train on, to choose the epoch by, and to pre-train on."""
        return self.train + self.validation + self.extra

    @property
    def name(self) -> str:
        """Name of the fold's folder."""
        return f"{self.fold}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """What all folds of a run share. ``pretrain`` is the recipe of training on the folds' extra clips first, if any;
    ``submission`` tells one submission of the run from the next."""

    folder: str
    science_hash: str
    model: HSTAConfig
    recipe: Recipe
    classes: tuple[str, ...]
    shuffle_labels: bool
    checkpoint_every: int
    cpus: int
    gpus: float
    workers: int = 1
    pretrain: Recipe | None = None
    run: str = ""
    submission: str = ""
    tracking: Tracking = field(default_factory=lambda: Tracking(to=()))

    @property
    def epochs(self) -> int:
        """Epochs of a fold, those of pre-training with them."""
        return self.recipe.epochs + (self.pretrain.epochs if self.pretrain else 0)

    def place(self, plan: FoldPlan, *names: str) -> str:
        """The URL of a file of the fold."""
        return storage.join(self.folder, "folds", plan.name, *names)


def done(settings: FoldSettings, plan: FoldPlan) -> dict | None:
    """The fold's ``done.json``, None while it is unfinished."""
    try:
        receipt = storage.read_json(settings.place(plan, "done.json"))
    except FileNotFoundError:
        return None
    if receipt["science_hash"] != settings.science_hash:
        raise InputError(
            "this fold was trained with another configuration or on other prepared clips",
            where=settings.place(plan, "done.json"),
            cure="give the run another run.name, or delete its folder",
        )
    return receipt


class GaveUp(Exception):
    """A fold's process ended too often at the same place."""


def learn(
    settings: FoldSettings,
    plan: FoldPlan,
    fetch: Callable[[Sequence[Key]], Sequence[ClipArrays] | StoredClips],
    report: Callable[[dict], None],
    *,
    ranks: Ranks = ALONE,
    device: str = "cpu",
    leaving: Staying = STAYING,
) -> str | None:
    """Train the fold from its last checkpoint on, then score it. Returns why it failed, None when it is done, or was.

    What runs out of memory is tried once more; whatever else is raised ends the fold, whose cause is then in its
    ``progress.json``. With several processes, what may have struck only one of them is raised, to end them all.

    Args:
        fetch: gives the clips of some keys, perhaps with others of the same subjects.
        report: called after every epoch with its figures. The epochs of pre-training count as the first ones.
        leaving: asked after every step; True has a checkpoint written at once, because there may not be another; told
            when it is stored.
    """
    for attempt in (1, 2):
        started, keep = time.time(), None
        try:
            (over,) = ranks.first(ranks.rank == 0 and done(settings, plan) is not None)
            if over:  # its process had died before anybody heard of it
                return None
            state = load_checkpoint(settings, plan)
            history = state["history"] if state else []
            if ranks.rank == 0:
                facts = {"fold": plan.fold, "seed": plan.seed, "epochs": settings.epochs}
                curves = trackers(
                    settings.tracking,
                    run=settings.run,
                    fold=plan.name,
                    folder=settings.folder,
                    settings=asdict(settings.recipe),
                )
                facts["submission"] = settings.submission
                keep = Keeper(lambda name: settings.place(plan, name), facts, history, curves)
            (fruitless,) = ranks.first(keep.fruitless if keep else 0)
            if fruitless >= FRUITLESS:
                raise GaveUp(
                    f"its process ended {fruitless} times at epoch {len(history) + 1} without a word: "
                    "killed, perhaps for want of memory"
                )
            parts = fetch(plan.learnt_from)
            state = train_fold(
                settings, plan, parts, report, state=state, keep=keep, ranks=ranks, device=device, leaving=leaving
            )
            del parts
            if keep:
                keep.close()
                score_fold(settings, plan, fetch(plan.test) if plan.test else (), state, started, device=device)
            return None
        except Exception as error:
            again = attempt == 1 and ranks.count == 1 and _out_of_memory(error)
            cause = describe(error)
            if keep:
                keep.close(cause=cause)
            if ranks.count > 1 and not isinstance(error, (FloatingPointError, GaveUp)):
                raise
            if not again:
                return cause
        _free_memory()
    raise AssertionError("the second attempt returns")


def train_fold(
    settings: FoldSettings,
    plan: FoldPlan,
    parts: Sequence[ClipArrays] | StoredClips,
    report: Callable[[dict], None],
    *,
    state: Mapping | None = None,
    keep: Keeper | None = None,
    ranks: Ranks = ALONE,
    device: str = "cpu",
    leaving: Staying = STAYING,
) -> dict:
    """The training function of every executor: all epochs of one fold. Returns the last state.

    Args:
        parts: the clips of ``plan.learnt_from`` alone, in memory or where they can be read.
        state: the checkpoint to go on from.
        keep: writes the fold's files; None in all processes but one.
    """
    import torch

    from hsta.training.loop import Trainer, scored_weights

    torch.set_num_threads(settings.cpus)
    take = _taker(parts)
    history: list[dict] = state["history"] if state else []
    if keep:
        keep.follow(history)

    def labelled(keys: Sequence[Key], *, stream: bool = True) -> tuple:
        clips = take(keys, stream=stream)
        return clips, training_labels(clips.labels, settings, plan)

    def run(trainer: Trainer, stage: str, *, epochs_before: int) -> dict:
        def whole() -> dict:
            facts = {"stage": stage, "history": history, "science_hash": settings.science_hash}
            return {**trainer.state_dict(), **facts}

        def keep_now() -> None:
            if keep:
                keep.checkpoint(whole())
                keep.settle()
                leaving.kept()

        if state and state["stage"] == stage:
            trainer.load_state_dict(state)
        while not trainer.finished:
            result = trainer.run_epoch(leaving if ranks.count == 1 else None)
            if result is None:  # interrupted within the epoch: keep what there is, and go on while there is time
                keep_now()
                continue
            figures = {name: value for name, value in asdict(result).items() if value is not None}
            figures["epoch"] += epochs_before
            if keep:
                keep.settle()
            history.append(figures)
            if keep and leaving():
                keep_now()
            elif keep and trainer.epoch % settings.checkpoint_every == 0:
                keep.checkpoint(whole())
            report(figures)
        return whole()

    initial, epochs_before = None, 0
    if settings.pretrain:
        epochs_before = settings.pretrain.epochs
        if not state or state["stage"] == "pretrain":
            first = Trainer(
                settings.model,
                settings.pretrain,
                *labelled(plan.extra),
                seed=plan.seed,
                device=device,
                ranks=ranks,
            )
            initial = scored_weights(run(first, "pretrain", epochs_before=0))
    trainer = Trainer(
        settings.model,
        settings.recipe,
        *labelled(plan.train),
        seed=plan.seed,
        device=device,
        validation=labelled(plan.validation, stream=False) if plan.validation else None,
        initial=initial,
        ranks=ranks,
    )
    return run(trainer, "train", epochs_before=epochs_before)


def _taker(parts: Sequence[ClipArrays] | StoredClips) -> Callable:
    """Gives some of the clips by their keys, in memory, or as a stream where that is wanted and they are in storage."""
    if isinstance(parts, Sequence):
        from hsta.training.arrays import concatenate, select

        everything = concatenate(parts)
        return lambda keys, stream=False: select(everything, keys)
    from workflows.streaming import RayStream

    return lambda keys, stream=False: RayStream(parts.only(keys)) if stream else parts.only(keys).load()


def load_checkpoint(settings: FoldSettings, plan: FoldPlan) -> dict | None:
    """The fold's checkpoint, None where there is none. Raises InputError for another configuration's."""
    url = settings.place(plan, "checkpoint.pt")
    try:
        state = load_tensors(url)
    except FileNotFoundError:
        return None
    if state["science_hash"] != settings.science_hash:
        raise InputError(
            "the checkpoint belongs to another configuration or to other clips", where=url, cure="delete it"
        )
    return state


def training_labels(labels: Sequence[str], settings: FoldSettings, plan: FoldPlan) -> list[int]:
    """Class indices of clips in one training role; permuted among them where the run shuffles labels."""
    import numpy as np

    indices = [settings.classes.index(label) for label in labels]
    if settings.shuffle_labels:
        indices = np.random.default_rng(plan.seed).permutation(indices).tolist()
    return indices


def score_fold(
    settings: FoldSettings,
    plan: FoldPlan,
    held_out: Sequence[ClipArrays] | StoredClips,
    state: Mapping,
    started: float,
    *,
    device: str = "cpu",
) -> dict:
    """Score the held-out clips, if there are any, with the weights to be scored of the last ``state``, and write the
    fold's results; ``done.json`` comes last. Returns it."""
    from hsta.evaluation.predictions import write_predictions
    from hsta.model import HSTA
    from hsta.records import Prediction
    from hsta.training.loop import predict, scored_weights

    weights = scored_weights(state)
    if plan.test:
        model = HSTA(settings.model).to(device)
        model.load_state_dict(weights)
        arrays = _taker(held_out)(plan.test)
        probabilities = predict(model, settings.recipe, arrays)
        predictions = [
            Prediction(
                clip_id=clip_id,
                dataset=dataset,
                subject=subject,
                fold=plan.fold,
                seed=plan.seed,
                truth=truth,
                prediction=settings.classes[int(row.argmax())],
                probabilities=tuple(row.tolist()),
            )
            for (dataset, clip_id), subject, truth, row in zip(
                arrays.keys, arrays.subjects, arrays.labels, probabilities
            )
        ]
        write_predictions(settings.place(plan, "predictions.parquet"), predictions, settings.classes)
    storage.write_json(settings.place(plan, "history.json"), state["history"])
    save_tensors(settings.place(plan, "model.pt"), {"model": weights, "science_hash": settings.science_hash})
    receipt = {
        "fold": plan.fold,
        "seed": plan.seed,
        "science_hash": settings.science_hash,
        "train_clips": len(plan.train),
        "test_clips": len(plan.test),
        "epochs": len(state["history"]),
        "train_seconds": sum(epoch["seconds"] for epoch in state["history"]),
        "seconds": time.time() - started,
    }
    storage.write_json(settings.place(plan, "done.json"), receipt)
    storage.delete(settings.place(plan, "checkpoint.pt"))
    return receipt


def describe(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def _out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
