"""SMIC and SMIC-E. If these fail, a folder passes for a label its name denies, or one camera for another."""

from __future__ import annotations

import pytest

from hsta.datasets import read
from hsta.errors import InputError
from tests.datasets.builders import by_id, codes, reasons, shown, write_frames, write_xlsx

HEADER = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", None, "FirstF", "LastF"]
HEADER += ["TotalMF1", "TotalMF2", "TotalVL", "Emotion"]


def row(subject, name, onset, offset, emotion, onset2=None, offset2=None):
    return [subject, name, None, onset, offset, onset2, offset2, None, onset - 3, offset + 3, None, None, None, emotion]


@pytest.fixture
def short(tmp_path):
    top = tmp_path / "SMIC_all_raw/HS"
    write_frames(top / "s1/micro/negative/s1_ne_01", {n: f"image{n:06d}.bmp" for n in range(56385, 56390)})
    write_frames(top / "s1/non_micro/x/s1_ne_02", {n: f"image{n:06d}.bmp" for n in range(1, 9)})
    write_frames(top / "s20/micro/surprise/s20_sur_01", {n: f"image{n}.bmp" for n in range(17581039, 17581043)})
    gap = [n for n in range(100, 110) if n not in (104, 105)]
    write_frames(top / "s3/micro/positive/s3_po_08", {n: f"image{n:06d}.bmp" for n in gap})
    write_frames(top / "s18/micro/surprise/s18_sur_03", {n: f"image{n:06d}.bmp" for n in range(5, 9)})
    write_frames(top / "s18/micro/negative/s18_sur_09", {n: f"image{n:06d}.bmp" for n in range(5, 9)})
    write_frames(
        tmp_path / "SMIC_all_raw/VIS/s11/micro/positive/s11_po_01", {n: f"image{n:06d}.bmp" for n in range(1, 5)}
    )
    (tmp_path / "SMIC_all_cropped/HS/s18/micro/surprise/s18_sur_03").mkdir(parents=True)
    cropped = tmp_path / "SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01"
    write_frames(cropped, {n: f"reg_image{n:06d}.bmp" for n in range(56385, 56388)})
    return tmp_path


def test_a_folder_is_a_clip_from_its_first_file_to_its_last(short):
    reading = read("smic-hs", root=short)
    clips = by_id(reading)
    assert list(clips) == ["s1_ne_01", "s3_po_08", "s18_sur_03", "s20_sur_01"]
    assert (clips["s1_ne_01"].onset, clips["s1_ne_01"].apex, clips["s1_ne_01"].offset) == (56385, None, 56389)
    assert shown(clips["s1_ne_01"]) == [n % 256 for n in range(56385, 56390)]
    assert shown(clips["s20_sur_01"]) == [n % 256 for n in range(17581039, 17581043)]  # eight digits
    assert [clip.labels["megc3"] for clip in clips.values()] == ["negative", "positive", "surprise", "surprise"]
    assert {clip.dataset for clip in clips.values()} == {"smic"} and clips["s20_sur_01"].fps == 100.0
    assert ("s3_po_08", "frame-gap") in codes(reading)
    assert reasons(reading) == {"s18_sur_09": "contradicting-label"}


def test_cameras_and_cropped_frames_are_kept_apart(short):
    visible = read("smic-vis", root=short)
    assert [(clip.clip_id, clip.subject, clip.fps) for clip in visible.clips] == [("vis/s11_po_01", "s11", 25.0)]
    with pytest.raises(InputError, match="no clip of smic-nir"):
        read("smic-nir", root=short)
    with pytest.raises(InputError, match="the folder VIS is not of camera HS"):
        read("smic-hs", root=short / "SMIC_all_raw/VIS")
    cropped = read("smic-hs", root=short, frames="cropped")
    assert [clip.offset for clip in cropped.clips] == [56387]
    assert reasons(cropped) == {"s18_sur_03": "empty-folder"}
    middle = read("smic-hs", root=short / "SMIC_all_raw/HS", apex="midpoint")
    assert by_id(middle)["s1_ne_01"].apex == 56387


def test_smic_has_no_annotation_file(short):
    with pytest.raises(InputError, match="has no annotation file"):
        read("smic-hs", annotations="x.xlsx", root=short)
    with pytest.raises(InputError, match="is read from its folders"):
        read("smic-hs")


@pytest.fixture
def extended(tmp_path):
    top = tmp_path / "SMIC-E_raw image/HS_long/SMIC-HS-E"
    write_frames(top / "s01/s1_ne_01", {n: f"image{n:06d}.jpg" for n in range(20, 40)})
    write_frames(top / "s18/s18_sur_03", {n: f"image{n:06d}.jpg" for n in range(20, 40)})
    rows = [
        row(1, "s1_ne_01", 23, 27, "negative", 31, 34),
        row(18, "s18_sur_03", 23, 27, "negative"),
        [],
        ["onset and offset by hand"],
    ]
    return tmp_path, write_xlsx(tmp_path / "SMIC-HS-E_annotation.xlsx", {"HS": [HEADER, *rows], "VIS": [HEADER]})


def test_a_row_of_smic_e_is_the_first_interval_of_its_long_clip(extended):
    reading = read("smic-e-hs", annotations=extended[1], root=extended[0])
    (clip,) = reading.clips
    assert (clip.clip_id, clip.subject, clip.recording) == ("e-hs/s1_ne_01", "s1", "e-hs/s1_ne_01")
    assert (clip.onset, clip.apex, clip.offset) == (23, None, 27) and shown(clip) == [23, 24, 25, 26, 27]
    assert ("e-hs/s1_ne_01", "further-interval") in codes(reading)
    assert reading.facts["notes"] == 1  # the remark below the table
    every = read("smic-e-hs", annotations=extended[1], root=extended[0], intervals="all")
    assert [(one.clip_id, one.onset) for one in every.clips] == [("e-hs/s1_ne_01", 23), ("e-hs/s1_ne_01-2", 31)]
    assert every.clips[0].recording == every.clips[1].recording


def test_an_emotion_that_denies_the_name_is_excluded_or_corrected_by_name(extended):
    assert reasons(read("smic-e-hs", annotations=extended[1])) == {"e-hs/s18_sur_03": "contradicting-label"}
    corrected = read("smic-e-hs", annotations=extended[1], root=extended[0], corrections="smic-e-hs-name-1")
    assert by_id(corrected)["e-hs/s18_sur_03"].labels == {"megc3": "surprise"}


def test_the_later_form_has_a_third_interval(tmp_path):
    header = [*HEADER[:7], "Onset3F", "Offset3F", *HEADER[7:]]
    cells = row(4, "s4_ne_04", 10, 14, "negative", 20, 24)
    table = write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [header, [*cells[:7], 30, 34, *cells[7:]]]})
    assert [clip.onset for clip in read("smic-e-hs", annotations=table, intervals="all").clips] == [10, 20, 30]


def test_a_formula_without_its_result_is_named(tmp_path):
    cells = row(1, "s1_ne_01", 23, 27, "negative")
    cells[4] = "=VIS!E2"
    with pytest.raises(InputError, match="row 2: column offset is a formula without a stored result: =VIS!E2"):
        read("smic-e-hs", annotations=write_xlsx(tmp_path / "a.xlsx", {"HS": [HEADER, cells]}))
