"""Bad input through the real commands. If these fail, a user sees a traceback, or worse, a result."""

import csv
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workflows import command
from tests.workflows.conftest import ROOT

DEMO = str(ROOT / "configs/demo.yaml")
COMMANDS = ("prepare", "doctor", "loso", "train", "evaluate", "report", "demo")


def run(name, *assignments, config=DEMO):
    module = importlib.import_module(f"workflows.{name}")
    arguments = ["--config", config]
    for assignment in assignments:
        arguments += ["--set", assignment]
    return command.main(name, module.__doc__, module.run, arguments)


@pytest.fixture
def clips(demo_set, tmp_path):
    """A copy of the demo's clips to damage, and the settings that point at it."""
    folder, assignments = demo_set
    shutil.copytree(folder / "clips", tmp_path / "clips")
    return tmp_path, [*assignments, f"data.manifest={tmp_path}/clips/clips.csv", f"data.prepared={tmp_path}/prepared"]


def edit(folder: Path, change):
    path = folder / "clips/clips.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    fields = list(rows[0])
    rows, fields = change(rows, fields)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def change_cell(row, **cells):
    def change(rows, fields):
        rows[row].update(cells)
        return rows, fields

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda rows, fields: (rows, [name for name in fields if name != "offset"]),
            ["row 1", "missing column offset"],
        ),
        (lambda rows, fields: ([*rows, rows[0]], fields), ["row 11", "is already in row 2"]),
        (change_cell(2, apex="99999"), ["row 4", "apex 99999", "outside onset..offset"]),
        (change_cell(4, label="grin"), ["row 6", "unknown label 'grin'", "smile, brow-raise, frown"]),
    ],
    ids=["missing-column", "duplicate-id", "apex-outside", "unknown-label"],
)
def test_a_wrong_manifest_names_the_row_and_the_cure(clips, capsys, change, said):
    folder, assignments = clips
    path = edit(folder, change)
    assert run("prepare", *assignments) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in [str(path), "cure:", *said]), error
    assert not (folder / "prepared").exists()


def test_a_missing_folder_and_an_unreadable_image_are_rejected_with_row_and_cure(clips, capsys):
    folder, assignments = clips
    with (folder / "clips/clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shutil.rmtree(folder / "clips" / rows[0]["path"])
    broken = sorted((folder / "clips" / rows[5]["path"]).iterdir())[int(rows[5]["onset"])]
    broken.write_bytes(broken.read_bytes()[:300])
    assert run("prepare", *assignments) == 1
    error = capsys.readouterr().err
    for part in (
        "row 2",
        rows[0]["clip_id"],
        "missing-folder",
        "row 7",
        rows[5]["clip_id"],
        "unreadable-frame",
        broken.name,
        "cure:",
    ):
        assert part in error, error
    assert "2 of 9 clips were rejected" in error
    assert run("prepare", *assignments, "prepare.max_rejected=0.5") == 0  # the others are prepared, and kept


def test_an_unknown_key_names_the_nearest(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(Path(DEMO).read_text().replace("epochs:", "epoch:"))
    assert run("loso", config=str(tmp_path / "x.yaml")) == 2
    error = capsys.readouterr().err
    assert (
        "unknown key 'train.epoch'" in error and "did you mean 'epochs'" in error and str(tmp_path / "x.yaml") in error
    )


@pytest.mark.parametrize("name", ["prepare", "loso"])
def test_an_output_that_cannot_be_written_is_said_before_any_work(clips, capsys, name, demo_set):
    folder, assignments = clips
    (folder / "file").write_text("")  # a file where a folder must be: not even root can write below it
    if name == "loso":
        assignments = demo_set[1]
    assert (
        run(
            name,
            *assignments,
            f"data.prepared={folder}/file/x" if name == "prepare" else f"run.storage={folder}/file/x",
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "no write access" in error and f"{folder}/file/x" in error and "cure:" in error


def test_folds_need_a_prepared_set(tmp_path, capsys):
    assert run("loso", f"data.prepared={tmp_path}") == 2
    assert "card.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name):
    done = subprocess.run(
        [sys.executable, "-m", f"workflows.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (
        "examples:" in done.stdout and f"python -m workflows.{name} --config" in done.stdout and "--set" in done.stdout
    )


def test_the_exit_status_reaches_the_shell(tmp_path):
    arguments = [sys.executable, "-m", "workflows.evaluate", "--config", str(tmp_path / "no.yaml")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no.yaml" in done.stderr and "Traceback" not in done.stderr
