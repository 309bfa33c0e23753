"""Hostile and random input to all readers. If these fail, a file reads what it must not, or ends in a traceback."""

from __future__ import annotations

import datetime
import os
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsta.datasets import NAMES, read
from hsta.datasets.reading import Reading
from hsta.datasets.registry import options_of
from hsta.errors import InputError
from tests.datasets.builders import write_frames, write_xls, write_xlsx

HEADERS = {
    "casme2": ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"],
    "samm": [
        "Subject",
        "Filename",
        "Onset Frame",
        "Apex Frame",
        "Offset Frame",
        "Estimated Emotion",
        "Objective Classes",
    ],
    "smic-e-hs": ["Subject", "Filename", "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Emotion"],
    "casme3-a": ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"],
    "casme3-a-macro": ["Subject", "Filename", "Onset", "Apex", "Offset", "Objective class", "Expression type"],
    "casme3-c": ["sub", "count", "onset", "offset", "au", "emotion"],
    "megc2019": ["casme2", "sub01", "EP01", "0"],
    "manifest": ["clip_id", "subject", "path", "onset", "offset", "label", "apex", "fps"],
    "casme": ["Subject", "Filename", "OnsetF", "ApexF1", "ApexF2", "OffsetF", "Emotion"],
    "casme-squared": [1, "disgust1_1", 5, 7, 9, "4", "negative", "micro-expression", "disgust"],
    "samm-long": ["Subject", "Filename", "Onset", "Apex", "Offset", "Type"],
    "mmew": ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"],
    "dfme": ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "Fps"],
    "4dme": ["sub_ID", "fold_name", "Onset", "Apex", "Offset", "Emotion"],
}
ATTACKS = ["../../../etc", "..", "/etc/passwd", "a/b", "a\\b", "", ".", "x" * 300]
TABLED = [name for name in HEADERS if name not in ("megc2019", "manifest")]
GOOD = {
    "subject": "1",
    "sub": "1",
    "subid": "1",
    "filename": "EP01",
    "foldname": "EP01",
    "expressiontype": "Macro-expression",
}
GOOD |= {
    "type": "Macro",
    "emotion": "surprise",
    "estimatedemotion": "surprise",
    "objectiveclass": "I",
    "objectiveclasses": "I",
}


def good_row(header):
    """A row that its reader takes."""
    if header is HEADERS["casme-squared"]:
        return list(header)
    keys = ["".join(filter(str.isalnum, name)).casefold() for name in header]
    return [GOOD.get(key, {"on": 1, "ap": 2, "of": 5}.get(key[:2], 1)) for key in keys]


def write_table(path, name, rows):
    header = HEADERS[name]
    if name == "casme-squared":
        rules = {"naming rule1": [["x", "s15", 1]], "naming rule2": [["disgust1", "0101"]]}
        return write_xlsx(path, {"CASFEcode_final": rows, **rules})
    return write_xlsx(path, {"Sheet1": [header, *rows]})


@pytest.mark.parametrize("name", TABLED)
def test_the_header_of_each_reader_is_right(tmp_path, name):
    assert len(read(name, annotations=write_table(tmp_path / "a.xlsx", name, [good_row(HEADERS[name])])).clips) == 1


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", TABLED)
def test_no_cell_leads_out_of_the_root(tmp_path, name, attack):
    write_frames(tmp_path / "root/sub01/EP01", {n: f"img{n}.jpg" for n in range(1, 6)})
    write_frames(tmp_path / "secret", {n: f"img{n}.jpg" for n in range(1, 6)})
    place = 1 if name != "casme3-c" else 0
    row = good_row(HEADERS[name])
    row[place] = attack
    table = write_table(tmp_path / "a.xlsx", name, [row])
    try:
        clips = read(name, annotations=table, root=tmp_path / "root").clips
    except InputError as error:
        assert "a.xlsx" in str(error) and "cure:" in str(error)
    else:
        assert all(os.path.realpath(clip.path).startswith(str(tmp_path / "root")) for clip in clips)
    if attack not in ("", "x" * 300):
        with pytest.raises(InputError, match="no plain name of a folder"):
            read(name, annotations=table)


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "..\\secret", "a\0b", "a\nb"])
def test_no_path_of_a_manifest_climbs_out(tmp_path, path):
    (tmp_path / "clips.csv").write_text(f'clip_id,subject,path,onset,offset,label\nc,s,"{path}",1,5,x\n', newline="")
    with pytest.raises(InputError, match="row [23]: path .* climbs out of its folder"):
        read("manifest", annotations=tmp_path / "clips.csv")


