"""The generic manifest. If these fail, users train on rows that say something else than they wrote."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hsta.datasets import read as read_dataset
from hsta.datasets.labels import LABEL_SETS, label_classes
from hsta.datasets.manifest import read_manifest, write_manifest
from hsta.errors import InputError
from tests.datasets.builders import codes, reasons, shown, write_frames

HEADER = "clip_id,subject,recording,path,onset,apex,offset,label,fps\n"
GOOD = "c1,s1,r1,s1/c1,3,6,9,smile,200\n"


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "clips.csv"
    path.write_bytes(text.encode(encoding))
    return read_manifest(str(path), dataset="mine", label_set="demo3", classes=label_classes("demo3"))


def test_a_row_becomes_a_clip(tmp_path):
    (clip,) = read(tmp_path, HEADER + GOOD)
    assert (clip.clip_id, clip.dataset, clip.subject, clip.recording) == ("c1", "mine", "s1", "r1")
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (3, 6, 9, 200.0)
    assert clip.path == str(tmp_path / "s1/c1")
    assert clip.labels == {"demo3": "smile"}


def test_optional_columns_may_be_missing_or_empty(tmp_path):
    (clip,) = read(tmp_path, "clip_id,subject,path,onset,offset,label\nc1,s1,/abs/c1,0,9,frown\n")
    assert (clip.apex, clip.fps, clip.recording, clip.path) == (None, None, "c1", "/abs/c1")
    (clip,) = read(tmp_path, HEADER + "c1,s1,,s3://b/c1,0,,9,frown,\n")
    assert (clip.apex, clip.fps, clip.recording, clip.path) == (None, None, "c1", "s3://b/c1")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert len(read(tmp_path, HEADER + GOOD, "utf-8-sig")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id,subject,path,onset,apex,label\n", "row 1: missing column offset"),
        (HEADER.replace("fps", "fpz"), "row 1: unknown column fpz"),
        (HEADER + GOOD + GOOD, "row 3: clip id 'c1' is already in row 2"),
        (HEADER + GOOD.replace(",6,", ",2,"), "row 2: apex 2 of clip 'c1' is outside onset..offset .3..9"),
        (HEADER + GOOD.replace(",9,", ",3,"), "row 2: onset 3 is not before offset 3"),
        (
            HEADER + GOOD.replace("smile", "grin"),
            "row 2: unknown label 'grin'; label set 'demo3' has smile, brow-raise, frown",
        ),
        (HEADER + GOOD.replace(",3,", ",three,"), "row 2: onset 'three' is not a frame number"),
        (HEADER + GOOD.replace(",200", ",fast"), "row 2: fps 'fast'"),
        (HEADER + GOOD.replace(",200", ""), "row 2: has more or fewer cells"),
        (HEADER + GOOD.replace("c1,s1,", "c1,,"), "row 2: column subject is empty"),
        (HEADER, "no clip"),
        ("", "missing columns"),
    ],
)
def test_the_first_wrong_row_is_named(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "clips.csv") in str(caught.value) and "cure:" in str(caught.value)


def test_another_encoding_is_named(tmp_path):
    with pytest.raises(InputError, match="not UTF-8"):
        read(tmp_path, HEADER + GOOD.replace("c1", "cé"), "latin-1")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match="not there"):
        read_manifest(str(tmp_path / "no.csv"), dataset="d", label_set="demo3", classes=("a", "b"))


def test_label_sets_are_never_redefined():
    with pytest.raises(InputError, match="cannot be redefined"):
        label_classes("megc3", ("a", "b"))
    assert label_classes("own", ("a", "b")) == ("a", "b")


def test_parquet_says_the_same_as_csv(tmp_path):
    columns = {
        "clip_id": ["c1"],
        "subject": ["s1"],
        "recording": ["r1"],
        "path": ["s1/c1"],
        "onset": [3],
        "apex": [6],
        "offset": [9],
    }
    columns |= {"label": ["smile"], "fps": [200.0]}
    pq.write_table(pa.table(columns), tmp_path / "clips.parquet")
    clips = read_manifest(
        str(tmp_path / "clips.parquet"), dataset="mine", label_set="demo3", classes=label_classes("demo3")
    )
    assert clips == read(tmp_path, HEADER + GOOD)
    empty = columns | {"apex": pa.array([None], pa.int64()), "fps": pa.array([None], pa.float64())}
    pq.write_table(pa.table(empty), tmp_path / "clips.parquet")
    (clip,) = read_dataset("manifest", annotations=tmp_path / "clips.parquet", label_set="demo3").clips
    assert (clip.apex, clip.fps, clip.dataset) == (None, None, "manifest")
    pq.write_table(pa.table(columns | {"label": ["grin"]}), tmp_path / "clips.parquet")
    with pytest.raises(InputError, match="row 2: unknown label 'grin'"):
        read_dataset("manifest", annotations=tmp_path / "clips.parquet", label_set="demo3")


def test_a_manifest_with_a_root_finds_its_frames_there(tmp_path):
    rows = [
        "c1,s1,r1,a,3,,9,x,200",
        "c2,s1,r1,./b,3,4,9,y,200",
        "c3,s1,r1,none,3,4,9,y,200",
        "c4,s1,r1,v/one.mp4,3,4,9,y,",
    ]
    (tmp_path / "clips.csv").write_text(HEADER + "\n".join(rows) + "\n")
    write_frames(tmp_path / "root/a", {n: f"{n}.png" for n in range(3, 10)})
    write_frames(tmp_path / "root/b", {n: f"{n}.png" for n in (3, 4, 6, 7, 8, 9)})
    write_frames(tmp_path / "root/left", {1: "1.png"})
    reading = read_dataset("manifest", annotations=tmp_path / "clips.csv", root=tmp_path / "root", apex="midpoint")
    assert [clip.clip_id for clip in reading.clips] == ["c1", "c2", "c4"]
    assert shown(reading.clips[0]) == [3, 4, 5, 6, 7, 8, 9] and reading.clips[0].apex == 6
    assert reading.clips[0].labels == {"label": "x"}  # as written: no label set was named
    assert reading.clips[2].path == str(tmp_path / "root/v/one.mp4")
    assert reasons(reading) == {"c3": "missing-folder"} and ("c2", "frame-gap") in codes(reading)
    assert reading.unclaimed == (str(tmp_path / "root/left"),)


def test_clips_of_a_reading_become_a_manifest_that_reads_back_the_same(tmp_path):
    before = read(tmp_path, HEADER + GOOD + "c2,s1,,/abs/c2,0,,9,frown,\n")
    assert write_manifest(str(tmp_path / "again.csv"), before, label_set="demo3") == 2
    after = read_manifest(
        str(tmp_path / "again.csv"), dataset="other", label_set="demo3", classes=label_classes("demo3")
    )
    assert after == before
    with pytest.raises(InputError, match="no clip has a label in 'megc3'"):
        write_manifest(str(tmp_path / "again.csv"), before, label_set="megc3")


def test_a_clip_without_frames_is_not_written(tmp_path):
    (tmp_path / "six.csv").write_text("casme2,sub01,EP02_01f,1\n")
    clips = read_dataset("megc2019", annotations=tmp_path / "six.csv", subset=True).clips
    with pytest.raises(InputError, match="clip 'sub01/EP02_01f' has no frames to read"):
        write_manifest(str(tmp_path / "out.csv"), clips, label_set="megc3")


@pytest.mark.parametrize(
    "name", ["megc3", "casme3-emotion7", "casme3-emotion4", "casme3-emotion3", "casme3-objective7"]
)
def test_label_sets_of_the_protocol_have_their_number_of_classes(name):
    assert len(LABEL_SETS[name]) == int(name[-1]) == len(set(LABEL_SETS[name]))
