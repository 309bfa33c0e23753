"""Inspecting a copy. If these fail, a damaged or different copy passes for the release, or its faults are not named."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from hsta.datasets.labels import label_classes
from hsta.datasets.manifest import read_manifest
from tests.datasets.builders import write_frames, write_xlsx
from tests.workflows.conftest import ROOT
from workflows import inspect

HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
ROWS = [
    ["spNO.1", "a", "5", "7", "9", "4+7", "IV", "disgust"],
    ["spNO.1", "a", "8", "11", "14", "12", "I", "happy"],
    ["spNO.2", "b", "1", "3", "6", "4", "VII", "surprise"],
    ["spNO.3", "c", "1", "3", "6", "4", "VII", "others"],
    ["spNO.4", "c", "9", "3", "6", "4", "VII", "others"],
    ["spNO.5", "c", "1", "3", "6", "4", "VII", "fear"],
]


@pytest.fixture
def copy(tmp_path):
    top = tmp_path / "copy/part_A"
    write_frames(top / "spNO.1/a/color", {n: f"{n}.jpg" for n in range(5, 15)})
    write_frames(top / "spNO.2/b/color", {n: f"{n}.jpg" for n in (1, 2, 3, 5, 6)})
    write_frames(top / "spNO.3/c/color", {n: f"{n}.jpg" for n in range(100, 107)})
    for path in (top / "spNO.3/c/color").iterdir():
        path.rename(path.with_name(f"{int(path.stem) - 99}.jpg"))
    (top / "spNO.3/c/color/1.jpg").write_bytes((top / "spNO.2/b/color/1.jpg").read_bytes())
    write_frames(top / "spNO.5/c/color", {n: f"{n}.jpg" for n in range(1, 7)})
    (top / "spNO.5/c/color/1.jpg").write_bytes(b"\xff\xd8 cut")
    write_frames(top / "spNO.99/z/color", {1: "1.jpg"})
    return tmp_path, write_xlsx(tmp_path / "label.xlsx", {"label": [HEADER, *ROWS]})


def run(*arguments):
    return inspect.main([str(argument) for argument in arguments])


def test_everything_about_a_copy_is_said_and_written(copy, capsys):
    folder, table = copy
    output = folder / "out"
    arguments = ("--dataset", "casme3-a", "--annotations", table, "--root", folder / "copy", "--output", output)
    assert run(*arguments, "--label-set", "casme3-emotion4") == 0
    said = capsys.readouterr().out
    found = json.loads((output / "inspection.json").read_text())
    assert (found["clips"], found["subjects"], found["recordings"]) == (5, 4, 4)
    assert found["label_sets"]["casme3-emotion4"]["others"] == {"annotated": 2, "usable": 1}
    assert found["exclusions_by_reason"] == {"wrong-frame-order": 1} and "row 6" in found["exclusions"][0]["detail"]
    assert found["remarks_by_code"]["frame-gap"] == 1
    assert [one["clips"] for one in found["overlaps"]] == [["spNO.1_a_5", "spNO.1_a_8"]]
    assert found["sample"]["sizes"] == {"8 x 8, 1 channel, 8 bits": 4}
    assert [one["clip_id"] for one in found["sample"]["problems"]] == ["spNO.5_c_1"]
    assert found["sample"]["duplicates"] == [["casme3-a/spNO.2_b_1", "casme3-a/spNO.3_c_1"]]
    assert found["folders_without_row"] == [str(folder / "copy/part_A/spNO.99/z/color")]
    usable = {one["name"]: one["usable"] for one in found["protocols"]}
    assert usable == {
        "loso": True,
        "subject-kfold-5": False,
        "lodo": False,
        "paper-5fold-subject-dependent": True,
        "megc2019-cde": False,
    }
    for part in (
        "casme3-a: 5 clips, 4 subjects, 4 recordings",
        "casme3-emotion4: negative 2, positive 1, surprise 1, others 1 (+1 not usable)",
        "DIFFERS from",
        "annotated rows: 6 instead of 860 (-854)",
        "wrong-frame-order",
        "frame-gap",
        "spNO.1_a_5 and spNO.1_a_8: frames 8 to 9",
        "loso: can run: 4 folds over 5 clips",
        "subject-kfold-5: cannot run: 4 subjects cannot fill 5 folds",
    ):
        assert part in said, said


def test_the_manifest_is_ready_for_preparation(copy):
    folder, table = copy
    arguments = ("--dataset", "casme3-a", "--annotations", table, "--root", folder / "copy", "--output", folder / "out")
    assert run(*arguments, "--label-set", "casme3-objective7", "--sample", "0") == 0
    classes = label_classes("casme3-objective7")
    clips = read_manifest(str(folder / "out/manifest.csv"), dataset="x", label_set="casme3-objective7", classes=classes)
    assert [clip.clip_id for clip in clips][:2] == ["spNO.1_a_5", "spNO.1_a_8"]
    assert clips[0].recording == clips[1].recording == "spNO.1/a" and clips[0].dataset == "casme3-a"
    assert clips[0].path == str(folder / "copy/part_A/spNO.1/a/color") and clips[0].labels == {
        "casme3-objective7": "IV"
    }


def test_the_page_holds_everything_and_asks_for_nothing(copy):
    folder, table = copy
    evil = [*ROWS[0][:5], "<script>", "IV", "disgust"]
    table = write_xlsx(folder / "b.xlsx", {"label": [HEADER, ["<img src=x>", *evil[1:]], *ROWS]})
    arguments = ("--dataset", "casme3", "--annotations", table, "--root", folder / "copy", "--output", folder / "out")
    assert run(*arguments) == 0
    page = (folder / "out/inspection.html").read_text()
    assert "&lt;img src=x&gt;" in page and "<img" not in page and "<script" not in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    for part in (
        "This copy differs from",
        "spNO.4",
        "Clips with frames in common",
        "The same file under several names",
        "loso",
    ):
        assert part in page


def test_annotations_alone_and_corrections_by_name(copy, capsys):
    folder, _ = copy
    rows = [["spNO.214", "c", "5", "5", "3460", "4", "VII", "fear"], *ROWS]
    table = write_xlsx(folder / "b.xlsx", {"label": [HEADER, *rows]})
    arguments = ("--dataset", "casme3-a", "--annotations", table, "--output", folder / "out")
    assert run(*arguments, "--option", "corrections=casme3-a-meb-1", "--option", "apex=midpoint") == 0
    assert "spNO.214_c_5: offset 3460 -> 34 (meb" in capsys.readouterr().out
    found = json.loads((folder / "out/inspection.json").read_text())
    assert found["corrections"][0]["source"].startswith("meb") and found["sample"]["clips"] == 0
    assert found["facts"]["apex"] == "midpoint" and not (folder / "out/manifest.csv").exists()


def test_nearly_the_same_picture_of_two_subjects_is_named(tmp_path):
    import cv2
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 6)
    rows = []
    for k, quality in enumerate((95, 60)):
        folder = tmp_path / f"copy/spNO.{k}/a/color"
        folder.mkdir(parents=True)
        for n in range(1, 5):
            cv2.imwrite(str(folder / f"{n}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        rows.append([f"spNO.{k}", "a", "1", "2", "4", "4", "IV", "disgust"])
    table = write_xlsx(tmp_path / "a.xlsx", {"label": [HEADER, *rows]})
    assert (
        run("--dataset", "casme3-a", "--annotations", table, "--root", tmp_path / "copy", "--output", tmp_path / "out")
        == 0
    )
    sample = json.loads((tmp_path / "out/inspection.json").read_text())["sample"]
    assert [one["clips"] for one in sample["near_duplicates"]] == [["casme3-a/spNO.0_a_1", "casme3-a/spNO.1_a_1"]]
    assert sample["duplicates"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "casme9"], "unknown data set 'casme9'"),
        (["--dataset", "casme3-a"], "casme3-a needs its annotation file"),
        (["--dataset", "casme3-a", "--annotations", "TABLE", "--option", "layout"], "'layout' is not an assignment"),
        (
            ["--dataset", "casme3-a", "--annotations", "TABLE", "--option", "frames=raw"],
            "casme3-a has no option frames",
        ),
        (["--dataset", "casme3-a", "--annotations", "TABLE", "--label-set", "megc3"], "no clip has a label in 'megc3'"),
        (["--dataset", "casme3-a", "--annotations", "TABLE", "--root", "/nowhere/at/all"], "is not there"),
    ],
)
def test_bad_input_is_said_with_its_cure(copy, capsys, arguments, said):
    arguments = [copy[1] if argument == "TABLE" else argument for argument in arguments]
    assert run(*arguments, "--output", copy[0] / "out") == 2
    error = capsys.readouterr().err
    assert said in error and "cure:" in error and "Traceback" not in error


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, "-m", "workflows.inspect", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (
        "examples:" in done.stdout
        and "exit status" in done.stdout
        and "casme2: frames, objective, apex, corrections" in done.stdout
    )
