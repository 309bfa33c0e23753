"""Without these checks a damaged frame is trained on as grey pixels, or a false header exhausts the memory."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from hsta.vision.image_header import DamagedImage, ImageHeader, read_header

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 2)


def encode(image, suffix, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(COLOUR, ".jpg"), ImageHeader(64, 48, 3, 8)),
        (encode(COLOUR, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), ImageHeader(64, 48, 3, 8)),
        (encode(COLOUR, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2), ImageHeader(64, 48, 3, 8)),
        (encode(COLOUR[..., 0], ".jpg"), ImageHeader(64, 48, 1, 8)),
        (encode(COLOUR, ".png"), ImageHeader(64, 48, 3, 8)),
        (encode(COLOUR[..., 0].astype(np.uint16) * 257, ".png"), ImageHeader(64, 48, 1, 16)),
        (encode(COLOUR, ".bmp"), ImageHeader(64, 48, 3, 8)),
        (encode(COLOUR[..., 0], ".bmp"), ImageHeader(64, 48, 1, 8)),
    ],
)
def test_reads_what_opencv_writes(data, expected):
    assert read_header(data) == expected


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_every_truncation_is_found(suffix):
    data = encode(COLOUR, suffix)
    for length in range(0, len(data) - 1, max(len(data) // 97, 1)):
        with pytest.raises(DamagedImage):
            read_header(data[:length])


def test_the_end_mark_of_an_embedded_thumbnail_does_not_hide_a_truncation():
    data, thumbnail = encode(COLOUR, ".jpg"), encode(COLOUR[:8, :8], ".jpg")
    block = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert read_header(data[:2] + block + data[2:]) == ImageHeader(64, 48, 3, 8)
    with pytest.raises(DamagedImage, match="truncated"):
        read_header(data[:2] + block + data[2:-300])


def test_bytes_after_the_end_are_no_damage():
    assert read_header(encode(COLOUR, ".jpg") + b"\0" * 100).width == 64


def test_a_changed_byte_in_a_png_is_found():
    data = bytearray(encode(COLOUR, ".png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(DamagedImage, match="checksum"):
        read_header(bytes(data))


def test_a_false_size_is_read_without_decoding():
    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [body, b"IDAT", b"IEND"]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    assert (read_header(data).width, read_header(data).height) == (60_000, 60_000)


@pytest.mark.parametrize("data", [b"", b"hello, this is no image", b"GIF89a" + b"\0" * 50])
def test_other_content_is_refused(data):
    with pytest.raises(DamagedImage):
        read_header(data)
