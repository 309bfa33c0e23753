"""The generic manifest. If these fail, users train on rows that say something else than they wrote."""

import pytest

from hsta.datasets.labels import label_classes
from hsta.datasets.manifest import read_manifest
from hsta.errors import InputError

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
        (HEADER + GOOD.replace("smile", "grin"), "row 2: unknown label 'grin'; label set 'demo3' has smile, brow-raise, frown"),
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
