"""The frames of a clip: read as stored, checked, decoded one by one.

Reading and decoding are apart so that reads from object storage can overlap with computing, and so that memory holds the
compressed clip and one decoded frame, not all of them. Only the frames onset..offset are read (folders) or kept (videos).
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from hsta import storage
from hsta.vision.errors import ClipError
from hsta.vision.image_header import DamagedImage, ImageHeader, read_header

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
MAX_PIXELS = 40_000_000  # 8K video has 33 million
_TRAILING_INTEGER = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Frames as image files: number, name, content and header of each, in the order of the numbers."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    contents: tuple[bytes, ...]
    headers: tuple[ImageHeader, ...]

    @property
    def grayscale(self) -> bool:
        """Whether every frame has one channel only; it is then repeated to make three."""
        return all(header.channels == 1 for header in self.headers)


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video and the numbers of the frames wanted of it. ``source`` is a local path, or the file's content."""

    numbers: tuple[int, ...]
    name: str
    source: str | bytes


def is_video(path: str) -> bool:
    """Whether ``path`` names a video file, by its suffix."""
    return path.lower().endswith(VIDEO_SUFFIXES)


def frame_number(name: str) -> int | None:
    """The frame number of an image file: the trailing integer of its name without suffix; None where there is none.

    ``img9.jpg`` 9, ``reg_img12.jpg`` 12, ``006_05562.jpg`` 5562, ``image056385.bmp`` 56385.
    """
    stem, suffix = posixpath.splitext(posixpath.basename(name))
    match = _TRAILING_INTEGER.search(stem) if suffix.lower() in IMAGE_SUFFIXES else None
    return int(match.group(1)) if match else None


def read_clip(path: str, onset: int, offset: int) -> FrameFiles | VideoFile:
    """Read the files that hold frames onset..offset, inclusive. No pixel is decoded.

    Args:
        path: a folder of image files or a video, a local path or any fsspec URL.
        onset, offset: frame numbers as in the file names (folders) or indices from 0 (videos).

    Raises:
        ClipError: missing-folder, missing-frame, wrong-frame-order, unreadable-frame, unsupported-bit-depth,
            frame-too-large, frame-size-changed. For a video, whose content is checked when decoded, missing-folder.
    """
    numbers = tuple(range(onset, offset + 1))
    if not numbers:
        raise ClipError("wrong-frame-order", f"onset {onset} is after offset {offset}")
    if not is_video(path):
        return _read_folder(path, numbers)
    fs, place = storage.filesystem(path)
    try:
        if not fs.isfile(place):
            raise FileNotFoundError(path)
        return VideoFile(numbers, path, place if storage.is_local(path) else fs.cat_file(place))
    except FileNotFoundError:
        raise ClipError("missing-folder", f"no such video: {path}") from None


def _read_folder(path: str, numbers: tuple[int, ...]) -> FrameFiles:
    fs, place = storage.filesystem(path)
    try:
        listing = fs.ls(place, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        raise ClipError("missing-folder", f"no such folder: {path}") from None
    files: dict[int, list[str]] = {}
    for name in listing:
        number = frame_number(name)
        if number is not None:
            files.setdefault(number, []).append(name)
    if not files:
        raise ClipError("missing-folder", f"no image file with a frame number in {path} (known: {', '.join(IMAGE_SUFFIXES)})")
    missing = [number for number in numbers if number not in files]
    if missing:
        raise ClipError(
            "missing-frame",
            f"{len(missing)} of {len(numbers)} frames are not in {path}: {_spans(missing)}; "
            f"the folder has {min(files)} to {max(files)}",
        )
    for number in numbers:
        if len(files[number]) > 1:
            twins = " and ".join(sorted(posixpath.basename(name) for name in files[number]))
            raise ClipError("wrong-frame-order", f"frame {number} is claimed by {twins} in {path}")
    names = tuple(files[number][0] for number in numbers)
    by_name = fs.cat(list(names)) if len(names) > 1 else {names[0]: fs.cat_file(names[0])}
    contents = tuple(by_name[name] for name in names)
    headers = tuple(_checked_header(name, content) for name, content in zip(names, contents))
    first = headers[0]
    for name, header in zip(names, headers):
        if (header.width, header.height) != (first.width, first.height):
            raise ClipError(
                "frame-size-changed",
                f"{name} has {header.width}x{header.height} pixels, {posixpath.basename(names[0])} "
                f"{first.width}x{first.height}",
            )
    return FrameFiles(numbers, names, contents, headers)


def _checked_header(name: str, content: bytes) -> ImageHeader:
    try:
        header = read_header(content)
    except DamagedImage as error:
        raise ClipError("unreadable-frame", f"{name} {error}") from None
    _check_size(name, header.width, header.height)
    if header.bits > 8:
        raise ClipError(
            "unsupported-bit-depth", f"{name} has {header.bits} bits a channel; convert the frames to 8 bits (a depth map is no face)"
        )
    return header


def _check_size(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ClipError("unreadable-frame", f"{name} claims {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise ClipError("frame-too-large", f"{name} has {width}x{height} pixels; the most is {MAX_PIXELS // 1_000_000} million")


def decode_frames(clip: FrameFiles | VideoFile) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip's frames in order: (frame number, (H, W, 3) uint8 RGB). Grayscale is repeated to three channels.

    Videos are decoded from their first frame on, whatever the onset: decord's random access returns wrong frames for some
    files (H.264 in AVI, open groups of pictures). It runs single-threaded.

    Raises:
        ClipError: unreadable-frame, unreadable-video, missing-frame (a video with fewer frames than the offset asks for,
            as a truncated AVI has), frame-size-changed, frame-too-large.
    """
    return _decode_files(clip) if isinstance(clip, FrameFiles) else _decode_video(clip)


def _decode_files(clip: FrameFiles) -> Iterator[tuple[int, np.ndarray]]:
    for number, name, content in zip(clip.numbers, clip.names, clip.contents):
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ClipError("unreadable-frame", f"{name} cannot be decoded")
        yield number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _decode_video(clip: VideoFile) -> Iterator[tuple[int, np.ndarray]]:
    from decord import DECORDError, VideoReader, cpu

    source = io.BytesIO(clip.source) if isinstance(clip.source, bytes) else clip.source
    try:
        reader = VideoReader(source, ctx=cpu(0), num_threads=1)
    except (DECORDError, RuntimeError) as error:
        raise ClipError("unreadable-video", f"{clip.name} cannot be opened: {_first_line(error)}") from None
    try:
        count = len(reader)
        missing = [number for number in clip.numbers if number >= count]
        if missing:
            raise ClipError(
                "missing-frame", f"{clip.name} has {count} frames, 0 to {count - 1}; frames {_spans(missing)} are asked for"
            )
        for index in range(clip.numbers[-1] + 1):
            try:
                frame = reader.next()
            except (DECORDError, RuntimeError, StopIteration) as error:
                raise ClipError("unreadable-video", f"{clip.name} breaks off at frame {index}: {_first_line(error)}") from None
            if index == 0:
                height, width = frame.shape[:2]
                _check_size(clip.name, width, height)
            if index >= clip.numbers[0]:
                yield index, frame.asnumpy()
        reader.seek(0)  # drops what decord has decoded ahead
    finally:
        del reader


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _spans(numbers: list[int], most: int = 8) -> str:
    """3, 4, 5, 9 as '3-5, 9'."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:most]]
    return ", ".join(shown + ["..."] * (len(spans) > most))
