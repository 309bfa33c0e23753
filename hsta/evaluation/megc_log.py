"""The MEGC submission log, in and out, so that results of other software are scored by the same definitions.

A text file: for every subject a line ``dataset subject``, then a line ``clip truth prediction`` for each of its clips.
Fields are parted by blanks; a blank line may stand between subjects. Classes are names, or the numbers of a label set
(0, 1, ...). A clip's name need only be unique within its subject, as CASME II's are; where one name stands under two
subjects of a data set, all clips of that set are named ``subject/clip``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hsta import storage
from hsta.datasets.shards import safe_name
from hsta.errors import InputError
from hsta.evaluation.predictions import check_predictions
from hsta.evaluation.splits import Fold, Split


def write_megc_log(url: str, frame: pd.DataFrame, classes: Sequence[str], *, numbers: bool = False) -> None:
    """Write a log of one seed's predictions.

    Args:
        frame: a prediction log of one seed.
        numbers: write a class as its number in ``classes``, as the organisers do, instead of its name.

    Raises:
        InputError: several seeds, or a name with a blank in it, which the form cannot hold.
    """
    if frame["seed"].nunique() > 1:
        raise InputError("a submission log holds one seed", where=url, cure="select the predictions of one seed")
    shown = {name: str(code) if numbers else name for code, name in enumerate(classes)}
    lines = []
    for (dataset, subject), part in frame.groupby(["dataset", "subject"], sort=True):
        rows = [[dataset, subject]]
        part = part.sort_values("clip_id")
        for clip_id, truth, prediction in zip(part["clip_id"], part["truth"], part["prediction"], strict=True):
            rows.append([clip_id, shown[truth], shown[prediction]])
        for row in rows:
            for field in row:
                if not field or len(field.split()) != 1 or field.split()[0] != field:
                    raise InputError(
                        f"'{field}' cannot stand in a submission log", where=url, cure="use names without blanks"
                    )
            lines.append(" ".join(row))
    storage.write_bytes(url, ("\n".join(lines) + "\n").encode())


def read_megc_log(url: str, classes: Sequence[str]) -> pd.DataFrame:
    """Read a log as a prediction table without probabilities; each subject is a fold, the seed is 0.

    Args:
        classes: of the label set; a log's numbers mean positions in it.

    Raises:
        InputError: naming the line: a wrong number of fields, a clip before any subject, a class outside the label
            set, a clip given twice.
    """
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("the submission log is not there", where=url, cure="check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error}", where=url, cure="save the log as UTF-8") from None
    meaning = {str(code): name for code, name in enumerate(classes)} | {name: name for name in classes}
    rows, lines, subject = [], {}, None
    for number, line in enumerate(text.splitlines(), start=1):
        where, fields = f"{url}, line {number}", line.split()
        if len(fields) == 2:
            subject = (fields[0], fields[1])
        elif len(fields) == 3:
            if subject is None:
                raise InputError("a clip before any subject", where=where, cure="start with a line 'dataset subject'")
            for field in fields[1:]:
                if field not in meaning:
                    raise InputError(
                        f"unknown class '{field}'; the label set has {', '.join(classes)}",
                        where=where,
                        cure="check the label set",
                    )
            key = (*subject, fields[0])
            if key in lines:
                raise InputError(
                    f"clip {'/'.join(key)} is already in line {lines[key]}", where=where, cure="give each clip once"
                )
            lines[key] = number
            rows.append((fields[0], *subject, _fold_name(*subject), 0, meaning[fields[1]], meaning[fields[2]]))
        elif fields:
            raise InputError(
                f"{len(fields)} fields", where=where, cure="a line is 'dataset subject' or 'clip truth prediction'"
            )
    if not rows:
        raise InputError("the log has no clip", where=url, cure="give a line 'clip truth prediction' for each clip")
    frame = pd.DataFrame(rows, columns=["clip_id", "dataset", "subject", "fold", "seed", "truth", "prediction"])
    shared = set(frame.loc[frame.duplicated(["dataset", "clip_id"]), "dataset"])
    within = frame["dataset"].isin(shared)
    frame.loc[within, "clip_id"] = frame["subject"] + "/" + frame["clip_id"]
    check_predictions(frame, classes, where=url)
    return frame


def split_of_log(frame: pd.DataFrame, *, label_set: str) -> Split:
    """The leave-one-subject-out split that a log claims, so that `evaluate` can score it. Its training cannot be
    audited."""
    keys = {
        fold: set(zip(part["dataset"], part["clip_id"], strict=True)) for fold, part in frame.groupby("fold", sort=True)
    }
    every = set().union(*keys.values())
    folds = tuple(
        Fold(name=name, train=tuple(sorted(every - tested)), test=tuple(sorted(tested)))
        for name, tested in keys.items()
    )
    return Split(protocol="loso", label_set=label_set, seed=0, folds=folds)


def _fold_name(dataset: str, subject: str) -> str:
    return f"loso-{safe_name(dataset)}-{safe_name(subject)}"
