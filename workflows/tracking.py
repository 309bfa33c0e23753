"""The folds' curves, drawn while they train: TensorBoard's files in the run's folder, and MLflow and W&B where asked for.

Every fold is a run of its own, grouped under the run's name. A tracker is given the fold's whole history at every checkpoint,
and keeps each epoch once: the curve of a fold that was killed goes on where its checkpoint does. A fold begun anew,
from its first epoch, is another run of MLflow and W&B.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from hsta import storage
from hsta.errors import InputError
from workflows.config import Tracking

PAUSE = 60.0  # seconds for which a place that failed is left alone: waiting for it would hold up the fold's checkpoints


def check(tracking: Tracking) -> None:
    """Raises InputError for a tracker that cannot work here: its package is missing, or nothing says where its server is."""
    for kind in tracking.to:
        package = _KINDS[kind].package
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # a folder of that name, such as W&B makes, is not the package
            raise InputError(
                f"the package '{package}' is not installed",
                where="tracking.to",
                cure=f"pip install 'hsta-workflow[{kind}]', or take '{kind}' out of the list",
            )
    if "mlflow" in tracking.to and not _mlflow_server(tracking):
        raise InputError(
            "nothing says where the MLflow server is",
            where="tracking.mlflow_uri",
            cure="set it, or MLFLOW_TRACKING_URI, to an address that every node reaches, such as http://mlflow.lab:5000",
        )


def trackers(tracking: Tracking, *, run: str, fold: str, folder: str, settings: Mapping) -> list[Tracker]:
    """The trackers of one fold. Nothing is sent yet.

    Args:
        run: name of the run, under which the folds are grouped.
        fold: name of the fold's folder.
        folder: the run's folder, absolute path or URL.
        settings: recorded with the fold, where the place has room for settings.

    Raises:
        InputError: see `check`.
    """
    check(tracking)
    return [_KINDS[kind](tracking, run, fold, folder, settings) for kind in tracking.to]


class Tracker:
    """One fold's curves in one place. A place that fails is warned about once, and stops nothing."""

    package: str

    def __init__(self, tracking: Tracking, run: str, fold: str, folder: str, settings: Mapping):
        self.tracking, self.run, self.fold, self.folder, self.settings = tracking, run, fold, folder, settings
        self._history: list[Mapping] = []
        self._warned, self._pause_until = False, 0.0
        self._connection: Any = None  # to a server, where there is one; made anew after a failure

    def record(self, history: Sequence[Mapping]) -> None:
        """Bring the curves up to date.

        Args:
            history: the fold's epochs from its first, each with "epoch" (from 1), "time" (unix seconds) and figures.
        """
        self._history = list(history)
        if time.monotonic() >= self._pause_until:
            self._try(None)

    def finish(self, scores: Mapping) -> None:
        """Say that the fold has ended, with the scores that there are, if any. Comes after a `record`."""
        self._try({f"scores/{name}": value for name, value in _figures(scores).items()})

    def _try(self, scores: Mapping[str, float] | None) -> None:
        if not self._history:
            return
        try:
            self._send(self._history, scores)
        except Exception as error:
            self._connection = None
            self._pause_until = time.monotonic() + PAUSE
            if not self._warned:
                said = (str(error).strip().splitlines() or [""])[0]
                print(
                    f"tracking: {self.fold}: {type(self).__name__} failed; training goes on. {type(error).__name__}: {said}",
                    file=sys.stderr,
                    flush=True,
                )
            self._warned = True

    def _send(self, history: Sequence[Mapping], scores: Mapping[str, float] | None) -> None:
        """Send what is not there yet; ``scores`` with the end of the fold, else None."""
        raise NotImplementedError

    @property
    def _id(self) -> str:
        """The same for every attempt that continues this fold."""
        return hashlib.sha256(f"{self.folder} {self.fold} {self._history[0]['time']}".encode()).hexdigest()[:16]


class TensorBoard(Tracker):
    """One event file a fold, ``<run>/tensorboard/<fold>/events.out.tfevents.0.fold``, which follows from the history alone.

    Object stores cannot append, so there it is written whole. On disk it is appended to where the new content begins with
    the old, because TensorBoard's fast reader does not notice that a file was replaced.
    """

    package = "tensorboardX"

    def _send(self, history: Sequence[Mapping], scores: Mapping[str, float] | None) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        def event(epoch: Mapping, figures: Mapping[str, float]) -> bytes:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
            event = Event(wall_time=epoch["time"], step=epoch["epoch"], summary=Summary(value=values))
            return event.SerializeToString()

        events = [Event(wall_time=history[0]["time"], file_version="brain.Event:2").SerializeToString()]
        events += [event(epoch, _figures(epoch)) for epoch in history]
        if scores:
            events.append(event(history[-1], scores))
        content = b"".join(map(_record, events))
        url = storage.join(self.folder, "tensorboard", self.fold, "events.out.tfevents.0.fold")
        if storage.is_local(url) and storage.exists(url):
            before = storage.read_bytes(url)
            if content.startswith(before):
                with open(storage.filesystem(url)[1], "ab") as file:
                    file.write(content[len(before) :])
                return
        storage.write_bytes(url, content)


