"""CASME II. If these fail, users read other frames than the annotation means, or count clips the release has not."""

from __future__ import annotations

from collections import Counter

import pytest

from hsta.datasets import read
from hsta.errors import InputError
from tests.datasets.builders import by_id, codes, reasons, shown, write_csv, write_frames, write_xlsx

HEADER = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
]
ROWS = [
    ["01", "EP02_01f", None, 9, 11, 12, None, "4+L10", "happiness"],
    ["01", "EP01_02_01", None, 3, 4, 6, None, 4, "others"],
    ["01", "EP03_09", None, 1, 2, 4, None, "?", "fear"],
    ["04", "EP12_01f", None, 261, "/", 264, None, "4", "disgust"],
    ["05", "EP09_05f", None, 69, 69, 72, None, "R12", "disgust"],
    ["05", "EP16_04f", None, 20, 23, 23, None, 12, "repression"],
    ["24", "EP07_01", None, 5, 6, 8, None, "1+2", "sadness"],
]
WITHOUT_LAST = "sub24/EP07_01"


@pytest.fixture
def copy(tmp_path):
    for subject, name, _, onset, _, offset, *_ in ROWS:
        last = offset if f"sub{subject}/{name}" != WITHOUT_LAST else offset - 1
        for top, prefix in (("CASME2_RAW_selected", "img"), ("Cropped", "reg_img")):
            folder = tmp_path / top / f"sub{subject}" / name
            write_frames(folder, {n: f"{prefix}{n}.jpg" for n in range(onset, last + 1)})
    return tmp_path, write_xlsx(
        tmp_path / "CASME2-coding-20140508.xlsx", {"Sheet1": [HEADER, *ROWS], "Sheet2": [], "Sheet3": []}
    )


def test_each_row_is_a_clip_or_an_exclusion_with_its_reason(copy):
    root, table = copy
    reading = read("casme2", annotations=table, root=root)
    assert reasons(reading) == {WITHOUT_LAST: "missing-frame"}
    assert "8 not in" in reading.exclusions[0].detail and "row 8" in reading.exclusions[0].detail
    assert codes(reading) == {
        ("sub04/EP12_01f", "no-apex"),
        ("sub05/EP09_05f", "apex-is-onset"),
        ("sub05/EP16_04f", "apex-is-offset"),
    }
    assert by_id(reading)["sub04/EP12_01f"].apex is None
    strict = read("casme2", annotations=table, root=root, apex="required")
    assert reasons(strict) == {
        "sub04/EP12_01f": "no-apex",
        "sub05/EP09_05f": "degenerate-apex",
        "sub05/EP16_04f": "degenerate-apex",
        WITHOUT_LAST: "missing-frame",
    }
    middle = read("casme2", annotations=table, root=root, apex="midpoint")
    assert by_id(middle)["sub04/EP12_01f"].apex == 262
    assert ("sub04/EP12_01f", "apex-midpoint") in codes(middle)


def test_frames_are_those_of_the_numbers_in_numeric_order(copy):
    root, table = copy
    clip = by_id(read("casme2", annotations=table, root=root))["sub01/EP02_01f"]
    assert shown(clip) == [9, 10, 11, 12]  # img9 before img10
    assert (clip.subject, clip.fps, clip.path) == ("01", 200.0, str(root / "CASME2_RAW_selected/sub01/EP02_01f"))
    assert shown(by_id(read("casme2", annotations=table, root=root))["sub04/EP12_01f"]) == [5, 6, 7, 8]  # 261 mod 256


def test_cropped_frames_are_asked_for_by_name(copy):
    root, table = copy
    clip = by_id(read("casme2", annotations=table, root=root, frames="cropped"))["sub01/EP02_01f"]
    assert "Cropped" in clip.path and shown(clip) == [9, 10, 11, 12]
    inner = read("casme2", annotations=table, root=root / "CASME2_RAW_selected")
    assert len(inner.clips) == 6
    with pytest.raises(InputError, match="unknown frames 'gray'"):
        read("casme2", annotations=table, root=root, frames="gray")


def test_labels_are_those_of_each_label_set(copy):
    reading = read("casme2", annotations=copy[1])
    assert len(reading.clips) == 7 and not reading.exclusions
    assert Counter(clip.labels.get("casme2-emotion5") for clip in reading.clips) == Counter(
        {"disgust": 2, None: 2, "happiness": 1, "others": 1, "repression": 1}
    )
    assert by_id(reading)["sub01/EP03_09"].labels == {"casme2-emotion7": "fear"}
    assert by_id(reading)["sub01/EP02_01f"].path == "sub01/EP02_01f"


