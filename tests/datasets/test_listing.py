"""Listing. If these fail, frames are missed, or a store is asked once a frame: a hundred times the bill."""

from __future__ import annotations

import threading
import uuid
from collections import Counter

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hsta.datasets import read
from hsta.datasets.listing import frame_number, list_frames
from hsta.errors import InputError
from hsta.vision import frames as vision
from tests.datasets.builders import write_csv, write_frames

NAMES = [
    "img9.jpg",
    "reg_img12.JPG",
    "006_05562.jpg",
    "image17581039.bmp",
    "EP01_5-007.jpeg",
    "3.png",
    "Thumbs.db",
    "x.jpg",
    "1.txt",
]


class CountingFileSystem(MemoryFileSystem):
    """A store in memory that counts what it is asked; a recursive listing takes a request a page of 1000 names, as
    S3's."""

    protocol = "counting"
    requests: Counter = Counter()
    counting = threading.Lock()  # folders are listed by several threads at once

    def count(self, kind: str, number: int = 1) -> None:
        with self.counting:
            self.requests[kind] += number

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counting://"))

    def ls(self, path, detail=True, **options):
        self.count("ls")
        return super().ls(path, detail=detail, **options)

    def find(self, path, **options):
        found = MemoryFileSystem().find(self._strip_protocol(path), **options)
        self.count("page", max(1, -(-len(found) // 1000)))
        return found

    def info(self, path, **options):
        self.count("head")
        return super().info(path, **options)

    def _open(self, path, *arguments, **options):
        self.count("get")
        return super()._open(path, *arguments, **options)


fsspec.register_implementation("counting", CountingFileSystem, clobber=True)


@pytest.fixture
def store():
    name = f"/{uuid.uuid4().hex}"
    CountingFileSystem.requests.clear()
    yield name
    for path in [path for path in MemoryFileSystem.store if path.startswith(name)]:
        del MemoryFileSystem.store[path]


def fill(store, subjects, clips, frames):
    for s in range(subjects):
        for c in range(clips):
            for n in range(frames):
                MemoryFileSystem().pipe_file(f"{store}/sub{s:02d}/EP{c:02d}/img{n}.jpg", b"x")


def test_frame_numbers_are_read_as_preparation_reads_them():
    for name in NAMES:
        assert frame_number(name) == vision.frame_number(name)
    assert frame_number("._img9.jpg") is None  # what macOS leaves beside a picture


@pytest.mark.parametrize("frames", [10, 100])
def test_requests_grow_with_folders_not_with_frames(store, frames):
    fill(store, 20, 5, frames)
    listing = list_frames(f"counting://{store}")
    assert listing.frames == 20 * 5 * frames and len(listing.folders) == 100
    assert CountingFileSystem.requests == {"ls": 1, "page": 20}


def test_a_reading_asks_for_nothing_more(store, tmp_path):
    fill(store, 2, 3, 30)
    header = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"]
    rows = [[f"{s:02d}", f"EP{c:02d}", 1, 5, 9, "others"] for s in range(2) for c in range(3)]
    table = write_csv(tmp_path / "a.csv", [header, *rows])
    reading = read("casme2", annotations=table, root=f"counting://{store}")
    assert len(reading.clips) == 6 and reading.clips[0].path == f"counting://{store}/sub00/EP00"
    assert set(CountingFileSystem.requests) <= {"ls", "page"} and sum(CountingFileSystem.requests.values()) <= 1 + 2 + 6


def test_disk_and_store_give_the_same(store, tmp_path):
    fill(store, 3, 2, 4)
    for s in range(3):
        for c in range(2):
            write_frames(tmp_path / f"sub{s:02d}/EP{c:02d}", {n: f"img{n}.jpg" for n in range(4)})
    on_disk, remote = list_frames(str(tmp_path)), list_frames(f"counting://{store}")
    assert list(on_disk.folders) == list(remote.folders)
    for path, folder in on_disk.folders.items():
        np.testing.assert_array_equal(folder.numbers, remote.folders[path].numbers)


def test_frames_missing_within_and_beyond(tmp_path):
    write_frames(tmp_path / "a", {n: f"img{n}.jpg" for n in (8, 9, 10, 12)})
    folder = list_frames(str(tmp_path)).folders["a"]
    assert folder.numbers.tolist() == [8, 9, 10, 12]
    assert folder.missing(8, 10).tolist() == [] and folder.missing(7, 13).tolist() == [7, 11, 13]
    assert len(folder.missing(0, 10**10)) < 2_000_000  # a hostile interval does not fill the memory


@pytest.mark.parametrize(
    ("root", "said"),
    [("nowhere", "is not there"), ("file.txt", "is not there"), ("empty", "no image file"), ("a\0b", "NUL")],
)
def test_an_unusable_root_is_named(tmp_path, root, said):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty/below").mkdir(parents=True)
    with pytest.raises(InputError, match=said):
        list_frames(f"{tmp_path}/{root}")
