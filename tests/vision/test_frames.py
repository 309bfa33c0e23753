"""If these fail, clips are made of wrong, missing or damaged frames and nobody is told."""

from __future__ import annotations

import struct
import zipfile
import zlib

import cv2
import fsspec
import numpy as np
import pytest

from hsta.vision.errors import REASONS, ClipError
from hsta.vision.frames import FrameFiles, decode_frames, frame_number, read_clip


def picture(number: int, size: tuple[int, int] = (40, 48)) -> np.ndarray:
    """A flat picture whose grey value is twice its frame number."""
    return np.full((*size, 3), 2 * number, np.uint8)


def write(folder, name, image):
    folder.mkdir(exist_ok=True)
    assert cv2.imwrite(str(folder / name), image)


@pytest.fixture
def folder(tmp_path):
    for number in range(8, 14):
        write(tmp_path / "clip", f"img{number}.png", picture(number))
    return tmp_path / "clip"


def rejected(path, onset, offset, **options) -> ClipError:
    with pytest.raises(ClipError) as caught:
        list(decode_frames(read_clip(str(path), onset, offset, **options)))
    assert caught.value.reason in REASONS
    return caught.value


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("img9.jpg", 9),
        ("reg_img12.jpg", 12),
        ("a/b/006_05562.jpg", 5562),
        ("image056385.bmp", 56385),
        ("00000.PNG", 0),
        ("img9.txt", None),
        ("cover.jpg", None),
    ],
)
def test_frame_numbers_are_the_trailing_integer(name, number):
    assert frame_number(name) == number


def test_frames_come_in_numeric_order_without_those_outside(folder):
    write(folder, "cover.jpg", picture(1))
    frames = list(decode_frames(read_clip(str(folder), 9, 12)))
    assert [number for number, _ in frames] == [9, 10, 11, 12]
    assert [int(image[0, 0, 0]) for _, image in frames] == [18, 20, 22, 24]
    assert frames[0][1].shape == (40, 48, 3) and frames[0][1].dtype == np.uint8


def test_channels_are_rgb(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    write(tmp_path / "clip", "1.png", red)
    [(_, image)] = decode_frames(read_clip(str(tmp_path / "clip"), 1, 1))
    assert tuple(image[0, 0]) == (200, 0, 0)


def test_grayscale_is_repeated_and_recorded(tmp_path):
    for number in (1, 2):
        write(tmp_path / "clip", f"{number}.jpg", np.full((16, 16), 90, np.uint8))
    stored = read_clip(str(tmp_path / "clip"), 1, 2)
    assert isinstance(stored, FrameFiles) and stored.grayscale
    assert all(image.shape == (16, 16, 3) for _, image in decode_frames(stored))


def test_missing_frames_are_named(folder):
    (folder / "img10.png").unlink()
    (folder / "img11.png").unlink()
    error = rejected(folder, 9, 15)
    assert error.reason == "missing-frame" and "4 of 7" in error.detail and "10-11, 14-15" in error.detail


def test_a_part_of_the_frames_may_be_missing_by_name_but_not_the_ends(folder):
    (folder / "img10.png").unlink()
    assert read_clip(str(folder), 9, 13, max_missing=0.2).numbers == (9, 11, 12, 13)
    assert rejected(folder, 9, 13, max_missing=0.19).reason == "missing-frame"
    assert rejected(folder, 10, 13, max_missing=0.5).reason == "missing-frame"
    assert rejected(folder, 9, 10, max_missing=0.5).reason == "missing-frame"


def test_missing_folder_and_folder_without_images(tmp_path):
    assert rejected(tmp_path / "nowhere", 1, 2).reason == "missing-folder"
    (tmp_path / "empty").mkdir()
    assert rejected(tmp_path / "empty", 1, 2).reason == "missing-folder"


def test_two_files_of_one_number(folder):
    write(folder, "img010.png", picture(10))
    error = rejected(folder, 9, 12)
    assert error.reason == "wrong-frame-order" and "img010.png and img10.png" in error.detail


def test_size_that_changes(folder):
    write(folder, "img11.png", picture(11, (40, 49)))
    error = rejected(folder, 9, 12)
    assert error.reason == "frame-size-changed" and "img11.png" in error.detail


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_unreadable_files_are_named(folder, content):
    (folder / "img10.png").write_bytes(content)
    error = rejected(folder, 9, 12)
    assert error.reason == "unreadable-frame" and "img10.png" in error.detail


def test_a_truncated_jpeg_is_not_decoded_as_grey(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    write(tmp_path / "clip", "1.jpg", noise)
    path = tmp_path / "clip" / "1.jpg"
    path.write_bytes(path.read_bytes()[:-700])
    assert cv2.imread(str(path)) is not None  # OpenCV alone says nothing
    error = rejected(tmp_path / "clip", 1, 1)
    assert error.reason == "unreadable-frame" and "truncated" in error.detail


def test_sixteen_bits_are_refused(tmp_path):
    write(tmp_path / "clip", "1.png", np.full((8, 8), 40_000, np.uint16))
    assert rejected(tmp_path / "clip", 1, 1).reason == "unsupported-bit-depth"


def test_huge_dimensions_are_refused_before_decoding(tmp_path):
    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (body, b"IEND")
    )
    (tmp_path / "1.png").write_bytes(data)
    assert rejected(tmp_path, 1, 1).reason == "frame-too-large"


def test_onset_after_offset(folder):
    assert rejected(folder, 12, 9).reason == "wrong-frame-order"


def test_folders_in_memory_and_in_archives(folder, tmp_path):
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        for path in folder.iterdir():
            memory.pipe_file(f"/frames/{path.name}", path.read_bytes())
            archive.write(path, f"clip/{path.name}")
    for url in ("memory://frames", f"{tmp_path}/clips.zip/clip", f"file://{folder}"):
        assert [int(image[0, 0, 0]) for _, image in decode_frames(read_clip(url, 9, 11))] == [18, 20, 22]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(100):
        writer.write(picture(number, (48, 64)))
    writer.release()
    return path


def values(path, onset, offset):
    """Frame numbers and the numbers that the pictures show (the codec darkens these greys by 4/3)."""
    frames = decode_frames(read_clip(path, onset, offset))
    return [(number, round((float(image.mean()) + 4 / 3) / 2)) for number, image in frames]


def test_videos_give_the_frames_asked_for(video):
    assert values(str(video), 40, 44) == [(n, n) for n in range(40, 45)]
    fsspec.filesystem("memory").pipe_file("/v/long.avi", video.read_bytes())
    assert values("memory://v/long.avi", 97, 99) == [(n, n) for n in range(97, 100)]


def test_a_truncated_video_is_missing_frames(video):
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    error = rejected(video, 90, 95)
    assert error.reason in ("missing-frame", "unreadable-video") and "long.avi" in error.detail
    assert rejected(video, 98, 102).reason in ("missing-frame", "unreadable-video")


def test_offset_beyond_the_video(video):
    error = rejected(video, 95, 104)
    assert error.reason == "missing-frame" and "100 frames" in error.detail and "104" in error.detail


def test_missing_and_broken_video(tmp_path):
    assert rejected(tmp_path / "no.mp4", 0, 5).reason == "missing-folder"
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 1000)
    assert rejected(tmp_path / "bad.mp4", 0, 5).reason == "unreadable-video"