def test_subjects_as_numbers_and_as_csv_read_the_same(copy, tmp_path):
    text = read("casme2", annotations=copy[1])
    rows = [[int(row[0]), *row[1:]] for row in ROWS]
    numbers = read("casme2", annotations=write_xlsx(tmp_path / "b.xlsx", {"Sheet1": [HEADER, *rows]}))
    plain = read("casme2", annotations=write_csv(tmp_path / "b.csv", [HEADER, *rows]))
    assert text.clips == numbers.clips == plain.clips


def test_objective_classes_come_from_one_named_file(tmp_path):
    header = [*HEADER, "Objective Classes"]
    rows = [[*row, number] for row, number in zip(ROWS, ("I", "VII", "II", "VI", "V", "VII", "III"), strict=True)]
    copied = write_xlsx(tmp_path / "CASME2-coding-20190701.xlsx", {"Sheet1": [header, *rows]})
    own = read("casme2", annotations=copied)
    assert by_id(own)["sub01/EP02_01f"].labels["objective5"] == "I"
    assert "objective5" not in by_id(own)["sub04/EP12_01f"].labels and own.clips[3].labels["objective7"] == "VI"
    lines = [[row[0], row[1], number] for row, number in zip(ROWS, (2, 1, 7, 7, 3, 4, 5), strict=True)]
    separate = write_xlsx(
        tmp_path / "CASME2-ObjectiveClasses.xlsx", {"Sheet1": [["Subject", "Filename", "Objective Class"], *lines]}
    )
    other = read("casme2", annotations=copied, objective=separate)
    assert by_id(other)["sub01/EP02_01f"].labels["objective5"] == "II"
    assert (own.facts["objective_classes"], other.facts["objective_classes"]) == (copied, separate)


def test_a_row_that_cannot_be_meant_is_excluded_and_named(tmp_path):
    rows = [
        ["01", "EP01", None, "soon", 3, 5, None, 4, "others"],
        ["01", "EP02", None, 7, 3, 5, None, 4, "others"],
        ["01", "EP03", None, 1, 9, 5, None, 4, "others"],
        ["01", "EP04", None, 1, 3, 5, None, 4, "others"],
        ["01", "EP04", None, 2, 3, 5, None, 4, "others"],
        ["01", "EP05", None, None, 3, 5, None, 4, "others"],
    ]
    reading = read("casme2", annotations=write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [HEADER, *rows]}))
    assert [(one.clip_id, one.reason) for one in reading.exclusions] == [
        ("sub01/EP01", "unreadable-number"),
        ("sub01/EP02", "wrong-frame-order"),
        ("sub01/EP03", "wrong-frame-order"),
        ("sub01/EP04", "duplicate-row"),
        ("sub01/EP05", "unreadable-number"),
    ]
    assert [clip.clip_id for clip in reading.clips] == ["sub01/EP04"]
    assert all("row" in one.detail and one.labels["casme2-emotion5"] == "others" for one in reading.exclusions)


def test_unknown_emotions_are_listed(tmp_path):
    rows = [ROWS[0], [*ROWS[1][:-1], "joy"], [*ROWS[2][:-1], "joy"], [*ROWS[3][:-1], "shame"]]
    with pytest.raises(
        InputError, match=r"row 3: unknown emotion: 'joy' \(2 rows\), 'shame' \(1 rows\); known are disgust"
    ):
        read("casme2", annotations=write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [HEADER, *rows]}))


def test_two_folders_of_one_clip_are_not_chosen_between(copy):
    root, table = copy
    write_frames(root / "backup/sub01/EP02_01f", {n: f"img{n}.jpg" for n in range(9, 13)})
    assert len(read("casme2", annotations=table, root=root).clips) == 6  # the release's own folder name decides
    with pytest.raises(InputError, match="two folders may hold the clip sub01/EP02_01f"):
        (root / "CASME2_RAW_selected").rename(root / "mine")
        read("casme2", annotations=table, root=root)
    (root / "mine/sub01/EP01_02_01/img4.png").write_bytes((root / "mine/sub01/EP01_02_01/img4.jpg").read_bytes())
    twice = read("casme2", annotations=table, root=root / "mine")
    assert reasons(twice)["sub01/EP01_02_01"] == "repeated-frame"
