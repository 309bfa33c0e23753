"""One fold, from its training clips to its scored held-out clips, in one of two executors around the same training function.

``inline`` trains in the trial's own process; ``trainer`` in the worker of a Ray Train run that the trial starts. Either way the
training function receives the training clips alone, inner validation and pre-training clips with them, none of them of
a held-out subject. When its last epoch is over, the trial fetches the held-out clips, scores them once, and writes the
fold's predictions.

A fold keeps everything in ``<run>/folds/<name>``: ``checkpoint.pt`` while it trains, then ``model.pt``, ``history.json``,
``predictions.parquet`` and, last, ``done.json``. A fold with ``done.json`` is never trained again.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from hsta import storage
from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.training.recipe import Recipe

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
    """What all folds of a run share. ``pretrain`` is the recipe of training on the folds' extra clips first, if any."""

    folder: str
    science_hash: str
    model: HSTAConfig
    recipe: Recipe
    classes: tuple[str, ...]
    shuffle_labels: bool
    checkpoint_every: int
    cpus: int
    gpus: float
    pretrain: Recipe | None = None

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


def train_fold(settings: FoldSettings, plan: FoldPlan, parts: Sequence, report: Callable[[dict], None]) -> None:
    """The training function of both executors: all epochs of one fold, from its last checkpoint if there is one.

    Args:
        parts: the clips of ``plan.learnt_from`` alone, as a list of ClipArrays.
        report: called after every epoch with its figures. The epochs of pre-training count as the first ones.
    """
    import torch

    from hsta.training.arrays import concatenate, select
    from hsta.training.loop import Trainer, scored_weights

    torch.set_num_threads(settings.cpus)
    everything = concatenate(parts)
    device = "cuda" if settings.gpus and torch.cuda.is_available() else "cpu"
    state = _load_checkpoint(settings, plan)
    history: list[dict] = state["history"] if state else []

    def labelled(keys: Sequence[Key]) -> tuple:
        arrays = select(everything, keys)
        return arrays, training_labels(arrays.labels, settings, plan)

    def run(trainer: Trainer, stage: str, *, epochs_before: int) -> dict:
        if state and state["stage"] == stage:
            trainer.load_state_dict(state)
        while not trainer.finished:
            result = {name: value for name, value in asdict(trainer.run_epoch()).items() if value is not None}
            result["epoch"] += epochs_before
            history.append(result)
            if trainer.epoch % settings.checkpoint_every == 0 or trainer.finished:
                facts = {"stage": stage, "history": history, "science_hash": settings.science_hash}
                save_tensors(settings.place(plan, "checkpoint.pt"), {**trainer.state_dict(), **facts})
            report(result)
        return scored_weights(trainer.state_dict())

    initial, epochs_before = None, 0
    if settings.pretrain:
        epochs_before = settings.pretrain.epochs
        if not state or state["stage"] == "pretrain":
            first = Trainer(settings.model, settings.pretrain, *labelled(plan.extra), seed=plan.seed, device=device)
            initial = run(first, "pretrain", epochs_before=0)
    trainer = Trainer(
        settings.model,
        settings.recipe,
        *labelled(plan.train),
        seed=plan.seed,
        device=device,
        validation=labelled(plan.validation) if plan.validation else None,
        initial=initial,
    )
    run(trainer, "train", epochs_before=epochs_before)


def _load_checkpoint(settings: FoldSettings, plan: FoldPlan) -> dict | None:
    checkpoint = settings.place(plan, "checkpoint.pt")
    if not storage.exists(checkpoint):
        return None
    state = load_tensors(checkpoint)
    if state["science_hash"] != settings.science_hash:
        raise InputError(
            "the checkpoint belongs to another configuration or to other clips", where=checkpoint, cure="delete it"
        )
    return state


def training_labels(labels: Sequence[str], settings: FoldSettings, plan: FoldPlan) -> list[int]:
    """Class indices of clips in one training role; permuted among them where the run shuffles labels."""
    import numpy as np

    indices = [settings.classes.index(label) for label in labels]
    if settings.shuffle_labels:
        indices = np.random.default_rng(plan.seed).permutation(indices).tolist()
    return indices


def score_fold(settings: FoldSettings, plan: FoldPlan, held_out: Sequence, started: float) -> dict:
    """Score the held-out clips with the weights to be scored and write the fold's results; ``done.json`` comes last."""
    import torch

    from hsta.evaluation.predictions import write_predictions
    from hsta.model import HSTA
    from hsta.records import Prediction
    from hsta.training.arrays import concatenate, select
    from hsta.training.loop import predict, scored_weights

    checkpoint = settings.place(plan, "checkpoint.pt")
    state = load_tensors(checkpoint)
    device = "cuda" if settings.gpus and torch.cuda.is_available() else "cpu"
    model = HSTA(settings.model).to(device)
    weights = scored_weights(state)
    model.load_state_dict(weights)
    arrays = select(concatenate(held_out), plan.test)
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
        for (dataset, clip_id), subject, truth, row in zip(arrays.keys, arrays.subjects, arrays.labels, probabilities)
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
    fs, path = storage.filesystem(checkpoint)
    fs.rm_file(path)
    return receipt


def run_fold(
    config: Mapping, *, settings: FoldSettings, plans: Mapping[str, FoldPlan], data: Mapping, executor: str
) -> None:
    """A Ray Tune trial: train the fold that ``config["fold"]`` names, then score it. ``data`` maps subjects to ObjectRefs."""
    import ray
    from ray import tune

    plan, started = plans[config["fold"]], time.time()
    train, test = (_parts(data, keys) for keys in (plan.learnt_from, plan.test))
    if executor == "inline":
        train_fold(settings, plan, ray.get(train), tune.report)
    else:
        _train_in_ray_train(settings, plan, train)
    receipt = score_fold(settings, plan, ray.get(test), started)
    tune.report({"epoch": receipt["epochs"], "complete": 1})


def _parts(data: Mapping, keys: Sequence[Key]) -> list:
    wanted = set(keys)
    return [reference for members, reference in data.values() if not wanted.isdisjoint(members)]


def _train_in_ray_train(settings: FoldSettings, plan: FoldPlan, references: list) -> None:
    from ray import train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources = {"CPU": settings.cpus, **({"GPU": settings.gpus} if settings.gpus else {})}
    TorchTrainer(
        _ray_train_worker,
        train_loop_config={"settings": settings, "plan": plan, "references": references},
        scaling_config=train.ScalingConfig(num_workers=1, use_gpu=settings.gpus > 0, resources_per_worker=resources),
        run_config=train.RunConfig(
            name=f"{plan.name}-{settings.science_hash[:12]}",
            storage_path=storage.join(settings.folder, ".train"),
            callbacks=[TuneReportCallback()],
            failure_config=train.FailureConfig(max_failures=2, controller_failure_limit=5),
        ),
    ).fit()


def _ray_train_worker(config: dict) -> None:
    import ray
    from ray import train

    train_fold(config["settings"], config["plan"], ray.get(config["references"]), train.report)


def save_tensors(url: str, value: dict) -> None:
    """Save tensors and plain values, atomically."""
    import torch

    sink = io.BytesIO()
    torch.save(value, sink)
    storage.write_bytes(url, sink.getvalue())


def load_tensors(url: str) -> dict:
    """Load what `save_tensors` wrote; nothing is unpickled but tensors and plain values."""
    import torch

    return torch.load(io.BytesIO(storage.read_bytes(url)), map_location="cpu", weights_only=True)
