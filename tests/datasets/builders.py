"""Tiny trees in the layout of each data set: solid frames whose grey value is the frame number, and annotation files to
match."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import openpyxl

from hsta.vision.frames import decode_frames, read_clip


def write_frames(folder: Path, names: Mapping[int, str] | Iterable[str]) -> Path:
    """8 x 8 frames, one a name; a mapping gives the number that each shows, else it is the name's trailing integer."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(names, Mapping):
        names = {int("".join(filter(str.isdigit, name.rpartition("_")[2]))): name for name in names}
    for number, name in names.items():
        assert cv2.imwrite(str(folder / name), np.full((8, 8), number % 256, np.uint8))
    return folder


def write_depth(folder: Path, numbers: Iterable[int]) -> None:
    """16-bit depth maps, zero where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        depth = np.full((8, 8), 900, np.uint16)
        depth[:2] = 0
        assert cv2.imwrite(str(folder / f"{number}.png"), depth)


def shown(clip) -> list[int]:
    """What the frames onset..offset show, read as `prepare` reads them."""
    frames = decode_frames(read_clip(clip.path, clip.onset, clip.offset))
    return [round(float(picture.mean())) for _, picture in frames]


def write_xlsx(path: Path, sheets: Mapping[str, Sequence[Sequence]]) -> str:
    """A workbook; cells that begin with "=" are formulas, which openpyxl saves without a result."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return str(path)


def write_csv(path: Path, rows: Sequence[Sequence]) -> str:
    """The same rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows))
    return str(path)


def write_xls(path: Path, sheets: Mapping[str, Sequence[Sequence]]) -> str:
    """A BIFF8 workbook of text and number cells, in a compound file, as old Excel wrote them ([MS-XLS], [MS-CFB])."""
    bodies = [_sheet_records(rows) for rows in sheets.values()]
    bound = [_record(0x85, struct.pack("<IBBBB", 0, 0, 0, len(name), 0) + name.encode("latin-1")) for name in sheets]
    start = len(_bof(0x05)) + sum(map(len, bound)) + len(_record(0x0A, b""))
    stream = _bof(0x05)
    for record, body in zip(bound, bodies, strict=True):
        stream += record[:4] + struct.pack("<I", start) + record[8:]
        start += len(body)
    stream += _record(0x0A, b"") + b"".join(bodies)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_compound(stream))
    return str(path)


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def _bof(kind: int) -> bytes:
    return _record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 1997, 0, 0x600))


def _sheet_records(rows: Sequence[Sequence]) -> bytes:
    width = max((len(row) for row in rows), default=0)
    records = [_bof(0x10), _record(0x200, struct.pack("<IIHHH", 0, len(rows), 0, width, 0))]
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            if isinstance(cell, str):
                data = struct.pack("<HHHHB", r, c, 0, len(cell), 0) + cell.encode("latin-1")
                records.append(_record(0x204, data))
            elif cell is not None:
                records.append(_record(0x203, struct.pack("<HHHd", r, c, 0, cell)))
    return b"".join([*records, _record(0x0A, b"")])


def _compound(stream: bytes) -> bytes:
    """One stream, ``Workbook``, of at least 4096 bytes, in sectors of 512 from sector 2 on; sector 0 the FAT, 1 the
    directory."""
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    count = len(stream) // 512
    assert count + 2 <= 128, "one FAT sector is enough for tests"
    fat = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, count + 2), 0xFFFFFFFE]
    fat += [0xFFFFFFFF] * (128 - len(fat))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)

    def entry(name: str, kind: int, child: int, first: int, size: int) -> bytes:
        coded = name.encode("utf-16-le") + b"\0\0" if name else b""
        data = coded.ljust(64, b"\0") + struct.pack("<HBBIII", len(coded), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
        return data + bytes(36) + struct.pack("<IQ", first, size)

    directory = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("Workbook", 2, 0xFFFFFFFF, 2, len(stream))
    directory += 2 * entry("", 0, 0xFFFFFFFF, 0, 0)
    return header + struct.pack("<128I", *fat) + directory + stream


def reasons(reading) -> dict[str, str]:
    """Exclusions: reason by clip id."""
    return {one.clip_id: one.reason for one in reading.exclusions}


def codes(reading) -> set[tuple[str, str]]:
    """Remarks: (clip id, code)."""
    return {(one.clip_id, one.code) for one in reading.remarks}


def by_id(reading) -> dict:
    """Clips by id."""
    return {clip.clip_id: clip for clip in reading.clips}
