"""Curves of the folds. If these fail, a resumed curve has gaps or double points, or an absent server stops the training.

MLflow and W&B are extras: their tests run where the packages are installed.
"""

import importlib.util
import socket
import struct
import time
from pathlib import Path

import fsspec
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from hsta import storage
from hsta.errors import InputError
from tests.workflows.conftest import load
from workflows.config import Tracking
from workflows.tracking import check, trackers


def history(epochs, *, begun=1000.0, shift=0.0):
    return [
        {"epoch": n, "loss": 1 / n + shift, "accuracy": n / 10, "lr": 0.01, "seconds": 2.0, "time": begun + 2 * n}
        for n in range(1, epochs + 1)
    ]


def tracker(folder, kind="tensorboard", fold="s01-seed0", **settings):
    """As a process that has just begun, or gone on with, the fold makes it."""
    (made,) = trackers(
        Tracking(to=(kind,), **settings), run="r", fold=fold, folder=str(folder), settings={"epochs": 9, "freeze": ()}
    )
    return made


def event_file(folder, fold="s01-seed0"):
    return storage.join(str(folder), "tensorboard", fold, "events.out.tfevents.0.fold")


def points(url):
    """(step, wall time, value) of every scalar of an event file by tag; the checksums are verified."""
    data, found = storage.read_bytes(url), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked_crc32c(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc32c(body),)
        event, data = Event.FromString(body), data[16 + length :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, event.wall_time, value.simple_value))
    return found


def test_the_event_file_holds_every_epoch_once_however_often_the_fold_was_resumed(tmp_path):
    first = tracker(tmp_path)
    first.record(history(2))
    first.record(history(4))
    second = tracker(tmp_path)  # after a kill
    second.record(history(4))
    second.record(history(6))
    second.finish({"accuracy": 0.75, "fold": "s01", "note": None})
    found = points(event_file(tmp_path))
    assert set(found) == {"loss", "accuracy", "lr", "seconds", "scores/accuracy"}
    assert [(step, time) for step, time, _ in found["loss"]] == [(n, 1000 + 2 * n) for n in range(1, 7)]
    assert [value for _, _, value in found["loss"]] == pytest.approx([1 / n for n in range(1, 7)])
    assert found["scores/accuracy"] == [(6, 1012, 0.75)]


def test_a_file_on_disk_grows_in_place(tmp_path):
    """TensorBoard's fast reader keeps files open: of one that was replaced it would never show another epoch."""
    curves = tracker(tmp_path)
    curves.record(history(2))
    before, content = Path(event_file(tmp_path)).stat().st_ino, Path(event_file(tmp_path)).read_bytes()
    Path(event_file(tmp_path)).write_bytes(content[:-5])  # as a kill within the last write leaves it
    curves.record(history(5))
    assert Path(event_file(tmp_path)).stat().st_ino == before
    assert [step for step, *_ in points(event_file(tmp_path))["loss"]] == [1, 2, 3, 4, 5]


def test_epochs_that_were_trained_again_replace_those_before(tmp_path):
    tracker(tmp_path).record(history(5))
    tracker(tmp_path).record(history(3) + history(6, shift=1.0)[3:])
    found = points(event_file(tmp_path))["loss"]
    assert [step for step, *_ in found] == [1, 2, 3, 4, 5, 6] and found[3][2] == pytest.approx(1.25)


def test_in_a_store_the_file_is_written_whole():
    folder = "memory://curves"
    try:
        tracker(folder).record(history(2))
        tracker(folder).record(history(3))
        assert [step for step, *_ in points(event_file(folder))["loss"]] == [1, 2, 3]
        assert len(fsspec.filesystem("memory").find("/curves")) == 1
    finally:
        fsspec.filesystem("memory").rm("/curves", recursive=True)


