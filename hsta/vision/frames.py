"""The frames of a clip: read as stored, checked, decoded one by one.

Reading and decoding are apart so that reads from object storage can overlap with computing, and so that memory holds
the compressed clip and one decoded frame, not all of them. Only the frames onset..offset are read (folders, archives)
or kept (videos). A `ClipReader` serves several clips: what they share is listed, fetched or opened once.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hsta import storage
from hsta.vision.archives import Archive, is_tar, split_archive
from hsta.vision.errors import ClipError
from hsta.vision.image_header import DamagedImage, ImageHeader, read_header
from hsta.vision.limits import check_size
from hsta.vision.recordings import Recording

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
MISSING = "missing"  # the fingerprint of a source that is not there
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
    """Frames of a video: their numbers, without a gap, and the recording to decode them from."""

    numbers: tuple[int, ...]
    recording: Recording


def is_video(path: str) -> bool:
    """Whether ``path`` names a video file, by its suffix."""
    return path.lower().endswith(VIDEO_SUFFIXES)


def read_once_container(path: str) -> str | None:
    """The video or tar that has to be read from its start to reach the clip, so that its clips are best prepared
    together; None where each clip can be read by itself (folders, zips)."""
    if is_video(path):
        return path
    return split_archive(path)[0] if is_tar(path) else None


def frame_number(name: str) -> int | None:
    """The frame number of an image file: the trailing integer of its name without suffix; None where there is none.

    ``img9.jpg`` 9, ``reg_img12.jpg`` 12, ``006_05562.jpg`` 5562, ``image056385.bmp`` 56385.
    """
    stem, suffix = posixpath.splitext(posixpath.basename(name))
    match = _TRAILING_INTEGER.search(stem) if suffix.lower() in IMAGE_SUFFIXES else None
    return int(match.group(1)) if match else None


def read_clip(path: str, onset: int, offset: int, *, max_missing: float = 0.0) -> FrameFiles | VideoFile:
    """Read the files that hold frames onset..offset, inclusive. No pixel is decoded. See `ClipReader`."""
    return ClipReader([(path, onset, offset)], max_missing=max_missing).read(path, onset, offset)


def decode_frames(clip: FrameFiles | VideoFile) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a clip's frames in order: (frame number, (H, W, 3) uint8 RGB). Grayscale is repeated to three channels.

    Raises:
        ClipError: unreadable-frame, unreadable-video, missing-frame (a video with fewer frames than the offset asks
            for, as a truncated AVI has), frame-too-large.
    """
    if isinstance(clip, VideoFile):
        return clip.recording.frames(clip.numbers[0], clip.numbers[-1])
    return _decode_files(clip)


