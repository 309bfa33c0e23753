"""One video read front to back: many clips are intervals of it, and every frame is decoded once.

decord's random access returns wrong frames for some files (H.264 in AVI, open groups of pictures), so a recording is
only ever read from its first frame on, up to the last frame that a clip needs. Where intervals overlap, the frames that
they share are kept, up to `KEEP_BYTES`; beyond that the recording is read again from its start.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hsta import storage
from hsta.vision.errors import ClipError
from hsta.vision.limits import check_size

if TYPE_CHECKING:
    from decord import VideoReader
    from decord.ndarray import NDArray

KEEP_BYTES = 256 << 20


class Recording:
    """A video of which intervals are asked for, best in the order of their onsets.

    Args:
        file: the video on this machine's disk; it is closed when the recording goes.
        name: what messages call it.
        spans: (onset, offset) of all intervals that will be asked for, frame indices from 0, inclusive.
        decoded: called with the number of frames just decoded.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        spans: Iterable[tuple[int, int]],
        decoded: Callable[[int], None] = lambda frames: None,
    ):
        self._file, self.name = file, name
        weakref.finalize(self, file.close)
        self._pending = sorted(spans)
        self._reader: VideoReader | None = None
        self._position = 0  # of the next frame that the reader gives
        self._kept: dict[int, np.ndarray] = {}
        self._decoded = decoded

    def frames(self, onset: int, offset: int) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of one interval: (index, (H, W, 3) uint8 RGB). A caller may stop early.

        Raises:
            ClipError: unreadable-video; missing-frame (fewer frames than the offset asks for, as in a truncated AVI);
                frame-too-large.
        """
        count = len(self._open())
        if offset >= count:
            asked = f"{max(onset, count)} to {offset}" if max(onset, count) < offset else f"{offset}"
            raise ClipError("missing-frame", f"{self.name} has {count} frames, 0 to {count - 1}; {asked} are asked for")
        if (onset, offset) in self._pending:
            self._pending.remove((onset, offset))
        for index in range(onset, offset + 1):
            frame = self._frame(index)
            self._forget(index + 1, offset)
            yield index, frame

    def _frame(self, index: int) -> np.ndarray:
        if index in self._kept:
            return self._kept[index]
        if index < self._position:
            self._reader, self._position = None, 0
        while True:
            frame = self._next()
            here = self._position - 1
            if here == index:
                pixels = frame.asnumpy()
                self._keep(index, pixels)
                return pixels

    def _next(self) -> NDArray:
        from decord import DECORDError

        reader = self._open()
        try:
            frame = reader.next()
        except (DECORDError, RuntimeError, StopIteration) as error:
            problem = f"{self.name} breaks off at frame {self._position}: {_first_line(error)}"
            raise ClipError("unreadable-video", problem) from None
        if self._position == 0:
            check_size(self.name, frame.shape[1], frame.shape[0])
        self._position += 1
        self._decoded(1)
        return frame

    def _keep(self, index: int, frame: np.ndarray) -> None:
        """Keep a frame that another interval needs, too, while there is room."""
        wanted = any(onset <= index <= offset for onset, offset in self._pending)
        if wanted and (len(self._kept) + 1) * frame.nbytes <= KEEP_BYTES:
            self._kept[index] = frame

    def _forget(self, start: int, offset: int) -> None:
        """Drop kept frames that no interval needs any more, this one's rest (start..offset) excepted."""
        spans = [*self._pending, (start, offset)]
        for index in [index for index in self._kept if not any(first <= index <= last for first, last in spans)]:
            del self._kept[index]

    def _open(self) -> VideoReader:
        from decord import DECORDError, VideoReader, cpu

        if self._reader is None:
            try:
                self._reader = VideoReader(storage.local_name(self._file), ctx=cpu(0), num_threads=1)
            except (DECORDError, RuntimeError) as error:
                raise ClipError("unreadable-video", f"{self.name} cannot be opened: {_first_line(error)}") from None
        return self._reader


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
