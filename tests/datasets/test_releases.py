"""Known releases. If these fail, a copy that differs from the release everyone else used passes for it."""

from __future__ import annotations

import pytest

from hsta.datasets import NAMES, read
from hsta.datasets.labels import LABEL_SETS
from hsta.datasets.releases import annotated, compare, known_releases
from tests.datasets.builders import write_xls, write_xlsx

CASME2 = [
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
SAMM = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro"]
SAMM += ["Action Units", "Estimated Emotion", "Objective Classes", "Notes"]
CASME3 = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]


def spread(counts):
    """Each name as often as it counts."""
    return [name for name, count in counts.items() for _ in range(count)]


def casme2(tmp_path):
    emotions = spread(known_releases()["casme2"][0]["labels"]["casme2-emotion7"])
    rows = [
        [f"{k % 26 + 1:02d}", f"EP{k:03d}", None, 1 + k, 3 + k, 9 + k, None, 4, name] for k, name in enumerate(emotions)
    ]
    rows[0][4] = "/"
    rows[1][4] = rows[1][3]
    return write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [CASME2, *rows], "Sheet2": [], "Sheet3": []})


def samm(tmp_path):
    release = known_releases()["samm"][0]["labels"]
    emotions, classes = spread(release["samm-emotion8"]), spread(release["objective7"])
    rows = []
    for k, (name, objective) in enumerate(zip(emotions, classes, strict=True)):
        subject = f"{k % 29 + 1:03d}"
        formula = f"=SUM(F{k}-D{k})+1"
        rows.append(
            [subject, f"{subject}_1_{k}", 1, 1, 3, 9, formula, "Micro - 1/2", "12", name.capitalize(), objective, None]
        )
    rows[5][1], rows[6][1] = "028_4_1", "032_3_1"
    rows[5][4] = rows[6][4] = 99
    return write_xlsx(tmp_path / "a.xlsx", {"MICRO_ONLY": [*[["SAMM"] for _ in range(13)], SAMM, *rows]})


def casme3(tmp_path):
    release = known_releases()["casme3-a"][0]
    emotions, classes = spread(release["labels"]["casme3-emotion7"]), spread(release["labels"]["casme3-objective7"])
    rows = []
    for k, (name, objective) in enumerate(zip(emotions, classes, strict=True)):
        rows.append([f"spNO.{k % 90 + 1000}", "a", str(k), str(k + 2), str(k + 9), "4", objective, name])
    bad = [("spNO.149", "d", 112, 83, 358), ("spNO.216", "d", 3647, 2668, 2694), ("spNO.40", "e", 1812, 1824, 0)]
    for row, cells in zip(rows, [*bad, ("spNO.40", "e", 2327, 2363, 0), ("spNO.14", "J", 7, 8, 9)], strict=False):
        row[:5] = map(str, cells)
    rows[-1][7] = "Others" if rows[-1][7] == "others" else rows[-1][7]
    return write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [], "label": [CASME3, *rows], "Sheet3": []})


@pytest.mark.parametrize(("name", "make"), [("casme2", casme2), ("samm", samm), ("casme3-a", casme3)])
def test_a_file_with_the_releases_counts_is_recognised(tmp_path, name, make):
    reading = read(name, annotations=make(tmp_path))
    comparison = compare(reading)
    assert comparison.differences == () and comparison.release == known_releases()[name][0]["release"]
    for label_set, classes in known_releases()[name][0]["labels"].items():
        assert annotated(reading, label_set) == classes


def test_the_large_old_workbook(tmp_path):
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "Expression type"]
    rows = [
        [f"spNO.{k % 98}", "a", k, k + 2, k + 9, "4", "I", ("Micro" if k < 8 else "Macro") + "-expression"]
        for k in range(400)
    ]
    path = write_xls(tmp_path / "a.xls", {"AU+Emotion": [header, *rows]})
    comparison = compare(read("casme3-a-macro", annotations=path))
    assert comparison.differences == ("annotated rows: 392 instead of 3346 (-2954)",)


def test_a_copy_that_differs_is_said_to_differ_by_how_much_and_where(tmp_path):
    emotions = spread(known_releases()["casme2"][0]["labels"]["casme2-emotion7"])
    emotions[0] = "fear"
    rows = [
        [f"{k % 26 + 1:02d}", f"EP{k:03d}", None, 9, 3 if k == 7 else 12, 15, None, 4, name]
        for k, name in enumerate(emotions[:-1])
    ]
    path = write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [CASME2, *rows]})
    differences = compare(read("casme2", annotations=path)).differences
    assert "annotated rows: 254 instead of 255 (-1)" in differences
    assert "casme2-emotion7: others: 98 instead of 99 (-1)" in differences
    samm_path = samm(tmp_path)
    corrected = read("samm", annotations=samm_path, apex="valid")
    assert compare(corrected).differences == (
        "028_4_1 is wrong in the release and not here",
        "032_3_1 is wrong in the release and not here",
    )


def test_every_known_release_belongs_to_a_reader_and_to_its_label_sets():
    assert set(known_releases()) <= set(NAMES)
    for releases in known_releases().values():
        for release in releases:
            assert set(release) <= {"release", "rows", "subjects", "labels", "excluded"}
            for label_set, classes in release.get("labels", {}).items():
                assert set(classes) <= set(LABEL_SETS[label_set])
                assert sum(classes.values()) <= release["rows"]


def test_a_data_set_without_known_releases_is_compared_with_nothing(tmp_path):
    (tmp_path / "clips.csv").write_text("clip_id,subject,path,onset,offset,label\nc,s,/a,1,2,x\n")
    assert compare(read("manifest", annotations=tmp_path / "clips.csv")) is None
