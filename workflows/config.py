"""The configuration of a run: one frozen dataclass a section, read strictly, saved with every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hsta import storage
from hsta.datasets.labels import label_classes
from hsta.errors import InputError
from hsta.model.config import PRESETS, HSTAConfig
from hsta.training.fit import check_fits
from hsta.training.recipe import Recipe
from hsta.vision.recipe import PrepareRecipe
from workflows import settings

EXECUTORS = ("auto", "inline", "trainer")
DATA = ("auto", "memory", "stream")
TRACKERS = ("tensorboard", "mlflow", "wandb")


def _require(holds: bool, name: str, value: object, meaning: str) -> None:
    if not holds:
        raise InputError(f"'{name}' is {value!r}", where=name, cure=f"it must be {meaning}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run keeps everything: ``<storage>/<name>``. The same name resumes the same run."""

    name: str
    storage: str = "runs"

    def __post_init__(self) -> None:
        plain = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name.isascii()
        _require(plain and not self.name.startswith("."), "run.name", self.name, "letters, digits, '-', '_' and '.'")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The clips: their manifest, the label set, and where their prepared form lies.

    ``inspection`` is the ``inspection.json`` that `workflows.inspect` wrote beside the manifest, if it did: the report then
    lists the exclusions and corrections that led to the manifest.
    """

    manifest: str
    dataset: str
    label_set: str
    prepared: str
    classes: tuple[str, ...] = ()
    inspection: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """How preparation is spread, what a shard may hold, and what counts as failure.

    ``actors``: one CPU each; 0 is one for each CPU of the cluster. ``min_actors``: the pool grows from these as the cluster does;
    0 is all from the start. ``memory_mb``: what an actor reserves. ``clips_per_shard``, ``max_shard_mb`` (before compression): a
    shard is closed before it would exceed either. ``max_rejected``: the share of rejected clips above which the command fails;
    ``strict``: any rejected clip fails it. ``verify``: read finished shards again, and make damaged ones anew. ``force``: start
    over.
    """

    actors: int = 0
    min_actors: int = 0
    memory_mb: int = 800
    clips_per_shard: int = 4
    max_shard_mb: int = 256
    max_rejected: float = 0.05
    strict: bool = False
    verify: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        _require(self.actors >= 0, "prepare.actors", self.actors, "0 (one a CPU) or more")
        most = self.actors or self.min_actors
        _require(0 <= self.min_actors <= most, "prepare.min_actors", self.min_actors, "0 to prepare.actors")
        _require(self.memory_mb >= 1, "prepare.memory_mb", self.memory_mb, "1 or more")
        _require(self.clips_per_shard >= 1, "prepare.clips_per_shard", self.clips_per_shard, "1 or more")
        _require(self.max_shard_mb >= 1, "prepare.max_shard_mb", self.max_shard_mb, "1 or more")
        _require(0 <= self.max_rejected <= 1, "prepare.max_rejected", self.max_rejected, "a share from 0 to 1")
        _require(
            not (self.verify and self.force),
            "prepare.verify",
            self.verify,
            "false with prepare.force: all is made anew",
        )


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How clips are divided, and with which seeds each fold is trained.

    ``test_subjects`` names the held-out subjects (``dataset/subject``) of protocol ``holdout``; ``organisers_list`` is the file
    of the 442 clips of protocol ``megc2019-cde``. ``validation_subjects``:
    so many of each fold's training subjects are not trained on; they decide which epoch's weights are scored.
    ``shuffle_labels`` permutes the labels of the training clips of each fold: a run that must end at chance.
    """

    name: str = "loso"
    seeds: tuple[int, ...] = (0,)
    test_subjects: tuple[str, ...] = ()
    organisers_list: str = ""
    validation_subjects: int = 0
    shuffle_labels: bool = False

    def __post_init__(self) -> None:
        count = self.validation_subjects
        _require(count >= 0, "protocol.validation_subjects", count, "0 (none) or more")
        _require(
            bool(self.seeds) and len(set(self.seeds)) == len(self.seeds),
            "protocol.seeds",
            self.seeds,
            "different numbers",
        )


