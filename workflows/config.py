"""The configuration of a run: one frozen dataclass a section, read strictly, saved with every run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from hsta import storage
from hsta.datasets.labels import label_classes
from hsta.errors import InputError
from hsta.model.config import PRESETS, HSTAConfig
from hsta.training.recipe import Recipe
from hsta.vision.recipe import PrepareRecipe
from workflows import settings

EXECUTORS = ("auto", "inline", "trainer")


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
    """The clips: their manifest, the label set, and where their prepared form lies."""

    manifest: str
    dataset: str
    label_set: str
    prepared: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """How preparation is spread: actors (0: one a CPU), clips a shard, and the share of rejected clips that fails the command."""

    actors: int = 0
    clips_per_shard: int = 4
    max_rejected: float = 0.05
    force: bool = False

    def __post_init__(self) -> None:
        _require(self.actors >= 0, "prepare.actors", self.actors, "0 (one a CPU) or more")
        _require(self.clips_per_shard >= 1, "prepare.clips_per_shard", self.clips_per_shard, "1 or more")
        _require(0 <= self.max_rejected <= 1, "prepare.max_rejected", self.max_rejected, "a share from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How clips are divided, and with which seeds each fold is trained.

    ``test_subjects`` names the held-out subjects (``dataset/subject``) of protocol ``holdout``. ``shuffle_labels`` permutes the labels of the training clips of each fold: a run that must end at chance.
    """

    name: str = "loso"
    seeds: tuple[int, ...] = (0,)
    test_subjects: tuple[str, ...] = ()
    shuffle_labels: bool = False

    def __post_init__(self) -> None:
        _require(bool(self.seeds) and len(set(self.seeds)) == len(self.seeds), "protocol.seeds", self.seeds, "different numbers")


@dataclass(frozen=True, kw_only=True)
class Folds:
    """How folds are run: the executor, what one fold takes, and how often it saves a checkpoint (epochs)."""

    executor: str = "auto"
    cpus: int = 1
    gpus: float = 0.0
    checkpoint_every: int = 20

    def __post_init__(self) -> None:
        _require(self.executor in EXECUTORS, "folds.executor", self.executor, " or ".join(EXECUTORS))
        _require(self.cpus >= 1, "folds.cpus", self.cpus, "1 or more")
        _require(self.gpus >= 0, "folds.gpus", self.gpus, "0 or more")
        _require(self.checkpoint_every >= 1, "folds.checkpoint_every", self.checkpoint_every, "1 or more")


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
    """Everything a command needs to know. ``synthetic`` is given only for the demo."""

    run: Run
    data: Data
    vision: PrepareRecipe
    prepare: Prepare
    model: HSTAConfig
    train: Recipe
    protocol: Protocol
    folds: Folds
    synthetic: Synthetic | None

    @property
    def folder(self) -> str:
        """The run's folder, absolute path or URL."""
        return storage.join(storage.absolute(self.run.storage), self.run.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label set."""
        return label_classes(self.data.label_set, self.data.classes)

    def science(self) -> dict:
        """The settings that decide a run's numbers: all but where and how it is executed."""
        whole = settings.plain(self)
        science = {name: whole[name] for name in ("data", "vision", "model", "train", "protocol")}
        science["data"] = {name: whole["data"][name] for name in ("dataset", "label_set", "classes")}
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
    for section in ("vision", "prepare", "train", "protocol", "folds"):
        values.setdefault(section, {})
    values.setdefault("synthetic", None)
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
