"""CASME, CAS(ME)^2, MMEW, DFME, 4DME. If these fail, users of these sets read the wrong frames."""

from __future__ import annotations

import pytest

from hsta.datasets import read
from hsta.errors import InputError
from tests.datasets.builders import by_id, codes, reasons, shown, write_frames, write_xlsx


def test_casme_pads_frame_numbers_in_some_clips_only(tmp_path):
    header = ["Subject", "Filename", None, "OnsetF", "ApexF1", "ApexF2", "OffsetF", None, "AU", "Emotion"]
    rows = [
        [1, "EP01_5", None, 9, 10, 0, 12, None, "4", "Tense"],
        [15, "EP03_1", None, 7, 8, 9, 11, None, "4", "disgust"],
    ]
    top = tmp_path / "CASME_raw_selected"
    write_frames(top / "sub01/EP01_5", {n: f"EP01_5-{n}.jpg" for n in range(9, 13)})
    write_frames(top / "sub15/EP03_1", {n: f"EP03_1-{n:03d}.jpg" for n in range(7, 12)})
    write_frames(tmp_path / "Cropped/sub15/EP03_1", {n: f"reg_EP03_1-{n:03d}.jpg" for n in range(7, 12)})
    table = write_xlsx(tmp_path / "casme.xlsx", {"Sheet1": [header, *rows]})
    reading = read("casme", annotations=table, root=tmp_path)
    assert shown(reading.clips[0]) == [9, 10, 11, 12] and shown(reading.clips[1]) == [7, 8, 9, 10, 11]
    assert codes(reading) == {("sub15/EP03_1", "second-apex")}
    assert reading.clips[0].labels == {"casme-emotion": "tense"} and reading.clips[0].fps == 60.0
    cropped = read("casme", annotations=table, root=tmp_path, frames="cropped")
    assert "Cropped" in cropped.clips[0].path and reasons(cropped) == {"sub01/EP01_5": "missing-folder"}


@pytest.mark.parametrize("code_first", [False, True])
def test_casme_squared_has_no_header_and_two_sheets_of_names(tmp_path, code_first):
    rows = [
        [1, "disgust1_1", 5, 7, 9, "4", "negative", "micro-expression", "disgust"],
        [1, "disgust1_2", 6, 8, 0, "4", "negative", "macro-expression", "disgust"],
        [2, "happy2_1", 1, 2, 3, "12", "positive", "macro-expression", "happy"],
    ]
    rule1 = [["x", "s15", 1], ["y", "s16", 2]]
    rule2 = [("0101", "disgust1"), ("0502", "disgust2")]
    rule2 = rule2 if code_first else [pair[::-1] for pair in rule2]
    sheets = {"CASFEcode_final": rows, "naming rule1": rule1, "naming rule2": rule2}
    table = write_xlsx(tmp_path / "CAS(ME)^2code_final.xlsx", sheets)
    write_frames(tmp_path / "rawpic/s15/15_0101disgustingteeth", {n: f"img{n}.jpg" for n in range(1, 12)})
    write_frames(tmp_path / "rawpic/s15/15_0502faces", {n: f"img{n}.jpg" for n in range(1, 3)})
    write_frames(tmp_path / "selectedpic/s15/15_0101disgustingteeth", {n: f"img{n}.jpg" for n in range(1, 3)})
    reading = read("casme-squared", annotations=table, root=tmp_path)
    micro, macro = reading.clips
    assert shown(micro) == [5, 6, 7, 8, 9] and micro.path.endswith("rawpic/s15/15_0101disgustingteeth")
    assert (macro.offset, macro.labels["expression-type"]) == (8, "macro")  # offset 0: the apex ends it
    assert ("s15/disgust1_2", "no-offset") in codes(reading) and macro.recording == micro.recording == "s15/disgust1"
    assert reasons(reading) == {"s16/happy2_1": "unknown-name"}
    assert [clip.clip_id for clip in read("casme-squared", annotations=table, expression="micro").clips] == [
        "s15/disgust1_1"
    ]
    with pytest.raises(InputError, match="no sheets 'naming rule1'"):
        read("casme-squared", annotations=write_xlsx(tmp_path / "b.xlsx", {"CASFEcode_final": rows}))


@pytest.mark.parametrize("folder", ["Micro_Expression/disgust/S01-01-001", "S01/Micro_Expression/S01-01-001"])
def test_mmew_is_found_by_name_in_either_layout(tmp_path, folder):
    header = [
        "Subject",
        "Filename",
        "OnsetFrame",
        "ApexFrame",
        "OffsetFrame",
        "Action Units",
        "Estimated Emotion",
        "remarks",
    ]
    rows = [[1, "S01-01-001", 1, 3, 5, "4", "disgust", None], [2, "S02-07-001", 1, 9, 5, "4", "repression", None]]
    write_frames(tmp_path / folder, {n: f"{n}.jpg" for n in range(1, 6)})
    table = write_xlsx(tmp_path / "MMEW_Micro_Exp.xlsx", {"Sheet1": [header, *rows]})
    reading = read("mmew", annotations=table, root=tmp_path)
    assert shown(reading.clips[0]) == [1, 2, 3, 4, 5] and reading.clips[0].subject == "01"
    assert reading.clips[0].labels == {"mmew-emotion6": "disgust", "mmew-emotion7": "disgust"}
    assert reasons(reading) == {"S02-07-001": "wrong-frame-order"}
    assert reading.exclusions[0].labels == {"mmew-emotion7": "others"}


def test_dfme_counts_frames_from_zero_and_says_its_frame_rate(tmp_path):
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId", "Fps", "AU"]
    rows = [
        ["sub0003", "sub0003_01", 0, 2, 4, "contempt", 1, 500, "AD38"],
        ["sub0003", "sub0003_02", 0, 2, 4, "anger", 0, 200, "M58"],
    ]
    write_frames(tmp_path / "train/sub0003_01", {n: f"{n:05d}.png" for n in range(5)})
    table = write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [header, *rows]})
    reading = read("dfme", annotations=table, root=tmp_path)
    assert shown(reading.clips[0]) == [0, 1, 2, 3, 4]
    assert (reading.clips[0].fps, reading.clips[0].labels) == (500.0, {"dfme-emotion7": "contempt"})
    assert reasons(reading) == {"sub0003_02": "missing-folder"}


def test_4dme_keeps_several_emotions_as_written(tmp_path):
    header = ["sub_ID", "fold_name", "Onset", "Apex", "Offset", "AUs", "Emotion", "Positive"]
    rows = [["s01", "m_01", 1, 2, 3, "4 (k)", "Surprise+Positive", 1]]
    write_frames(tmp_path / "gray_micro/s01/m_01", {n: f"{n}.jpg" for n in range(1, 4)})
    write_frames(tmp_path / "gray_micro/s01/m_02", {1: "1.jpg"})
    table = write_xlsx(tmp_path / "4DME_Labelling_Micro_release v1.xlsx", {"Sheet1": [header, *rows]})
    reading = read("4dme", annotations=table, root=tmp_path)
    assert by_id(reading)["s01/m_01"].labels == {"4dme-emotion": "Surprise+Positive"}
    assert shown(reading.clips[0]) == [1, 2, 3]
    assert reading.unclaimed == (str(tmp_path / "gray_micro/s01/m_02"),)  # a folder without a row is named