@pytest.mark.parametrize("path", ["/etc", "file:///etc", "s3://bucket/x"])
def test_a_manifest_with_a_root_stays_below_it(tmp_path, path):
    (tmp_path / "clips.csv").write_text(f"clip_id,subject,path,onset,offset,label\nc,s,{path},1,5,x\n")
    write_frames(tmp_path / "root/a", {1: "1.png"})
    with pytest.raises(InputError, match="is not below root"):
        read("manifest", annotations=tmp_path / "clips.csv", root=tmp_path / "root")


def attempt(name, data: bytes, root) -> None:
    """A result or a documented error, nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations"
        path.write_bytes(data)
        needs = not name.startswith("smic-") or name.startswith("smic-e")
        for given_root in (None, root):
            try:
                reading = read(name, annotations=path if needs else None, root=given_root)
            except InputError as error:
                assert error.problem and error.cure
            else:
                assert isinstance(reading, Reading)
                for clip in reading.clips:
                    assert clip.onset <= clip.offset and "\0" not in clip.path and ".." not in clip.path.split("/")


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2050, 1, 1)),
    st.sampled_from(
        ["01", "EP01", "s1_ne_01", "1", "5", "9", "/", "others", "surprise", "I", "VII", "Micro - 1/2", "Macro"]
    ),
    st.sampled_from(
        ATTACKS + ["=A1", "nan", "\u2167", "micro-expression", "Macro-expression", "disgust1_1", "00", "-1", "1e9"]
    ),
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=12),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_frames(folder / "sub01/EP01", {n: f"img{n}.jpg" for n in range(1, 12)})
    write_frames(folder / "HS/s1/micro/negative/s1_ne_01", {n: f"image{n:06d}.bmp" for n in range(1, 5)})
    return str(folder)


@pytest.mark.parametrize("name", list(HEADERS))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_cells_under_the_right_header(name, tree, data):
    header = HEADERS[name]
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        if name in ("manifest", "megc2019"):
            lines = [header, *rows]
            content = "\n".join(",".join("" if cell is None else str(cell) for cell in line) for line in lines).encode()
        else:
            write_table(path, name, rows)
            content = path.read_bytes()
    attempt(name, content, tree)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PAR1", b"Subject,"]),
)
def test_random_bytes(name, tree, data, start):
    attempt(name, start + data, tree)


@cache
def sound_workbook(kind: str) -> bytes:
    """One workbook a format, made once: hypothesis needs the same bytes in every example."""
    rows = [HEADERS["casme3-a-macro"], *[good_row(HEADERS["casme3-a-macro"])] * 3]
    with tempfile.TemporaryDirectory() as folder:
        write = {"xlsx": write_xlsx, "xls": write_xls}[kind]
        return Path(write(Path(folder) / "a", {"AU+Emotion": rows})).read_bytes()


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0.01, 1),
)
def test_a_workbook_with_random_damage(kind, tree, damage, kept):
    content = bytearray(sound_workbook(kind))
    for place, byte in damage:
        content[int(place * len(content))] = byte
    attempt("casme3-a-macro", bytes(content[: max(1, int(kept * len(content)))]), tree)


def test_unknown_names_and_options_are_errors():
    with pytest.raises(InputError, match="unknown data set 'casme9'; known|unknown data set 'casme9'"):
        read("casme9")
    with pytest.raises(InputError, match="casme2 has no option layout; it has frames, objective, apex, corrections"):
        read("casme2", annotations="x", layout="auto")
    with pytest.raises(InputError, match="is no path"):
        read("casme2", annotations="")
    for name in NAMES:
        assert "apex" in options_of(name)
        needs = "root" if name.startswith("smic-") and not name.startswith("smic-e") else "annotations"
        with pytest.raises(InputError, match=f"^{needs}: "):
            read(name)
