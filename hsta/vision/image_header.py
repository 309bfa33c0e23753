"""What an image file says of itself, read without decoding a pixel: JPEG, PNG and BMP.

OpenCV decodes a truncated JPEG silently, with grey where data is missing, and allocates whatever size a header claims.
Therefore every file is checked here first: complete to its end mark, size, channels and bits a channel.
Sources: ITU-T T.81 annex B (JPEG markers), W3C PNG section 5 (chunks), Microsoft BITMAPFILEHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not a stuffed zero, a restart mark or a fill byte
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF marks
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type


class DamagedImage(ValueError):
    """The file is empty, cut short, damaged, or none of JPEG, PNG and BMP."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size in pixels, colour channels (an alpha channel counts) and bits a channel."""

    width: int
    height: int
    channels: int
    bits: int


def read_header(data: bytes) -> ImageHeader:
    """The header of a complete image file. Raises DamagedImage, with what is wrong as its message."""
    if not data:
        raise DamagedImage("is empty (zero bytes)")
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:2] == b"BM":
            return _bmp(data)
    except (struct.error, IndexError):
        raise DamagedImage(f"is truncated ({len(data)} bytes)") from None
    raise DamagedImage("is neither JPEG, PNG nor BMP")


def _jpeg(data: bytes) -> ImageHeader:
    header, place = None, 2
    while True:
        if data[place] != 0xFF:
            raise DamagedImage(f"is damaged: no JPEG mark at byte {place}")
        mark = data[place + 1]
        if mark == 0xFF:  # fill byte
            place += 1
            continue
        if mark == 0xD9:  # end of image
            if header is None:
                raise DamagedImage("is damaged: a JPEG without a frame")
            return header
        (length,) = struct.unpack_from(">H", data, place + 2)
        if mark in _JPEG_FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            header = ImageHeader(width, height, channels, bits)
        place += 2 + length
        if mark == 0xDA:  # start of scan: skip the entropy-coded data
            following = _JPEG_MARKER.search(data, place)
            if following is None:
                raise DamagedImage(f"is truncated: the JPEG ends within its pixels ({len(data)} bytes)")
            place = following.start()


def _png(data: bytes) -> ImageHeader:
    header, place = None, 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, place)
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        if zlib.crc32(data[place + 4 : place + 8 + length]) != checksum:
            raise DamagedImage(f"is damaged: wrong checksum of PNG chunk {kind!r}")
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack_from(">IIBB", data, place + 8)
            header = ImageHeader(width, height, _PNG_CHANNELS.get(colour, 0), bits)
        if kind == b"IEND":
            if header is None:
                raise DamagedImage("is damaged: a PNG without a header")
            return header
        place += 12 + length


def _bmp(data: bytes) -> ImageHeader:
    (start,) = struct.unpack_from("<I", data, 10)
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    if compression in (0, 3) and len(data) < start + (width * depth + 31) // 32 * 4 * height:
        raise DamagedImage(f"is truncated: the BMP ends within its pixels ({len(data)} bytes)")
    return ImageHeader(width, height, 1 if depth <= 8 else depth // 8, 8)