class ClipReader:
    """Reads clips one after another.

    Args:
        spans: (path, onset, offset) of every clip that will be read, so that a recording knows what is still to come.
        max_missing: the largest part of a clip's frames that may be missing between onset and offset, which may not; the
            others are then its frames. Not for videos.

    Attributes:
        decoded: video frames decoded so far.
    """

    def __init__(self, spans: Iterable[tuple[str, int, int]], *, max_missing: float = 0.0):
        self._spans, self._max_missing = tuple(spans), max_missing
        self.decoded = 0
        self._container: tuple[str, storage.Entry] | None = None
        self._listed: tuple[str, dict[int, list[storage.Entry]] | ClipError] | None = None
        self._archive: Archive | None = None
        self._recording: Recording | None = None

    def fingerprint(self, path: str, onset: int, offset: int) -> str:
        """What tells versions of a clip's source apart: names, sizes and ETags or times of its frames' files; of the
        whole file for videos and archives. `MISSING` where there is nothing. No content is read.
        """
        archive = split_archive(path)
        try:
            if is_video(path) or archive:
                url = archive[0] if archive else path
                entry = storage.entry(url)
                self._container = (url, entry)
                facts = [(entry.size, entry.version)]
            else:
                frames = self._frames_of_folder(path)
                found = [entry for number in range(onset, offset + 1) for entry in frames.get(number, ())]
                facts = [(posixpath.basename(entry.path), entry.size, entry.version) for entry in found]
        except (FileNotFoundError, ClipError):
            return MISSING
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]

    def read(self, path: str, onset: int, offset: int) -> FrameFiles | VideoFile:
        """Read the files that hold frames onset..offset, inclusive. No pixel is decoded.

        Args:
            path: a folder of image files, a video, or a zip or tar of image files (or a folder in it, ``all.zip/s01``);
                a local path or any fsspec URL.
            onset, offset: frame numbers as in the file names, or indices from 0 (videos).

        Raises:
            ClipError: missing-folder, missing-frame, wrong-frame-order, unreadable-frame, unsupported-bit-depth,
                frame-too-large, frame-size-changed, unreadable-archive. For a video, whose content is checked when
                decoded, missing-folder.
            OSError, InputError: storage that fails; it says nothing about the clip.
        """
        numbers = tuple(range(onset, offset + 1))
        if not numbers:
            raise ClipError("wrong-frame-order", f"onset {onset} is after offset {offset}")
        if is_video(path):
            return VideoFile(numbers, self._open_recording(path))
        archive = split_archive(path)
        if archive:
            opened = self._open_archive(archive[0])
            frames = _by_number(opened.names(archive[1]), path)
            return _frame_files(path, self._present(path, numbers, frames), frames, opened.read_many)
        listed = self._frames_of_folder(path)
        by_name = {entry.path: entry for entries in listed.values() for entry in entries}
        frames = {number: [entry.path for entry in entries] for number, entries in listed.items()}

        def read_many(names: Sequence[str]) -> list[bytes]:
            return storage.read_many(path, [by_name[name] for name in names])

        return _frame_files(path, self._present(path, numbers, frames), frames, read_many)

    def _present(self, path: str, numbers: tuple[int, ...], frames: dict[int, list[str]]) -> tuple[int, ...]:
        """Those of the frames wanted that there are. Raises ClipError where too many are missing."""
        missing = [number for number in numbers if number not in frames]
        bounds = {numbers[0], numbers[-1]}
        if not bounds.isdisjoint(missing) or len(missing) > self._max_missing * len(numbers):
            raise ClipError(
                "missing-frame",
                f"{len(missing)} of {len(numbers)} frames are not in {path}: {_spans(missing)}; "
                f"the folder has {min(frames)} to {max(frames)}",
            )
        return tuple(number for number in numbers if number in frames)

    def _frames_of_folder(self, path: str) -> dict[int, list[storage.Entry]]:
        """The image files of a folder by frame number; listed once for clips in a row."""
        if self._listed is None or self._listed[0] != path:
            self._listed = (path, _list_folder(path))
        if isinstance(self._listed[1], ClipError):
            raise self._listed[1]
        return self._listed[1]

    def _open_recording(self, path: str) -> Recording:
        if self._recording is None or self._recording.name != path:
            self._recording = None
            spans = [(onset, offset) for other, onset, offset in self._spans if other == path]
            try:
                self._recording = Recording(storage.local_copy(path), path, spans, self._count)
            except (FileNotFoundError, IsADirectoryError):
                raise ClipError("missing-folder", f"no such video: {path}") from None
        return self._recording

    def _count(self, frames: int) -> None:
        self.decoded += frames

    def _open_archive(self, url: str) -> Archive:
        if self._archive is None or self._archive.url != url:
            if self._archive is not None:
                self._archive.close()
            self._archive = None
            known = self._container[1] if self._container and self._container[0] == url else None
            try:
                self._archive = Archive(url, known)
            except FileNotFoundError:
                raise ClipError("missing-folder", f"no such archive: {url}") from None
        return self._archive


def _list_folder(path: str) -> dict[int, list[storage.Entry]] | ClipError:
    try:
        entries = {entry.path: entry for entry in storage.listing(path)}
        frames = _by_number(list(entries), path)
    except (FileNotFoundError, NotADirectoryError):
        return ClipError("missing-folder", f"no such folder: {path}")
    except ClipError as error:
        return error
    return {number: [entries[name] for name in names] for number, names in frames.items()}


def _by_number(names: Sequence[str], path: str) -> dict[int, list[str]]:
    frames: dict[int, list[str]] = {}
    for name in names:
        number = frame_number(name)
        if number is not None:
            frames.setdefault(number, []).append(name)
    if not frames:
        raise ClipError(
            "missing-folder", f"no image file with a frame number in {path} (known: {', '.join(IMAGE_SUFFIXES)})"
        )
    return frames


def _frame_files(
    path: str,
    numbers: tuple[int, ...],
    frames: dict[int, list[str]],
    read_many: Callable[[Sequence[str]], list[bytes]],
) -> FrameFiles:
    """Read and check frames, out of those that there are."""
    for number in numbers:
        if len(frames[number]) > 1:
            twins = " and ".join(sorted(posixpath.basename(name) for name in frames[number]))
            raise ClipError("wrong-frame-order", f"frame {number} is claimed by {twins} in {path}")
    names = tuple(frames[number][0] for number in numbers)
    contents = tuple(read_many(names))
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
    check_size(name, header.width, header.height)
    if header.bits > 8:
        raise ClipError(
            "unsupported-bit-depth",
            f"{name} has {header.bits} bits a channel; convert the frames to 8 bits (a depth map is no face)",
        )
    return header


def _decode_files(clip: FrameFiles) -> Iterator[tuple[int, np.ndarray]]:
    for number, name, content in zip(clip.numbers, clip.names, clip.contents):
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ClipError("unreadable-frame", f"{name} cannot be decoded")
        yield number, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


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
