"""The MEGC2019 composite. If these fail, a benchmark's number is computed over other clips than everyone else's."""

from __future__ import annotations

from collections import Counter

import pytest

from hsta.datasets import read
from hsta.datasets.megc2019 import organisers_keys
from hsta.errors import InputError
from hsta.evaluation.splits import make_split
from tests.datasets.builders import by_id, codes, reasons, shown, write_frames, write_xlsx

SIX = [
    "casme2,sub01,EP02_01f,1",
    "casme2,sub05,EP12_03f,2",
    "samm,6,006_1_2,1",
    "samm,32,032_3_1,0",
    "smic,s01,s01_ne_01,0",
    "smic,s20,s20_sur_01,2",
]
CASME2 = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"]
SAMM = ["Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion", "Objective Classes"]


def whole_list() -> list[str]:
    """442 invented lines with the composite's counts: clips and subjects by data set, and classes."""
    counts = {"casme2": (145, 24, "sub{:02d}"), "samm": (133, 28, "{}"), "smic": (164, 16, "s{:02d}")}
    classes = ["0"] * 250 + ["1"] * 109 + ["2"] * 83
    lines = []
    for dataset, (clips, subjects, form) in counts.items():
        for k in range(clips):
            number = k % subjects + 1
            name = {"casme2": f"EP{k:03d}", "samm": f"{number:03d}_1_{k}", "smic": f"s{number:02d}_ne_{k:02d}"}[dataset]
            lines.append(f"{dataset},{form.format(number)},{name},{classes[len(lines)]}")
    return lines


def write_list(path, lines):
    path.write_bytes("".join(line + "\r\n" for line in lines).encode())
    return str(path)


def test_the_list_alone_gives_the_composite(tmp_path):
    reading = read("megc2019", annotations=write_list(tmp_path / "combined_3class_gt.csv", whole_list()))
    assert Counter(clip.dataset for clip in reading.clips) == {"casme2": 145, "samm": 133, "smic": 164}
    assert len({(clip.dataset, clip.subject) for clip in reading.clips}) == 68
    assert Counter(clip.labels["megc3"] for clip in reading.clips) == {"negative": 250, "positive": 109, "surprise": 83}
    assert not reading.exclusions and len({(clip.dataset, clip.clip_id) for clip in reading.clips}) == 442
    assert {one.code for one in reading.remarks} == {"no-interval"}  # the list names no frames


def test_the_organisers_keys_are_the_clips_of_the_protocol(tmp_path):
    path = write_list(tmp_path / "list.csv", whole_list())
    clips = read("megc2019", annotations=path).clips
    split = make_split(clips, "megc2019-cde", label_set="megc3", organisers_list=organisers_keys(path))
    assert len(split.folds) == 68 and not split.excluded


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:200] + lines[201:], "clips {.*} instead of"),
        (lambda lines: [part for line in lines for part in (line, ",,,")], "441 blank lines"),
        (lambda lines: [*lines[1:], lines[0][:-1] + "2"], "classes"),
        (lambda lines: [*lines, lines[0]], "casme2/sub01/EP000 is already listed in .*row 1"),
        (lambda lines: [*lines[1:], lines[0][:-1] + "3"], "row 442: label '3' is not 0, 1 or 2"),
        (lambda lines: [*lines[1:], "ck+,1,x,0"], "row 442: unknown data set 'ck"),
        (lambda lines: [*lines[1:], "casme2,sub01,../x,0"], "no subject and clip of casme2"),
        (lambda lines: [*lines[1:], "casme2,sub01,x"], "3 cells instead of dataset,subject,clip,label"),
        (lambda lines: SIX, "instead of"),
    ],
)
def test_any_other_list_is_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        read("megc2019", annotations=write_list(tmp_path / "list.csv", change(whole_list())))