def test_a_place_that_fails_is_warned_about_once_and_stops_nothing(tmp_path, capsys):
    blocked = tmp_path / "run"
    blocked.write_text("a file where the run's folder should be")
    curves = tracker(blocked)
    curves.record(history(1))
    curves.finish({})
    said = capsys.readouterr().err
    assert said.count("tracking: s01-seed0: TensorBoard failed; training goes on") == 1
    blocked.unlink()
    curves.record(history(2))  # is left alone for a while
    assert not blocked.exists()
    curves.finish({})  # what was missed is made up for
    assert [step for step, *_ in points(event_file(blocked))["loss"]] == [1, 2]


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_a_missing_package_is_said_with_its_extra(kind, tmp_path, monkeypatch):
    if importlib.util.find_spec(kind) is not None:
        pytest.skip("it is installed")
    tracking = Tracking(to=(kind,), mlflow_uri="http://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(InputError, match=rf"(?s)'{kind}' is not installed.*hsta-workflow\[{kind}\]"):
            check(tracking)
        (tmp_path / kind).mkdir(exist_ok=True)  # W&B makes a folder of its own name, which is not the package
        monkeypatch.syspath_prepend(tmp_path)


def test_tracking_is_a_setting_that_is_no_science():
    usual = load([])
    assert usual.tracking.to == ("tensorboard",)
    other = load([], "tracking.to=[]", "tracking.experiment=x")
    assert other.tracking.to == () and other.science_hash() == usual.science_hash()
    with pytest.raises(InputError, match="tensorboard, mlflow, wandb"):
        load([], "tracking.to=[tensorbord]")


@pytest.fixture
def mlflow_client(tmp_path):
    """MLflow with a database of its own."""
    tracking = pytest.importorskip("mlflow.tracking", exc_type=ImportError)
    pytest.importorskip("sqlalchemy")
    return tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_one_run_a_fold_and_each_point_once(tmp_path, mlflow_client):
    def made(fold="s01-seed0"):
        return tracker(tmp_path, "mlflow", fold, mlflow_uri=mlflow_client.tracking_uri)

    def runs():
        experiment = mlflow_client.get_experiment_by_name("r")
        return mlflow_client.search_runs([experiment.experiment_id], order_by=["start_time", "tags.`hsta.fold`"])

    first = made()
    first.record(history(120))
    first.record(history(130))
    made("s02-seed0").record(history(2))
    second = made()  # after a kill
    second.record(history(130))
    second.record(history(250))
    second.finish({"accuracy": 0.75})
    run, other = runs()
    assert other.info.run_name == "r/s02-seed0" and run.info.run_name == "r/s01-seed0" and run.info.status == "FINISHED"
    kept = mlflow_client.get_metric_history(run.info.run_id, "accuracy")
    assert [(point.step, point.timestamp) for point in kept] == [(n, 1_000_000 + 2000 * n) for n in range(1, 251)]
    assert run.data.metrics["scores/accuracy"] == 0.75 and run.data.params == {"epochs": "9", "freeze": "()"}
    made().record(history(3, begun=5000.0))  # the run's folder was deleted, and the fold begun anew
    assert [len(mlflow_client.get_metric_history(run.info.run_id, "loss")) for run in runs()] == [250, 2, 3]


@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_server_that_is_away_stops_nothing(tmp_path, capsys, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        curves = tracker(tmp_path, "mlflow", mlflow_uri=f"http://127.0.0.1:{taken.getsockname()[1]}")
        curves.record(history(1))
        curves.finish({})
    assert capsys.readouterr().err.count("MLflow failed; training goes on") == 1


def test_mlflow_needs_the_address_of_its_server(monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="tracking.mlflow_uri: nothing says where the MLflow server is"):
        check(Tracking(to=("mlflow",)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    check(Tracking(to=("mlflow",)))


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_keeps_a_fold_under_one_id_in_the_runs_group(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = tracker(tmp_path, "wandb")
    first.record(history(2))
    first.record(history(4))
    first.finish({"accuracy": 0.75})
    second = tracker(tmp_path, "wandb")  # in another process of the fold
    second.record(history(6))
    second.finish({})
    (run, steps), (other, again) = map(_wandb_file, sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")))
    assert steps == [1, 2, 3, 4] and again == [5, 6]
    assert run.run_id == other.run_id and (run.run_group, run.display_name, run.project) == ("r", "s01-seed0", "hsta")


def _wandb_file(path):
    """The run and the steps of its history in a file of W&B, a log in LevelDB's format of less than one block."""
    from wandb.proto.wandb_internal_pb2 import Record

    ended, deadline = False, time.monotonic() + 30
    while not ended:  # W&B's service writes the last records after finish() has returned
        assert time.monotonic() < deadline, "W&B has not written the end of the run"
        data, run, steps = path.read_bytes()[7:], None, []
        assert len(data) < 32000
        while data:
            (length,) = struct.unpack("<H", data[4:6].ljust(2, b"\0"))
            if len(data) < 7 + length:
                break
            record, data = Record.FromString(data[7 : 7 + length]), data[7 + length :]
            run = record.run if record.HasField("run") and run is None else run
            steps += [record.history.step.num] if record.HasField("history") else []
            ended = record.HasField("exit")
        time.sleep(0.1)
    return run, steps
