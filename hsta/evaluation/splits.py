"""Splits: which clips each fold trains on, validates on and tests. Every protocol has one name, and reports carry it.

| protocol                        | folds             | rule                                                         |
|---------------------------------|-------------------|--------------------------------------------------------------|
| `loso`                          | one per subject   | leave one subject out                                        |
| `megc2019-cde`                  | 68                | LOSO over the organisers' list of 442 clips                  |
| `subject-kfold-K`               | K                 | subject-disjoint, stratified by class where subjects allow   |
| `lodo`                          | one per data set  | leave one data set out                                       |
| `holdout`                       | 1                 | a named list of test subjects                                |
| `paper-5fold-subject-dependent` | 5                 | random by clip, as the authors did: for comparison alone     |

A subject is a data set and a subject id together, written ``dataset/subject``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

from hsta import storage
from hsta.datasets.shards import safe_name
from hsta.errors import InputError
from hsta.evaluation.groups import random_groups, stratified_subject_groups
from hsta.records import Clip

ClipKey = tuple[str, str]
"""(dataset, clip_id)."""

PAPER_PROTOCOL = "paper-5fold-subject-dependent"
MEGC2019_CLIPS, MEGC2019_SUBJECTS = 442, 68
_SCHEMA_VERSION = 1


def clip_key(clip: Clip) -> ClipKey:
    """The key that predictions and splits name a clip by."""
    return (clip.dataset, clip.clip_id)


def subject_key(clip: Clip) -> str:
    """``dataset/subject``: subject ids alone collide between data sets."""
    return f"{clip.dataset}/{clip.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One training and its test. Keys are sorted.

    Attributes:
        name: safe as a file name, the same on every machine, such as ``loso-demo-s03``.
        train, test: keys of the clips trained on and scored once at the end.
        validation: keys of an inner validation set of other subjects, for early stopping; may be empty.
        extra: keys of clips trained on that belong to no test set of the protocol, such as macro-expressions; may be
            empty.
    """

    name: str
    train: tuple[ClipKey, ...]
    test: tuple[ClipKey, ...]
    validation: tuple[ClipKey, ...] = ()
    extra: tuple[ClipKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """All folds of a protocol over a set of clips.

    Attributes:
        protocol: its name, as in the table above.
        label_set: the label set that the clips are classed by.
        seed: seed of the random parts (k-fold groups, inner validation subjects).
        folds: in the order of their names' subjects or numbers.
        excluded: keys of given clips that the protocol has no place for (clips not on the organisers' list).
    """

    protocol: str
    label_set: str
    seed: int
    folds: tuple[Fold, ...]
    excluded: tuple[ClipKey, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the whole content: two runs are on the same folds when it is the same."""
        content = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def fold(self, name: str) -> Fold:
        """The fold of that name. Raises InputError when there is none."""
        for fold in self.folds:
            if fold.name == name:
                return fold
        raise InputError(
            f"no fold '{name}' in this {self.protocol} split", where="fold", cure="choose one of its fold names"
        )

    def save(self, url: str) -> None:
        """Write the split as JSON with its hash, atomically."""
        storage.write_json(url, {"schema": _SCHEMA_VERSION, "sha256": self.sha256, **asdict(self)})

    @classmethod
    def load(cls, url: str) -> Split:
        """Read a split. Raises InputError when it is missing, is no split, or was changed since it was saved."""
        try:
            content = storage.read_json(url)
            folds = tuple(
                Fold(
                    name=fold["name"],
                    **{role: _keys(fold[role]) for role in ("train", "test", "validation", "extra")},
                )
                for fold in content["folds"]
            )
            split = cls(
                protocol=content["protocol"],
                label_set=content["label_set"],
                seed=content["seed"],
                folds=folds,
                excluded=_keys(content["excluded"]),
            )
            recorded = content["sha256"]
        except FileNotFoundError:
            raise InputError("the split file is not there", where=url, cure="run the folds first") from None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"is not a split file ({error!r})", where=url, cure="give a run's split.json") from error
        if split.sha256 != recorded:
            raise InputError(
                "the split was changed after it was saved: its hash differs", where=url, cure="make the split again"
            )
        return split


def make_split(
    clips: Sequence[Clip],
    protocol: str,
    *,
    label_set: str,
    seed: int = 0,
    test_subjects: Collection[str] = (),
    organisers_list: Collection[ClipKey] = (),
    validation_subjects: int = 0,
    extra: Sequence[Clip] = (),
) -> Split:
    """Divide clips into the folds of a protocol. The result does not depend on the order of ``clips``.

    Args:
        clips: all of them with a label in ``label_set``.
        protocol: a name of the table above.
        seed: for `subject-kfold-K`, `paper-5fold-subject-dependent` and inner validation.
        test_subjects: for `holdout`: ``dataset/subject`` names.
        organisers_list: for `megc2019-cde`: the keys on the organisers' list; other clips go to ``excluded``.
        validation_subjects: so many subjects of each fold's training set become its inner validation set.
        extra: further clips to train on; a fold takes those whose subject, recording and path it neither tests nor
            validates.

    Raises:
        InputError: a clip without a label, a repeated clip, an unknown protocol, an argument that the protocol has no
            use for, or too few subjects.
    """
    pool = sorted(clips, key=clip_key)
    _check_clips([*pool, *extra], label_set)
    _check_arguments(protocol, test_subjects, organisers_list)
    excluded: list[Clip] = []
    if protocol == "megc2019-cde":
        pool, excluded = _join(pool, organisers_list)
    groups = _test_groups(pool, protocol, label_set, seed, test_subjects)
    if any(not members or len(members) == len(pool) for members in groups.values()):
        raise InputError(
            f"{protocol} needs folds that have both test and training clips; {len(pool)} clips of "
            f"{len({subject_key(clip) for clip in pool})} subjects do not give them",
            where="protocol",
            cure="prepare more subjects or data sets, or choose another protocol",
        )
    folds = []
    for name, test in groups.items():
        tested = set(map(clip_key, test))
        train = [clip for clip in pool if clip_key(clip) not in tested]
        validation = _validation_part(train, validation_subjects, seed, name)
        validated = set(map(clip_key, validation))
        folds.append(
            Fold(
                name=name,
                train=_sorted_keys(clip for clip in train if clip_key(clip) not in validated),
                test=_sorted_keys(test),
                validation=_sorted_keys(validation),
                extra=_sorted_keys(_unrelated(extra, [*test, *validation])),
            )
        )
    return Split(protocol=protocol, label_set=label_set, seed=seed, folds=tuple(folds), excluded=_sorted_keys(excluded))


def _test_groups(
    pool: Sequence[Clip], protocol: str, label_set: str, seed: int, test_subjects: Collection[str]
) -> dict[str, list[Clip]]:
    """Test clips by fold name."""
    if protocol in ("loso", "megc2019-cde"):
        return _by_name(pool, lambda clip: (clip.dataset, clip.subject), prefix="loso")
    if protocol == "lodo":
        return _by_name(pool, lambda clip: (clip.dataset,), prefix="lodo")
    if protocol == "holdout":
        unknown = sorted(set(test_subjects) - {subject_key(clip) for clip in pool})
        if unknown:
            raise InputError(
                f"no clip of subject {', '.join(unknown)}", where="test_subjects", cure="name them dataset/subject"
            )
        return {"holdout": [clip for clip in pool if subject_key(clip) in test_subjects]}
    if protocol == PAPER_PROTOCOL:
        numbers = random_groups(len(pool), 5, seed=seed)
        return {
            f"paper-{k + 1}of5": [clip for clip, group in zip(pool, numbers, strict=True) if group == k]
            for k in range(5)
        }
    count = _kfold_count(protocol)
    labels = [clip.labels[label_set] for clip in pool]
    numbers = stratified_subject_groups(labels, [subject_key(clip) for clip in pool], count, seed=seed)
    width = len(str(count))
    return {
        f"kfold-{k + 1:0{width}d}of{count}": [clip for clip, group in zip(pool, numbers, strict=True) if group == k]
        for k in range(count)
    }


def _kfold_count(protocol: str) -> int:
    match = re.fullmatch(r"subject-kfold-([1-9]\d*)", protocol)
    if not match or int(match[1]) < 2:
        raise InputError(
            f"unknown protocol '{protocol}'",
            where="protocol",
            cure=f"use loso, megc2019-cde, subject-kfold-K with K of 2 or more, lodo, holdout or {PAPER_PROTOCOL}",
        )
    return int(match[1])


def _by_name(pool: Sequence[Clip], parts: Callable[[Clip], tuple[str, ...]], *, prefix: str) -> dict[str, list[Clip]]:
    """Clips grouped by ``parts``; names that would be one file on a case-blind disk get a piece of a hash."""
    groups: dict[tuple[str, ...], list[Clip]] = {}
    for clip in pool:
        groups.setdefault(parts(clip), []).append(clip)
    names = {key: "-".join([prefix, *map(safe_name, key)]) for key in groups}
    taken = Counter(name.casefold() for name in names.values())
    for key, name in names.items():
        if taken[name.casefold()] > 1:
            names[key] = f"{name}-{hashlib.sha256('/'.join(key).encode()).hexdigest()[:8]}"
    return {names[key]: groups[key] for key in sorted(groups)}


def _validation_part(train: Sequence[Clip], count: int, seed: int, fold: str) -> list[Clip]:
    """Clips of ``count`` training subjects, drawn by the fold's name and the seed, and no subject without another
    left."""
    subjects = sorted({subject_key(clip) for clip in train})
    if count and count >= len(subjects):
        raise InputError(
            f"{count} inner validation subjects leave none of fold {fold}'s {len(subjects)} to train on",
            where="validation_subjects",
            cure="use fewer",
        )
    rank = {subject: hashlib.sha256(f"{seed} {fold} {subject}".encode()).hexdigest() for subject in subjects}
    chosen = set(sorted(subjects, key=rank.__getitem__)[:count])
    return [clip for clip in train if subject_key(clip) in chosen]


def _unrelated(extra: Sequence[Clip], held_out: Sequence[Clip]) -> list[Clip]:
    """Extra clips that share no subject, recording or path with held-out ones."""
    subjects = {subject_key(clip) for clip in held_out}
    recordings = {(clip.dataset, clip.recording) for clip in held_out}
    paths = {clip.path for clip in held_out}
    return [
        clip
        for clip in extra
        if subject_key(clip) not in subjects
        and (clip.dataset, clip.recording) not in recordings
        and clip.path not in paths
    ]


def _join(pool: Sequence[Clip], organisers_list: Collection[ClipKey]) -> tuple[list[Clip], list[Clip]]:
    """Clips on the organisers' list and the others. The list defines the composite; nothing is derived from labels."""
    listed = set(organisers_list)
    missing = sorted(listed - set(map(clip_key, pool)))
    if missing:
        raise InputError(
            f"{len(missing)} clips of the organisers' list are not there: {_named(missing)}",
            where="organisers_list",
            cure="prepare the complete SMIC-HS, CASME II and SAMM sets",
        )
    kept = [clip for clip in pool if clip_key(clip) in listed]
    subjects = len({subject_key(clip) for clip in kept})
    if (len(kept), subjects) != (MEGC2019_CLIPS, MEGC2019_SUBJECTS):
        raise InputError(
            f"the list has {len(kept)} clips of {subjects} subjects, not {MEGC2019_CLIPS} of {MEGC2019_SUBJECTS}",
            where="organisers_list",
            cure="use the organisers' own list, or protocol loso for another selection",
        )
    return kept, [clip for clip in pool if clip_key(clip) not in listed]


def _check_arguments(protocol: str, test_subjects: Collection[str], organisers_list: Collection[ClipKey]) -> None:
    for owner, name, value in (
        ("holdout", "test_subjects", test_subjects),
        ("megc2019-cde", "organisers_list", organisers_list),
    ):
        if bool(value) != (protocol == owner):
            problem = f"has no use for {name}" if value else f"needs {name}"
            raise InputError(
                f"protocol {protocol} {problem}", where=name, cure=f"{name} belongs to protocol {owner}, and only there"
            )


def _check_clips(clips: Sequence[Clip], label_set: str) -> None:
    repeated = [key for key, count in Counter(map(clip_key, clips)).items() if count > 1]
    if repeated:
        raise InputError(f"clips given more than once: {_named(repeated)}", where="clips", cure="give each clip once")
    unlabelled = [clip_key(clip) for clip in clips if label_set not in clip.labels]
    if unlabelled:
        raise InputError(
            f"{len(unlabelled)} clips have no label in label set '{label_set}': {_named(unlabelled)}",
            where="clips",
            cure="leave them out, listed as exclusions, or choose another label set",
        )


def _sorted_keys(clips) -> tuple[ClipKey, ...]:
    return tuple(sorted(map(clip_key, clips)))


def _keys(pairs) -> tuple[ClipKey, ...]:
    return tuple((str(dataset), str(clip_id)) for dataset, clip_id in pairs)


def _named(keys: Sequence[ClipKey]) -> str:
    names = ", ".join("/".join(key) for key in keys[:5])
    return names + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
