"""Logs of other software. If this fails, results cannot be compared under one definition."""

import json

from workflows import evaluate

LOG = "set A\nc1 0 0\nc2 0 0\nc3 1 1\n\nset B\nc4 0 0\nc5 0 2\nc6 2 2\n\nset C\nc7 1 0\nc8 0 0\n"  # the worked example


def test_a_foreign_log_is_scored_by_the_pooled_definition(tmp_path, capsys):
    (tmp_path / "log.txt").write_text(LOG)
    assert (
        evaluate.main(["--log", str(tmp_path / "log.txt"), "--label-set", "megc3", "--output", str(tmp_path / "out")])
        == 0
    )
    pooled = json.loads((tmp_path / "out/results.json").read_text())["pooled"]
    assert (round(pooled["uf1"], 4), round(pooled["uar"], 4), pooled["acc"]) == (0.7111, 0.7667, 0.75)
    said = capsys.readouterr().out
    assert "0.7111" in said and "audit     not possible" in said


def test_a_wrong_line_is_named(tmp_path, capsys):
    (tmp_path / "log.txt").write_text(LOG + "c9 0\nc9 0 7\n")
    assert evaluate.main(["--log", str(tmp_path / "log.txt")]) == 2
    assert "line 15" in capsys.readouterr().err