@pytest.fixture
def copies(tmp_path):
    write_frames(tmp_path / "CASME2_RAW_selected/sub01/EP02_01f", {n: f"img{n}.jpg" for n in range(46, 52)})
    write_frames(tmp_path / "CASME2_RAW_selected/sub05/EP12_03f", {n: f"img{n}.jpg" for n in range(1, 6)})
    write_frames(tmp_path / "SAMM/006/006_1_2", {n: f"006_{n:05d}.jpg" for n in range(5562, 5570)})
    write_frames(tmp_path / "SAMM/032/032_3_1", {n: f"032_{n:04d}.jpg" for n in range(4896, 4900)})
    smic = tmp_path / "SMIC_all_raw/HS"
    write_frames(smic / "s1/micro/negative/s1_ne_01", {n: f"image{n:06d}.bmp" for n in range(56385, 56389)})
    write_frames(smic / "s20/micro/surprise/s20_sur_01", {n: f"image{n}.bmp" for n in range(17581039, 17581042)})
    casme2 = [["01", "EP02_01f", 46, 48, 50, "12", "happiness"], ["05", "EP12_03f", 1, 3, 5, "1", "others"]]
    casme2 += [["09", "EP01", 1, 3, 5, "1", "disgust"]]
    samm = [["006", "006_1_2", 5562, 5565, 5569, "Happiness", "I"], ["032", "032_3_1", 4896, 1930, 4899, "Anger", "II"]]
    tables = {
        "casme2": write_xlsx(tmp_path / "CASME2-coding-20140508.xlsx", {"Sheet1": [CASME2, *casme2]}),
        "samm": write_xlsx(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", {"MICRO_ONLY": [SAMM, *samm]}),
    }
    return tmp_path, write_list(tmp_path / "six.csv", SIX), tables


def test_listed_clips_are_joined_with_their_own_annotations(copies):
    root, listed, tables = copies
    reading = read("megc2019", annotations=listed, root=root, subset=True, **tables)
    clips = by_id(reading)
    assert list(clips) == ["sub01/EP02_01f", "sub05/EP12_03f", "006_1_2", "032_3_1", "s1_ne_01", "s20_sur_01"]
    assert clips["sub05/EP12_03f"].labels["megc3"] == "surprise"  # the list's word, not that of the emotion "others"
    assert shown(clips["sub01/EP02_01f"]) == [46, 47, 48, 49, 50]
    assert shown(clips["006_1_2"]) == [n % 256 for n in range(5562, 5570)]
    assert shown(clips["s1_ne_01"]) == [n % 256 for n in range(56385, 56389)]
    assert clips["032_3_1"].apex is None and ("032_3_1", "wrong-apex") in codes(reading)  # listed, so it stays
    assert [
        clip.apex
        for clip in read("megc2019", annotations=listed, root=root, subset=True, apex="midpoint", **tables).clips
    ] == [
        48,
        3,
        5565,
        4897,
        56386,
        17581040,
    ]


def test_without_annotations_a_clip_is_its_whole_folder(copies):
    root, listed, _ = copies
    clips = by_id(read("megc2019", annotations=listed, root=root, subset=True))
    assert (clips["sub01/EP02_01f"].onset, clips["sub01/EP02_01f"].apex, clips["sub01/EP02_01f"].offset) == (
        46,
        None,
        51,
    )
    assert clips["006_1_2"].recording == "006_1"


def test_a_listed_clip_that_is_not_there_is_named(copies):
    root, listed, tables = copies
    more = write_list(root / "more.csv", [*SIX, "casme2,sub02,EP99,0", "smic,s02,s02_ne_09,0"])
    reading = read("megc2019", annotations=more, root=root, subset=True, **tables)
    assert reasons(reading) == {"sub02/EP99": "not-in-annotations", "s2_ne_09": "not-in-annotations"}
    folders = read(
        "megc2019", annotations=more, subset=True, smic_root=str(root), casme2_root=str(root), samm_root=str(root)
    )
    assert reasons(folders) == {"sub02/EP99": "missing-folder", "s2_ne_09": "not-in-annotations"}
