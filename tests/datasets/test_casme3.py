"""CAS(ME)^3. If these fail, wrong rows pass for annotations, or positions in a folder for file names."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from hsta.datasets import read
from hsta.errors import InputError
from hsta.evaluation.audit import audit
from hsta.evaluation.splits import clip_key, make_split
from tests.datasets.builders import by_id, codes, reasons, shown, write_depth, write_frames, write_xls, write_xlsx

HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
ROWS = [  # every cell is text
    ["spNO.1", "a", "5", "7", "9", "4+7", "IV", "disgust"],
    ["spNO.1", "a", "9", "11", "14", "12", "I", "happy"],
    ["spNO.14", "J", "2", "2", "6", "1", "VII", "Others"],
    ["spNO.149", "d", "12", "8", "20", "4", "III", "fear"],
    ["spNO.216", "d", "30", "20", "26", "4", "II", "sad"],
    ["spNO.40", "e", "3", "5", "0", "4", "V", "anger"],
    ["spNO.216", "e", "0", "0", "5", "4", "VI", "surprise"],
    ["spNO.2", "b", "1", "3", "6", "4", "VII", "others"],
]
ALL = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "Expression type"]


@pytest.fixture
def table(tmp_path):
    sheets = {"Sheet1": [], "label": [HEADER, *ROWS], "Sheet3": []}
    return write_xlsx(tmp_path / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", sheets)


@pytest.fixture
def videos(tmp_path):
    top = tmp_path / "part_A/data/part_A_split/part_A"
    write_frames(top / "spNO.1/a/color", {n: f"{n}.jpg" for n in range(5, 15)})
    write_depth(top / "spNO.1/a/depth", range(5, 15))
    write_frames(top / "spNO.14/j/color", {n: f"{n}.jpg" for n in range(1, 8)})
    write_frames(top / "spNO.149/spNO.149/d/color", {n: f"{n}.jpg" for n in range(1, 30)})
    write_frames(top / "spNO.216/e/color", {n: f"{n}.jpg" for n in range(1, 30)})
    write_frames(top / "spNO.2/b/color", {n: f"{n}.jpg" for n in (1, 2, 3, 5, 6)})
    return tmp_path


def test_wrong_rows_are_excluded_each_with_its_numbers(table):
    reading = read("casme3-a", annotations=table)
    assert reasons(reading) == {
        "spNO.149_d_12": "wrong-frame-order",
        "spNO.216_d_30": "wrong-frame-order",
        "spNO.40_e_3": "wrong-frame-order",
    }
    assert "onset 3 is not before offset 0" in reading.exclusions[2].detail and "row 7" in reading.exclusions[2].detail
    assert len(reading.clips) == 5 and reading.facts["rows"] == 8 and reading.facts["sheet"] == "label"


def test_frames_of_several_clips_in_one_video(table, videos):
    reading = read("casme3-a", annotations=table, root=videos)
    clips = by_id(reading)
    assert shown(clips["spNO.1_a_5"]) == [5, 6, 7, 8, 9] and shown(clips["spNO.1_a_9"]) == [9, 10, 11, 12, 13, 14]
    assert clips["spNO.1_a_5"].recording == clips["spNO.1_a_9"].recording == "spNO.1/a"
    assert clips["spNO.1_a_5"].path.endswith("spNO.1/a/color")  # never depth
    assert clips["spNO.1_a_5"].fps == 30.0 and clips["spNO.1_a_5"].dataset == "casme3-a"
    assert shown(clips["spNO.14_j_2"]) == [2, 3, 4, 5, 6]  # J in the table, j on disk
    assert {("spNO.14_j_2", "apex-is-onset"), ("spNO.2_b_1", "frame-gap")} <= codes(reading)
    assert reasons(reading)["spNO.216_e_0"] == "missing-frame"  # 0.jpg does not exist
    nested = read("casme3-a", annotations=table, root=videos, apex="valid")
    assert shown(by_id(nested)["spNO.149_d_12"]) == list(range(12, 21))  # a folder within a folder of the same name


def test_labels_of_four_label_sets(table):
    clips = by_id(read("casme3-a", annotations=table))
    assert clips["spNO.1_a_5"].labels == {
        "casme3-emotion7": "disgust",
        "casme3-emotion4": "negative",
        "casme3-emotion3": "negative",
        "casme3-objective7": "IV",
    }
    assert (
        clips["spNO.1_a_9"].labels["casme3-emotion7"] == "happy"
        and clips["spNO.1_a_9"].labels["casme3-emotion3"] == "positive"
    )
    assert clips["spNO.14_j_2"].labels == {
        "casme3-emotion7": "others",
        "casme3-emotion4": "others",
        "casme3-objective7": "VII",
    }


def test_the_owners_corrections(tmp_path):
    rows = [
        ["spNO.149", "d", "112", "83", "358", "4", "VII", "fear"],
        ["spNO.216", "d", "3647", "2668", "2694", "4", "VII", "fear"],
        ["spNO.40", "e", "1812", "1824", "0", "4", "VII", "fear"],
        ["spNO.40", "e", "2327", "2363", "0", "4", "VII", "fear"],
        ["spNO.216", "e", "0", "0", "25", "4", "VII", "fear"],
        ["spNO.214", "c", "5", "5", "3460", "4", "VII", "fear"],
    ]
    table = write_xlsx(tmp_path / "a.xlsx", {"label": [HEADER, *rows]})
    assert len(read("casme3-a", annotations=table).exclusions) == 4
    fixed = read("casme3-a", annotations=table, corrections="casme3-a-owner-1,casme3-a-meb-1")
    assert [(clip.onset, clip.apex, clip.offset) for clip in fixed.clips] == [
        (112, 160, 358),
        (2647, 2668, 2694),
        (1812, 1824, 1845),
        (2327, 2363, 2403),
        (1, 1, 25),
        (5, 5, 34),
    ]
    assert not fixed.exclusions and len(fixed.corrections) == 7
    assert fixed.clips[1].clip_id == "spNO.216_d_3647"  # a clip keeps the name that the release gives it


def test_the_clips_release(table, tmp_path):
    top = tmp_path / "Part_A_ME_clip"
    write_frames(top / "frame/spNO.1_a_5", {n: f"{n}.jpg" for n in range(5, 10)})
    write_depth(top / "depth/spNO.1_a_5", range(5, 10))
    reading = read("casme3-a", annotations=table, root=tmp_path)
    (clip,) = reading.clips
    assert shown(clip) == [5, 6, 7, 8, 9] and clip.path == str(top / "frame/spNO.1_a_5")
    assert reasons(reading)["spNO.1_a_9"] == "missing-folder"
    with pytest.raises(InputError, match="unknown layout 'mp4'"):
        read("casme3-a", annotations=table, root=tmp_path, layout="mp4")
    assert not read("casme3-a", annotations=table, root=tmp_path, layout="videos").clips


def test_the_old_workbook_holds_micro_and_macro(videos, tmp_path):
    rows = [
        ["spNO.1", "a", 5, 7, 9, "4", "IV", "Micro-expression"],
        ["spNO.1", "a", 6, 8, 14, "4+12", "VII", "Macro-expression"],
        ["spNO.1", "a", 6, 9, 12, "4+12", "VII", "Macro-expression"],
        ["spNO.11", "J", 6, 9, 12, "4+12", "VII", "Macro-expression"],
    ]
    blinks = [["Subject", "Filename", "Onset", "Offset"], ["spNO.1", "a", 1, 2]]
    table = write_xls(tmp_path / "CAS(ME)3_part_A_v2.xls", {"AU+Emotion": [ALL, *rows], "eye blink": blinks})
    macro = read("casme3-a-macro", annotations=table, root=videos)
    assert [clip.clip_id for clip in macro.clips] == ["spNO.1_a_6-macro", "spNO.1_a_6-macro-2"]
    assert {(clip.dataset, clip.labels["expression-type"]) for clip in macro.clips} == {("casme3-a", "macro")}
    assert reasons(macro) == {"spNO.11_j_6-macro": "missing-folder"}
    micro = read("casme3-a", annotations=table, root=videos)
    assert [clip.clip_id for clip in micro.clips] == ["spNO.1_a_5"] and "casme3-emotion7" not in micro.clips[0].labels
    assert micro.clips[0].recording == macro.clips[0].recording  # so that no split parts them
    with pytest.raises(InputError, match="no column Expression type"):
        read("casme3-a-macro", annotations=write_xlsx(tmp_path / "b.xlsx", {"label": [HEADER, ROWS[0]]}))
    with pytest.raises(InputError, match="unknown Expression type: 'Blink'"):
        read("casme3-a", annotations=write_xls(tmp_path / "b.xls", {"A": [ALL, [*rows[0][:7], "Blink"]]}))


def test_part_c_counts_positions_in_the_sorted_folder(tmp_path):
    top = tmp_path / "part_C/01/a"
    write_frames(top / "color", {n: f"{n}.jpg" for n in range(98, 111) if n != 103})
    write_depth(top / "depth", range(98, 111))
    header = ["sub", "count", "onset", "offset", "au", "emotion"]
    rows = [[1, 1, 3, 7, "4,7\uff0c", "negative"], [1, 2, 9, 40, "13?", "others"], [2, 1, 1, 5, "12,", "positive"]]
    table = write_xlsx(tmp_path / "CAS(ME)3_part_C_ME.xlsx", {"mockCrimeME": [header, *rows]})
    reading = read("casme3-c", annotations=table, root=tmp_path)
    (clip,) = reading.clips
    assert (clip.clip_id, clip.subject, clip.apex) == ("01_3", "01", None)
    assert (clip.onset, clip.offset) == (100, 105)  # the third and the seventh file; 103 is not there
    assert reasons(reading) == {"01_9": "missing-frame", "02_1": "missing-folder"}
    assert clip.labels == {"casme3-emotion4": "negative", "casme3-emotion3": "negative"}
    from_zero = read("casme3-c", annotations=table, root=tmp_path, first_position=0, apex="midpoint").clips[0]
    assert (from_zero.onset, from_zero.apex, from_zero.offset) == (101, 103, 106)
    assert [clip.onset for clip in read("casme3-c", annotations=table).clips] == [3, 9, 1]
    with pytest.raises(InputError, match="first_position is 2"):
        read("casme3-c", annotations=table, first_position=2)
    old = write_xls(tmp_path / "CAS(ME)3_part_C.xls", {"organize": [["Subject", "Onset", "Offset"], [1, 2, 3]]})
    with pytest.raises(InputError, match="the older table of part C"):
        read("casme3-c", annotations=old)


def test_a_link_to_elsewhere_is_not_followed(table, videos, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(videos / "part_A/data/part_A_split/part_A/spNO.14", outside)
    (videos / "part_A/data/part_A_split/part_A/spNO.14").symlink_to(outside)
    reading = read("casme3-a", annotations=table, root=videos / "part_A")
    assert reasons(reading)["spNO.14_j_2"] == "missing-folder"
    assert reading.facts["links_not_followed"] == ["data/part_A_split/part_A/spNO.14"]


def test_a_macro_clip_never_trains_where_its_own_frames_are_tested(videos, tmp_path):
    rows = [
        ["spNO.1", "a", 5, 7, 9, "4", "IV", "Micro-expression"],
        ["spNO.2", "b", 1, 3, 6, "4", "IV", "Micro-expression"],
        ["spNO.1", "a", 6, 8, 14, "4+12", "VII", "Macro-expression"],
        ["spNO.2", "b", 2, 3, 5, "4+12", "VII", "Macro-expression"],
    ]
    table = write_xls(tmp_path / "CAS(ME)3_part_A_v2.xls", {"AU+Emotion": [ALL, *rows]})
    micro, macro = (read(name, annotations=table).clips for name in ("casme3-a", "casme3-a-macro"))
    split = make_split(micro, "loso", label_set="casme3-objective7", extra=macro)
    assert [fold.extra for fold in split.folds] == [
        (("casme3-a", "spNO.2_b_2-macro"),),
        (("casme3-a", "spNO.1_a_6-macro"),),
    ]
    assert audit(split, micro, extra=macro).passed
    leaky = replace(split, folds=(replace(split.folds[0], extra=tuple(map(clip_key, macro))), split.folds[1]))
    report = audit(leaky, micro, extra=macro)
    assert {"subjects", "recordings", "intervals"} <= {finding.check for finding in report.findings}
    with pytest.raises(InputError, match="casme3-a/spNO.1_a_6-macro"):
        report.raise_on_failure()
