"""Lost if these fail: scoring other software's results by the same definitions."""

from __future__ import annotations

import pytest

from hsta.errors import InputError
from hsta.evaluation.megc_log import read_megc_log, split_of_log, write_megc_log
from hsta.evaluation.predictions import to_frame
from hsta.evaluation.results import evaluate
from tests.evaluation.builders import make_prediction, worked_example

THREE = ("0", "1", "2")
NAMES = ("negative", "positive", "surprise")
TEXT = "casme2 01\nEP02_01f 0 0\nEP03_02 2 1\n\nsamm 6\n006_1_2 1 1\n"


def test_numbers_and_names_mean_classes(tmp_path):
    (tmp_path / "log.txt").write_text(TEXT)
    frame = read_megc_log(str(tmp_path / "log.txt"), NAMES)
    assert frame[["dataset", "subject", "clip_id", "truth", "prediction"]].to_numpy().tolist() == [
        ["casme2", "01", "EP02_01f", "negative", "negative"],
        ["casme2", "01", "EP03_02", "surprise", "positive"],
        ["samm", "6", "006_1_2", "positive", "positive"],
    ]
    write_megc_log(str(tmp_path / "again.txt"), frame, NAMES, numbers=True)
    assert (tmp_path / "again.txt").read_text() == TEXT.replace("\n\n", "\n")
    write_megc_log(str(tmp_path / "named.txt"), frame, NAMES)
    assert "EP03_02 surprise positive" in (tmp_path / "named.txt").read_text()
    assert read_megc_log(str(tmp_path / "named.txt"), NAMES).equals(frame)


def test_clip_names_need_only_be_unique_within_a_subject(tmp_path):
    (tmp_path / "log.txt").write_text(
        "casme2 sub01\nEP02_01f 0 0\nEP03 2 1\ncasme2 sub02\nEP02_01f 1 1\nsmic s1\ns1_ne_01 0 2\n"
    )
    frame = read_megc_log(str(tmp_path / "log.txt"), NAMES)
    assert frame["clip_id"].to_list() == ["sub01/EP02_01f", "sub01/EP03", "sub02/EP02_01f", "s1_ne_01"]
    assert len(split_of_log(frame, label_set="megc3").folds) == 3


def test_a_log_of_other_software_is_scored_by_the_same_definitions(tmp_path):
    url = str(tmp_path / "log.txt")
    write_megc_log(url, to_frame(worked_example(), THREE), THREE)
    frame = read_megc_log(url, THREE)
    results = evaluate(
        frame,
        split=split_of_log(frame, label_set="megc3"),
        classes=THREE,
        epoch_rule="unknown",
        audit={"passed": None, "summary": "other software's training cannot be audited"},
        data={},
        run={},
        resamples=50,
    )
    assert results["pooled"]["uf1"] == pytest.approx(32 / 45)
    assert results["folds"]["complete"] == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("EP01 0 0\n", "line 1: a clip before any subject"),
        ("casme2 01\nEP01 0 7\n", "line 2: unknown class '7'"),
        ("casme2 01\nEP01 0 0 0.7\n", "line 2: 4 fields"),
        ("casme2 01\nEP01 0 0\nEP01 1 1\n", "line 3: clip casme2/01/EP01 is already in line 2"),
        (
            "casme2 01\nEP01 0 0\nsamm 6\n006 1 1\ncasme2 01\nEP01 1 1\n",
            "line 6: clip casme2/01/EP01 is already in line 2",
        ),
        ("casme2 01\n", "the log has no clip"),
        ("casme2 01\n\xff", "not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, problem):
    (tmp_path / "log.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=problem):
        read_megc_log(str(tmp_path / "log.txt"), NAMES)


def test_what_the_form_cannot_hold_is_refused(tmp_path):
    url = str(tmp_path / "log.txt")
    with pytest.raises(InputError, match="not there"):
        read_megc_log(url, NAMES)
    blank = to_frame([make_prediction("a b", "0", "0", classes=THREE)], THREE)
    with pytest.raises(InputError, match="'a b' cannot stand"):
        write_megc_log(url, blank, THREE)
    seeds = to_frame([make_prediction("a", "0", "0", seed=seed, classes=THREE) for seed in (0, 1)], THREE)
    with pytest.raises(InputError, match="holds one seed"):
        write_megc_log(url, seeds, THREE)
