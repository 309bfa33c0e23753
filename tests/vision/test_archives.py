"""Archives. If these fail, clips that lie in a zip or tar cannot be prepared, or a damaged one ends a run."""

import io
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from hsta.vision.archives import is_tar, split_archive
from hsta.vision.errors import ClipError
from hsta.vision.frames import MISSING, ClipReader, FrameFiles, read_clip


def jpeg(number: int) -> bytes:
    image = np.full((40, 40, 3), number, np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


FILES = {f"s01/EP02/img{number}.jpg": jpeg(number) for number in range(1, 9)} | {
    "s01/EP03/img3.jpg": jpeg(33),
    "readme.txt": b"x",
}


def write_archive(path, files) -> str:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        kind = {"tar": "w", "gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}[path.name.rpartition(".")[2]]
        with tarfile.open(path, kind) as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_frames_of_a_folder_in_an_archive(tmp_path, name):
    path = write_archive(tmp_path / name, FILES)
    reader = ClipReader(())
    stored = reader.read(f"{path}/s01/EP02", 2, 5)
    assert isinstance(stored, FrameFiles) and stored.numbers == (2, 3, 4, 5)
    assert stored.contents == tuple(FILES[f"s01/EP02/img{number}.jpg"] for number in range(2, 6))
    assert reader.read(f"{path}/s01/EP03", 3, 3).contents == (FILES["s01/EP03/img3.jpg"],)
    with pytest.raises(ClipError) as caught:
        reader.read(f"{path}/s01/EP02", 5, 12)
    assert caught.value.reason == "missing-frame"
    with pytest.raises(ClipError) as caught:
        reader.read(f"{path}/s02", 5, 12)
    assert caught.value.reason == "missing-folder"


def test_an_archive_of_one_clip_needs_no_folder_name(tmp_path):
    path = write_archive(tmp_path / "EP02.zip", {name: data for name, data in FILES.items() if "EP02" in name})
    assert read_clip(path, 1, 8).numbers == tuple(range(1, 9))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar"])
def test_a_damaged_archive_is_a_reason(tmp_path, name):
    path = write_archive(tmp_path / name, FILES)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 3])
    with pytest.raises(ClipError) as caught:
        read_clip(f"{path}/s01/EP02", 1, 8)
    assert caught.value.reason in ("unreadable-archive", "missing-frame")
    (tmp_path / name).write_bytes(b"not an archive at all")
    with pytest.raises(ClipError) as caught:
        read_clip(f"{path}/s01/EP02", 1, 8)
    assert caught.value.reason == "unreadable-archive"


def test_a_changed_archive_has_another_fingerprint(tmp_path):
    path = write_archive(tmp_path / "a.zip", FILES)
    before = ClipReader(()).fingerprint(f"{path}/s01/EP02", 1, 8)
    assert before == ClipReader(()).fingerprint(f"{path}/s01/EP02", 1, 8) != MISSING
    write_archive(tmp_path / "a.zip", {**FILES, "more.jpg": jpeg(1)})
    assert ClipReader(()).fingerprint(f"{path}/s01/EP02", 1, 8) != before
    assert ClipReader(()).fingerprint(f"{tmp_path}/none.zip", 1, 8) == MISSING


def test_paths_into_archives():
    assert split_archive("s3://b/all.zip/s01/EP02") == ("s3://b/all.zip", "s01/EP02")
    assert split_archive("/a/EP02.tar.gz") == ("/a/EP02.tar.gz", "")
    assert split_archive("/a/EP02") is None and split_archive("/a/zip/x.avi") is None
    assert is_tar("/a/x.tgz/s01") and not is_tar("/a/x.zip/s01")
