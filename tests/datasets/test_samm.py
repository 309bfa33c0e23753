"""SAMM and SAMM Long Videos. If these fail, frames of other numbers are read, or wrong apexes pass for annotations."""

from __future__ import annotations

import pytest

from hsta.datasets import read
from hsta.errors import InputError
from tests.datasets.builders import by_id, codes, reasons, shown, write_csv, write_frames, write_xlsx

HEADER = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro"]
HEADER += ["Action Units", "Estimated Emotion", "Objective Classes", "Notes"]
ROWS = [
    ["006", "006_1_2", 1, 5562, 5564, 5566, "=SUM(F15-D15)+1", "Micro - 1/2", "12+15 ", "Happiness", "I", None],
    [
        "028",
        "028_4_1",
        4,
        1071,
        1143,
        1075,
        "=SUM(F16-D16)+1",
        "Micro - 1/2",
        "(R6 or R12)+R15",
        "Contempt",
        "VII",
        None,
    ],
    ["032", "032_3_1", 3, 2, 1, 6, "=SUM(F17-D17)+1", "Micro - 1/2", "10A/B", "Other", "III", "blurred"],
    ["032", "032_3_2", 3, 20, 22, 24, "=SUM(F18-D18)+1", "Micro - 1/2", "soft focus", "Sadness", "VI", None],
]
PREAMBLE = [["SAMM"], [], ["Micro-movements, coded"], *[[] for _ in range(10)]]