@dataclass(frozen=True, kw_only=True)
class Folds:
    """How folds are run.

    ``executor``: "inline", "trainer", or "auto" to have it chosen (see `workflows.executors` and `workflows.preflight`).
    ``workers``: processes that train one fold together, of ``cpus`` and ``gpus`` each; a part of a GPU lets small models
    share one. ``concurrent``: folds at a time; 0 is as many as fit the cluster as it is; more than fit wait for nodes to
    join, so a number is needed where a cluster starts small and grows. ``data``: "memory", the clips are read once and
    shared by the folds of a node; "stream", they are read again in every epoch, which takes a CPU more for each worker;
    "auto", in memory if they fit. ``checkpoint_every``: epochs.
    """

    executor: str = "auto"
    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    concurrent: int = 0
    data: str = "auto"
    checkpoint_every: int = 20

    def __post_init__(self) -> None:
        _require(self.executor in EXECUTORS, "folds.executor", self.executor, " or ".join(EXECUTORS))
        _require(self.workers >= 1, "folds.workers", self.workers, "1 or more")
        several = self.workers > 1
        _require(
            not (several and self.executor == "inline"),
            "folds.executor",
            self.executor,
            "auto or trainer for workers > 1",
        )
        _require(self.cpus >= 1, "folds.cpus", self.cpus, "1 or more")
        _require(self.gpus >= 0, "folds.gpus", self.gpus, "0 or more")
        whole = self.gpus == int(self.gpus)
        _require(whole or (self.gpus < 1 and not several), "folds.gpus", self.gpus, "whole, or below 1 for one worker")
        _require(self.data in DATA, "folds.data", self.data, " or ".join(DATA))
        _require(self.concurrent >= 0, "folds.concurrent", self.concurrent, "0 (as many as fit) or more")
        _require(self.checkpoint_every >= 1, "folds.checkpoint_every", self.checkpoint_every, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the folds' curves go besides the run's own history (docs/tracking.md); nowhere if ``to`` is empty.

    ``mlflow_uri``: address of the MLflow server, MLFLOW_TRACKING_URI where empty. ``experiment``: MLflow's, the run's name where
    empty.
    """

    to: tuple[str, ...] = ("tensorboard",)
    mlflow_uri: str = ""
    experiment: str = ""
    wandb_project: str = "hsta"

    def __post_init__(self) -> None:
        known = set(self.to) <= set(TRACKERS) and len(set(self.to)) == len(self.to)
        _require(known, "tracking.to", self.to, f"a list of some of {', '.join(TRACKERS)}")


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """What each fold trains on first: another prepared set with the same label set, such as macro-expressions, without
    the subjects that the fold tests or validates. The settings of ``train`` hold, but for ``epochs``, ``warmup_epochs``,
    ``freeze`` and ``patience``: nothing is frozen, and the fold goes on from what would be scored after the last epoch."""

    prepared: str
    epochs: int
    warmup_epochs: int = 5

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "pretrain.epochs", self.epochs, "1 or more")
        rises = 0 <= self.warmup_epochs < self.epochs
        _require(rises, "pretrain.warmup_epochs", self.warmup_epochs, "from 0 to below epochs")


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The demo's clips: how many, and the seed they follow from."""

    subjects: int = 8
    clips_per_class: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.subjects >= 2, "synthetic.subjects", self.subjects, "2 or more")
        _require(self.clips_per_class >= 1, "synthetic.clips_per_class", self.clips_per_class, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a command needs to know. ``synthetic`` is given only for the demo, ``pretrain`` only where there is any."""

    run: Run
    data: Data
    vision: PrepareRecipe
    prepare: Prepare
    model: HSTAConfig
    train: Recipe
    protocol: Protocol
    folds: Folds
    tracking: Tracking
    pretrain: Pretrain | None
    synthetic: Synthetic | None

    def __post_init__(self) -> None:
        check_fits(self.train, self.model, validates=self.protocol.validation_subjects > 0)

    @property
    def folder(self) -> str:
        """The run's folder, absolute path or URL."""
        return storage.join(storage.absolute(self.run.storage), self.run.name)

    @property
    def pretrain_recipe(self) -> Recipe | None:
        """The recipe of pre-training, None where there is none."""
        if self.pretrain is None:
            return None
        return replace(
            self.train, epochs=self.pretrain.epochs, warmup_epochs=self.pretrain.warmup_epochs, patience=0, freeze=()
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label set."""
        return label_classes(self.data.label_set, self.data.classes)

    def science(self) -> dict:
        """The settings that decide a run's numbers: all but where and how it is executed."""
        whole = settings.plain(self)
        science = {name: whole[name] for name in ("data", "vision", "model", "train", "protocol")}
        science["data"] = {name: whole["data"][name] for name in ("dataset", "label_set", "classes")}
        if self.pretrain is not None:
            science["pretrain"] = {name: whole["pretrain"][name] for name in ("epochs", "warmup_epochs")}
        return science

    def science_hash(self) -> str:
        """SHA-256 of `science`."""
        return hashlib.sha256(json.dumps(self.science(), sort_keys=True).encode()).hexdigest()


def load(url: str, assignments: Sequence[str] = ()) -> Config:
    """Read a configuration file, apply ``a.b=c`` assignments and check all of it.

    ``model.preset`` names a published size, whose fields the section's other keys replace. ``model.classes`` follows from the
    label set.

    Raises:
        InputError: what is wrong, where, and the nearest thing that is right.
    """
    values = settings.override(settings.read_yaml(url), assignments)
    for section in ("vision", "prepare", "train", "protocol", "folds", "tracking"):
        values.setdefault(section, {})
    for section in ("pretrain", "synthetic"):
        values.setdefault(section, None)
    model = dict(values.get("model") or {})
    preset = model.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise InputError(f"unknown model preset '{preset}'", where=url, cure=f"known are {', '.join(PRESETS)}")
        model = {**settings.plain(PRESETS[preset]), "classes": None, **model}
    data = settings.build(Data, values.get("data", {}), where=url, path="data")
    count = len(label_classes(data.label_set, data.classes))
    if model.get("classes") not in (None, count):
        raise InputError(
            f"model.classes is {model['classes']}, label set '{data.label_set}' has {count} classes",
            where=url,
            cure="leave model.classes out",
        )
    values["model"] = {**model, "classes": count}
    return settings.build(Config, values, where=url)


def save(config: Config, url: str) -> None:
    """Write the resolved configuration; `load` reads it back to the same."""
    storage.write_bytes(url, settings.to_yaml(config).encode())