def _record(data: bytes) -> bytes:
    """One record of an event file: length, its checksum, data, their checksum."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


class MLflow(Tracker):
    """One MLflow run a fold, found again by its tag ``hsta.id``, in the experiment of the run's name if no other is set."""

    package = "mlflow"

    def _send(self, history: Sequence[Mapping], scores: Mapping[str, float] | None) -> None:
        # MLflow's own patience is minutes; here it is asked again at a later checkpoint anyhow.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        if self._connection is None:
            client = MlflowClient(tracking_uri=_mlflow_server(self.tracking))
            self._run_id = self._open(client)
            self._sent = max((point.step for point in client.get_metric_history(self._run_id, "loss")), default=0)
            self._connection = client

        def metrics(epoch: Mapping, figures: Mapping[str, float]) -> list[Metric]:
            return [Metric(name, value, int(epoch["time"] * 1000), epoch["epoch"]) for name, value in figures.items()]

        new = [epoch for epoch in history if epoch["epoch"] > self._sent]
        for first in range(0, len(new), 100):  # at most 1000 figures a request
            some = new[first : first + 100]
            self._connection.log_batch(
                self._run_id, [metric for epoch in some for metric in metrics(epoch, _figures(epoch))]
            )
            self._sent = some[-1]["epoch"]
        if scores is not None:
            self._connection.log_batch(self._run_id, metrics(history[-1], scores))
            self._connection.set_terminated(self._run_id, end_time=int(history[-1]["time"] * 1000))

    def _open(self, client) -> str:
        """The id of this fold's run, which is made where there is none."""
        from mlflow.entities import Param

        experiment = self._experiment_id(client)
        found = client.search_runs([experiment], f"tags.`hsta.id` = '{self._id}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            tags = {"hsta.id": self._id, "hsta.run": self.run, "hsta.fold": self.fold, "hsta.folder": self.folder}
            started = int(self._history[0]["time"] * 1000)
            name = f"{self.run}/{self.fold}"
            run_id = client.create_run(experiment, start_time=started, tags=tags, run_name=name).info.run_id
        parameters = [Param(name, str(value)) for name, value in self.settings.items()]
        for first in range(0, len(parameters), 100):  # the same values again are no error
            client.log_batch(run_id, params=parameters[first : first + 100])
        return run_id

    def _experiment_id(self, client) -> str:
        from mlflow.exceptions import MlflowException

        name = self.tracking.experiment or self.run
        for attempt in (1, 2):
            experiment = client.get_experiment_by_name(name)
            if experiment:
                return experiment.experiment_id
            try:
                return client.create_experiment(name)
            except MlflowException:  # another fold has just made it
                if attempt == 2:
                    raise
        raise AssertionError("the second attempt returns or raises")


def _mlflow_server(tracking: Tracking) -> str | None:
    return tracking.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI")


class WandB(Tracker):
    """One W&B run a fold, in the group of the run's name. Its local files lie in the run's folder if that is on disk.

    W&B's server knows which epochs it has. Offline nobody does, so ``<run>/tracking/<id>.json`` tells the next attempt.
    """

    package = "wandb"

    def _send(self, history: Sequence[Mapping], scores: Mapping[str, float] | None) -> None:
        told = storage.join(self.folder, "tracking", f"{self._id}.json")
        if self._connection is None:
            self._connection = self._open()
            offline = self._connection.offline and storage.exists(told)
            self._next = storage.read_json(told)["next"] if offline else self._connection.step
        for epoch in history:
            if epoch["epoch"] >= self._next:
                self._connection.log(_figures(epoch), step=epoch["epoch"], commit=True)
                self._next = epoch["epoch"] + 1
        if self._connection.offline:
            storage.write_json(told, {"next": self._next})
        if scores is not None:
            self._connection.summary.update(scores)
            self._connection.finish()
            self._connection = None

    def _open(self):
        import wandb

        local = storage.is_local(self.folder) and "WANDB_DIR" not in os.environ
        return wandb.init(
            project=self.tracking.wandb_project,
            group=self.run,
            name=self.fold,
            id=self._id,
            dir=storage.filesystem(self.folder)[1] if local else None,
            config=dict(self.settings),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )


_KINDS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def _figures(values: Mapping) -> dict[str, float]:
    """The numbers among the values of an epoch, or among scores, by name."""
    return {
        name: float(value)
        for name, value in values.items()
        if name not in ("epoch", "time") and isinstance(value, Real) and not isinstance(value, bool)
    }