@pytest.fixture
def copy(tmp_path):
    widths = {"006_1_2": 5, "028_4_1": 4, "032_3_1": 5, "032_3_2": 4}
    for subject, name, _, onset, _, offset, *_ in ROWS:
        for top in ("SAMM", "SAMM_CROP"):
            names = {n: f"{subject}_{n:0{widths[name]}d}.jpg" for n in range(onset, offset + 1)}
            write_frames(tmp_path / top / subject / name, names)
    return tmp_path, write_xlsx(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", {"MICRO_ONLY": [*PREAMBLE, HEADER, *ROWS]})


def test_frames_are_found_by_number_whatever_their_padding(copy):
    reading = read("samm", annotations=copy[1], root=copy[0])
    clip = by_id(reading)["006_1_2"]
    assert shown(clip) == [n % 256 for n in range(5562, 5567)]
    assert (clip.subject, clip.recording, clip.fps, clip.apex) == ("006", "006_1", 200.0, 5564)
    assert clip.labels == {
        "samm-emotion5": "happiness",
        "samm-emotion8": "happiness",
        "objective5": "I",
        "objective7": "I",
    }
    valid = by_id(read("samm", annotations=copy[1], root=copy[0], apex="valid"))["028_4_1"]
    assert shown(valid) == [n % 256 for n in range(1071, 1076)]  # four digits


def test_an_apex_outside_its_clip_is_excluded_unless_a_policy_says_otherwise(copy):
    reading = read("samm", annotations=copy[1], root=copy[0])
    assert reasons(reading) == {"028_4_1": "wrong-frame-order", "032_3_1": "wrong-frame-order"}
    assert "apex 1143 lies outside onset..offset (1071..1075)" in reading.exclusions[0].detail
    assert reading.exclusions[0].labels["samm-emotion5"] == "contempt"
    valid = read("samm", annotations=copy[1], apex="valid")
    assert [clip.apex for clip in valid.clips] == [5564, None, None, 22]
    assert ("028_4_1", "wrong-apex") in codes(valid)
    middle = read("samm", annotations=copy[1], apex="midpoint")
    assert [clip.apex for clip in middle.clips] == [5564, 1073, 4, 22]
    with pytest.raises(InputError, match="unknown apex policy 'guess'"):
        read("samm", annotations=copy[1], apex="guess")


def test_copies_with_and_without_the_preamble_read_the_same(copy, tmp_path):
    with_preamble = read("samm", annotations=copy[1])
    without = read("samm", annotations=write_xlsx(tmp_path / "b.xlsx", {"Sheet1": [HEADER, *ROWS]}))
    numbers = [[int(row[0]), *row[1:]] for row in ROWS]
    plain = read("samm", annotations=write_csv(tmp_path / "b.csv", [HEADER, *numbers]))
    assert with_preamble.clips == without.clips == plain.clips
    assert reasons(with_preamble) == reasons(without)


def test_a_formula_in_a_column_that_nobody_needs_does_no_harm_and_in_one_that_is_needed_is_named(copy, tmp_path):
    assert len(read("samm", annotations=copy[1]).clips) == 2
    broken = [[*ROWS[0][:5], "=D15+4", *ROWS[0][6:]]]
    with pytest.raises(InputError, match=r"row 2: column offset is a formula without a stored result: =D15\+4"):
        read("samm", annotations=write_xlsx(tmp_path / "b.xlsx", {"MICRO_ONLY": [HEADER, *broken]}))


def test_corrections_are_applied_by_name_alone_and_kept_account_of(tmp_path):
    rows = [
        ["028", "028_4_1", 4, 1071, 1143, 1134, None, None, "4", "Contempt", "VII", None],
        ["032", "032_3_1", 3, 4896 - 40, 1930, 4966, None, None, "4", "Other", "VII", None],
    ]
    table = write_xlsx(tmp_path / "a.xlsx", {"MICRO_ONLY": [HEADER, *rows]})
    corrected = read("samm", annotations=table, corrections="samm-copy-a-1")
    assert [clip.apex for clip in corrected.clips] == [1113, 4930]
    assert [(one.clip_id, one.as_distributed, one.corrected) for one in corrected.corrections] == [
        ("028_4_1", "1143", "1113"),
        ("032_3_1", "1930", "4930"),
    ]
    assert all(one.source for one in corrected.corrections)
    with pytest.raises(InputError, match="clips that the file does not have: 032_3_2"):
        read("samm", annotations=table, corrections="samm-meb-1")
    with pytest.raises(
        InputError, match="unknown corrections mine for samm; known are samm-copy-a-1, samm-copy-b-1, samm-meb-1"
    ):
        read("samm", annotations=table, corrections="mine")
    rows[0][4] = 1000
    with pytest.raises(InputError, match="expect apex 1143 for clip 028_4_1, the file has '1000'"):
        read("samm", annotations=write_xlsx(tmp_path / "b.xlsx", {"S": [HEADER, *rows]}), corrections="samm-copy-a-1")


def test_long_videos_with_and_without_a_header(tmp_path):
    rows = [
        ["006", "006_1_1", 1, 3, 5, 8, 6, "Micro - 1/2", "4", None],
        ["006", "006_1_2", 1, 1, 2, 6, 6, "Macro", "12", None],
        ["007", "007_2_1", 2, 4, 5, 7, 4, "Macro", "12", None],
    ]
    header = [
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset",
        "Apex",
        "Offset",
        "Duration",
        "Type",
        "Action Units",
        "Notes",
    ]
    write_frames(tmp_path / "SAMM_longvideos/006_1", {n: f"006_1_{n:04d}.jpg" for n in range(1, 10)})
    blank = write_xlsx(tmp_path / "a.xlsx", {"S": [[f"line {n}"] for n in range(10)] + rows})
    named = write_xlsx(tmp_path / "b.xlsx", {"S": [[f"line {n}"] for n in range(9)] + [header, *rows]})
    reading = read("samm-long", annotations=blank, root=tmp_path)
    assert reading.clips == read("samm-long", annotations=named, root=tmp_path).clips
    assert reasons(reading) == {"long/007_2_1": "missing-folder"}
    assert [clip.labels["expression-type"] for clip in reading.clips] == ["micro", "macro"]
    assert shown(reading.clips[0]) == [3, 4, 5, 6, 7, 8]
    assert {(clip.dataset, clip.recording) for clip in reading.clips} == {
        ("samm", "006_1")
    }  # the short clips' own recording
    assert len(read("samm-long", annotations=blank, expression="macro").clips) == 2
    with pytest.raises(InputError, match="unknown Type 'Blink'"):
        read(
            "samm-long",
            annotations=write_xlsx(tmp_path / "c.xlsx", {"S": [header, [*rows[0][:7], "Blink", None, None]]}),
        )
