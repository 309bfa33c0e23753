"""Lost if these fail: the one file from which a run's numbers can be recomputed."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hsta.errors import InputError
from hsta.evaluation.predictions import read_predictions, write_predictions
from tests.evaluation.builders import CLASSES, make_prediction

LOG = [
    make_prediction("b", "smile", "smile", subject="s02"),
    make_prediction("a", "frown", "smile"),
    make_prediction("a", "frown", "frown", seed=1),
]


def test_what_is_written_is_read_back(tmp_path):
    url = str(tmp_path / "run" / "predictions.parquet")
    write_predictions(url, LOG, CLASSES, label_set="demo3")
    frame = read_predictions(url)
    assert list(frame) == [
        *("clip_id", "dataset", "subject", "fold", "seed", "truth", "prediction"),
        *("p_smile", "p_brow-raise", "p_frown"),
    ]
    assert frame[["clip_id", "seed"]].to_numpy().tolist() == [["a", 0], ["b", 0], ["a", 1]]
    assert frame.attrs == {"classes": CLASSES, "label_set": "demo3"}
    assert frame["p_smile"].tolist() == pytest.approx([0.6, 0.6, 0.2])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["predictions.parquet"]


def test_the_order_of_predictions_does_not_change_the_bytes(tmp_path):
    for name, log in (("one", LOG), ("two", LOG[::-1])):
        write_predictions(str(tmp_path / name), log, CLASSES)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_object_storage_urls_work():
    write_predictions("memory://runs/x/predictions.parquet", LOG, CLASSES)
    assert len(read_predictions("memory://runs/x/predictions.parquet")) == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"clip_id": "b"}, "already predicted"),
        ({"truth": "angst"}, "unknown class 'angst' as truth"),
        ({"prediction": "angst"}, "unknown class 'angst' predicted"),
        ({"probabilities": (0.2, 0.2, float("nan"))}, "not a finite number"),
        ({"probabilities": (-0.2, 0.2, 1.0)}, "negative"),
        ({"probabilities": (0.2, 0.2, 0.5)}, "do not sum to 1"),
        ({"probabilities": (0.2, 0.8)}, "2 probabilities for 3 classes"),
        ({"probabilities": (0.6, 0.2, 0.2)}, "'frown' is predicted but is not the most probable class"),
    ],
)
def test_a_log_that_cannot_be_scored_names_row_and_clip(tmp_path, change, problem):
    bad = replace(make_prediction("z", "frown", "frown"), **change)
    with pytest.raises(InputError) as caught:
        write_predictions(str(tmp_path / "log"), [*LOG, bad], CLASSES)
    assert problem in str(caught.value)
    assert f"row 3 (clip demo/{bad.clip_id}" in str(caught.value)
    assert not (tmp_path / "log").exists()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        read_predictions(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_predictions(str(tmp_path / "text"))
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other")
    with pytest.raises(InputError, match="not a prediction log"):
        read_predictions(str(tmp_path / "other"))


def test_an_edited_log_is_refused(tmp_path):
    write_predictions(str(tmp_path / "log"), LOG, CLASSES)
    table = pq.read_table(tmp_path / "log")
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "log")
    with pytest.raises(
        InputError, match=r"log, row 3 \(clip demo/a, fold loso-demo-s01, seed 0\): this clip was already"
    ):
        read_predictions(str(tmp_path / "log"))
