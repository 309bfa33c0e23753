"""How far a run is, from its files. If these fail, a run that died over the weekend looks as if it were running."""

import json
import resource
import subprocess
import sys

import fsspec
import pytest

from hsta import storage
from hsta.errors import InputError
from tests.workflows.conftest import ROOT
from workflows import status

NOW = 1_000_000.0


def write_run(folder, folds, **facts):
    """A run's files. ``folds``: by name None (not begun), "done", or what its progress says beyond the usual."""
    run = {"name": "r", "folds": list(folds), "epochs": 10, "slots": 2, "submitted": NOW - 500} | facts
    storage.write_json(f"{folder}/run.json", run)
    for name, said in folds.items():
        if said == "done":
            storage.write_json(
                f"{folder}/folds/{name}/done.json", {"epochs": 10, "train_seconds": 40.0, "seconds": 45.0}
            )
        if said is not None:
            progress = {
                "fold": name,
                "seed": 0,
                "state": "running",
                "epoch": 4,
                "epochs": 10,
                "updated": NOW,
                "attempt": 1,
            }
            progress |= {
                "figures": {"loss": 0.25, "accuracy": 0.5},
                "seconds_per_epoch": 2.0,
                "host": "n1",
                "cause": None,
            }
            storage.write_json(f"{folder}/folds/{name}/progress.json", progress | (said if said != "done" else {}))
    return str(folder)


FOLDS = {
    "a": "done",
    "b": {},
    "c": {"updated": NOW - 100},
    "d": {"state": "failed", "updated": NOW - 300, "cause": "FloatingPointError:\nthe loss of epoch 5 is nan"},
    "e": {"state": "failed", "updated": NOW - 600, "cause": "of an earlier submission"},
    "f": None,
}


def states(found):
    return {fold["fold"]: fold["state"] for fold in found["folds"]}


def test_every_fold_is_in_its_state(tmp_path):
    found = status.read_status(write_run(tmp_path, FOLDS), now=NOW)
    assert states(found) == {
        "a": "done",
        "b": "running",
        "c": "interrupted",
        "d": "failed",
        "e": "waiting",
        "f": "waiting",
    }
    assert found["counts"] == {"done": 1, "running": 1, "interrupted": 1, "failed": 1, "waiting": 2}
    assert found["folds"][1]["figures"]["loss"] == 0.25


def test_a_long_epoch_is_no_interruption(tmp_path):
    folder = write_run(tmp_path, {"a": {"updated": NOW - 100, "seconds_per_epoch": 60.0}})
    assert states(status.read_status(folder, now=NOW)) == {"a": "running"}
    assert states(status.read_status(folder, now=NOW + 100)) == {"a": "interrupted"}


def test_the_time_left_is_work_over_slots_and_never_less_than_the_longest_fold(tmp_path):
    # b: 6 epochs of 2 s, heard of 3 s ago; f: 10 epochs of the mean of 2 s and the finished fold's 4 s
    folder = write_run(tmp_path / "x", {"a": "done", "b": {"updated": NOW - 3}, "f": None})
    assert status.read_status(folder, now=NOW)["eta_seconds"] == pytest.approx(max((9 + 30) / 2, 30))
    folder = write_run(tmp_path / "y", {"a": "done", "b": {}, "f": None, "g": None, "h": None}, slots=1)
    assert status.read_status(folder, now=NOW)["eta_seconds"] == pytest.approx(12 + 3 * 30)


def test_where_nothing_runs_no_time_is_promised(tmp_path):
    found = status.read_status(write_run(tmp_path, {"a": "done", "c": {"updated": NOW - 100}}), now=NOW)
    assert found["eta_seconds"] is None and "the run's own command goes on" in status.text(found)


def test_people_read_figures_and_causes(tmp_path):
    said = status.text(status.read_status(write_run(tmp_path, FOLDS), now=NOW))
    assert "r: 1 of 6 folds done, 1 running, 1 interrupted, 1 failed, 2 waiting; ETA 0:" in said
    assert "running      b  epoch 4/10, loss 0.250, accuracy 0.500, 2 s an epoch, on n1" in said
    assert "interrupted  c  " in said and "not heard of for 1:40" in said
    assert "failed       d  epoch 4/10, FloatingPointError: the loss of epoch 5 is nan" in said


def test_a_fold_that_failed_before_it_could_say_anything_is_told(tmp_path):
    folder = write_run(tmp_path, {"a": None})
    bare = {"fold": "a", "seed": 0, "epochs": 10, "state": "failed", "cause": "killed", "updated": NOW}
    storage.write_json(f"{folder}/folds/a/progress.json", bare)
    assert "failed       a  epoch 0/10, killed" in status.text(status.read_status(folder, now=NOW))


@pytest.mark.parametrize(
    ("folds", "code"),
    [
        ({"a": "done", "b": "done"}, 0),
        ({"a": "done", "b": {"state": "failed", "updated": NOW, "cause": "x"}, "c": None}, 1),
        ({"a": "done", "b": None}, 3),
    ],
)
def test_the_exit_status_says_it_too(tmp_path, capsys, folds, code):
    folder = write_run(tmp_path, folds)
    assert status.main(["--run", folder, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["counts"]["done"] == sum(said == "done" for said in folds.values())


def test_no_run_is_bad_input(tmp_path, capsys):
    with pytest.raises(InputError, match="no run.json"):
        status.read_status(str(tmp_path))
    assert status.main(["--run", str(tmp_path / "nowhere")]) == 2
    assert "cure" in capsys.readouterr().err


def test_watching_ends_when_no_fold_is_left(tmp_path):
    folder = write_run(tmp_path, {"a": None, "b": "done"})
    command = [sys.executable, "-m", "workflows.status", "--run", folder, "--watch", "0.2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert "1 of 2 folds done" in process.stdout.readline()
        storage.write_json(f"{folder}/folds/a/done.json", {"epochs": 10, "train_seconds": 40.0})
        assert process.wait(timeout=20) == 0
        assert "2 of 2 folds done" in process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_is_fast_and_needs_neither_ray_nor_torch(tmp_path):
    folder = write_run(tmp_path, {f"s{number:03}": {} if number % 2 else "done" for number in range(200)})
    code = (
        "import sys; from workflows import status; code = status.main(sys.argv[1:]); "
        "assert not {'ray', 'torch', 'pandas', 'numpy'} & set(sys.modules), sorted(sys.modules); sys.exit(code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, "--run", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 3, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0  # of processor, start-up included


def test_a_store_is_asked_little(monkeypatch):
    """Half of 200 folds are done: one run.json, one listing, and a file for each fold that runs and a few of the others."""
    folder = "memory://status-asks-little"
    fs = fsspec.filesystem("memory")
    write_run(folder, {f"s{number:03}": {} if number % 2 else "done" for number in range(200)})
    asked = []
    for name in ("find", "cat_file"):
        method = getattr(type(fs), name)
        monkeypatch.setattr(
            type(fs),
            name,
            lambda self, path, *a, _of=method, _as=name, **k: asked.append(_as) or _of(self, path, *a, **k),
        )
    try:
        assert status.read_status(folder, now=NOW)["counts"] == dict.fromkeys(status.STATES, 0) | {
            "done": 100,
            "running": 100,
        }
        assert asked.count("find") == 1 and asked.count("cat_file") == 1 + 100 + 16
    finally:
        fs.rm("/status-asks-little", recursive=True)
