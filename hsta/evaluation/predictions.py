"""The prediction log: what every held-out clip was taken for, keyed by clip, from which every number can be recomputed.

A Parquet file with the columns ``clip_id, dataset, subject, fold, seed, truth, prediction`` and one probability
``p_<class>`` for each class. The schema's metadata hold the version, the label set and its classes in order.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hsta import storage
from hsta.errors import InputError
from hsta.records import Prediction

SCHEMA_VERSION = "1"
KEY_COLUMNS = ("clip_id", "dataset", "subject", "fold", "seed", "truth", "prediction")
SUM_TOLERANCE = 1e-3  # probabilities are float32 softmax outputs, stored as float64
_CURE = "the log is written by the workflows; write it again rather than edit it"


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Names of the probability columns, in the order of the classes."""
    return [f"p_{name}" for name in classes]


def to_frame(predictions: Iterable[Prediction], classes: Sequence[str], *, label_set: str = "") -> pd.DataFrame:
    """Predictions as a checked table, sorted by seed, dataset, subject and clip, so that equal runs give equal files.

    The classes and the label set's name travel in ``frame.attrs``.

    Raises:
        InputError: see `check_predictions`; also a number of probabilities that is not that of the classes.
    """
    rows = list(predictions)
    for number, row in enumerate(rows):
        if len(row.probabilities) != len(classes):
            raise InputError(
                f"{len(row.probabilities)} probabilities for {len(classes)} classes",
                where=f"prediction log, row {number} (clip {row.dataset}/{row.clip_id}, seed {row.seed})",
                cure="predict with a model of the same label set",
            )
    frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in KEY_COLUMNS}, dtype=object)
    frame["seed"] = frame["seed"].astype(np.int64)
    probabilities = np.array([row.probabilities for row in rows], np.float64).reshape(len(rows), len(classes))
    frame = frame.join(pd.DataFrame(probabilities, columns=probability_columns(classes)))
    check_predictions(frame, classes)
    frame = frame.sort_values(["seed", "dataset", "subject", "clip_id"], ignore_index=True)
    frame.attrs = {"classes": tuple(classes), "label_set": label_set}
    return frame


def check_predictions(frame: pd.DataFrame, classes: Sequence[str], *, where: str = "prediction log") -> None:
    """Raise InputError, naming the first bad row, unless the log can be scored.

    Checked: a clip predicted twice under one seed, a truth or prediction outside the label set, probabilities that are
    not finite, negative or do not sum to 1, and a prediction that is not the most probable class (a wrong class
    order). A table without probability columns (a log of other software) is checked for the rest.
    """
    missing = [name for name in KEY_COLUMNS if name not in frame]
    if missing:
        raise InputError(f"missing column {', '.join(missing)}", where=where, cure=_CURE)

    def refuse(bad: np.ndarray, problem: str) -> None:
        if bad.any():
            number = int(np.flatnonzero(bad)[0])
            row = frame.iloc[number]
            found = problem.format(truth=row["truth"], prediction=row["prediction"])
            clip = f"clip {row['dataset']}/{row['clip_id']}, fold {row['fold']}, seed {row['seed']}"
            raise InputError(found, where=f"{where}, row {number} ({clip})", cure=_CURE)

    listed = ", ".join(classes)
    refuse(~frame["truth"].isin(classes).to_numpy(), f"unknown class '{{truth}}' as truth; the label set has {listed}")
    refuse(
        ~frame["prediction"].isin(classes).to_numpy(),
        f"unknown class '{{prediction}}' predicted; the label set has {listed}",
    )
    refuse(
        frame.duplicated(["dataset", "clip_id", "seed"]).to_numpy(), "this clip was already predicted under this seed"
    )
    present = [name for name in frame if name.startswith("p_")]
    if not present:
        return
    columns = probability_columns(classes)
    if present != columns:
        raise InputError(
            f"probability columns {', '.join(present)} do not match the classes {listed} in this order",
            where=where,
            cure=_CURE,
        )
    values = frame[columns].to_numpy(np.float64)
    refuse(~np.isfinite(values).all(1), "a probability is not a finite number")
    refuse((values < 0).any(1), "a probability is negative")
    refuse(np.abs(values.sum(1) - 1) > SUM_TOLERANCE, "the probabilities do not sum to 1")
    index = {name: code for code, name in enumerate(classes)}
    chosen = values[np.arange(len(frame)), [index[name] for name in frame["prediction"]]]
    refuse(
        chosen < values.max(1, initial=0) - SUM_TOLERANCE,
        "'{prediction}' is predicted but is not the most probable class",
    )


def write_predictions(
    url: str, predictions: Iterable[Prediction], classes: Sequence[str], *, label_set: str = ""
) -> None:
    """Write a prediction log, atomically. The file's bytes do not depend on the order of ``predictions``.

    Raises:
        InputError: see `to_frame`; also no write access.
    """
    frame = to_frame(predictions, classes, label_set=label_set)
    schema = pa.schema(
        [pa.field(name, pa.int64() if name == "seed" else pa.string(), nullable=False) for name in KEY_COLUMNS]
        + [pa.field(name, pa.float64(), nullable=False) for name in probability_columns(classes)],
        metadata={
            "hsta.predictions": SCHEMA_VERSION,
            "hsta.label_set": label_set,
            "hsta.classes": json.dumps(list(classes), ensure_ascii=False),
        },
    )
    columns = [pa.array(frame[field.name].to_list(), field.type) for field in schema]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    try:
        storage.write_bytes(url, sink.getvalue())
    except OSError as error:
        raise InputError(f"cannot write the prediction log: {error}", where=url, cure="grant write access") from error


def read_predictions(url: str) -> pd.DataFrame:
    """Read and check a prediction log. ``frame.attrs`` holds ``classes`` (a tuple, in order) and ``label_set``.

    Raises:
        InputError: no such file, not a prediction log, or see `check_predictions`.
    """
    try:
        table = pq.read_table(io.BytesIO(storage.read_bytes(url)))
    except FileNotFoundError:
        raise InputError("the prediction log is not there", where=url, cure="run the folds first") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"is not a Parquet file: {error}", where=url, cure="run the folds again") from error
    metadata = table.schema.metadata or {}
    if metadata.get(b"hsta.predictions") != SCHEMA_VERSION.encode():
        raise InputError("is not a prediction log of this version", where=url, cure="give a run's predictions.parquet")
    classes = tuple(json.loads(metadata[b"hsta.classes"]))
    frame = table.replace_schema_metadata(None).to_pandas()
    check_predictions(frame, classes, where=url)
    frame.attrs = {"classes": classes, "label_set": metadata[b"hsta.label_set"].decode()}
    return frame


def from_frame(frame: pd.DataFrame) -> list[Prediction]:
    """The records of a checked log, as `read_predictions` gives it; the inverse of `to_frame`."""
    columns = probability_columns(frame.attrs["classes"])
    probabilities = frame[columns].to_numpy(np.float64).tolist()
    rows = frame[list(KEY_COLUMNS)].to_dict("records")
    return [Prediction(**row, probabilities=tuple(values)) for row, values in zip(rows, probabilities, strict=True)]
