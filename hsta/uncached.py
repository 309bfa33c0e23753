"""A local file written past the page cache, for shards. See `hsta.storage.scratch`."""

from __future__ import annotations

import errno
import mmap
import os


class UncachedFile:
    """A file for writing whose content does not stay in memory: finding pages for what nobody reads soon takes more
    processor time than writing it. Written in blocks, from one buffer.

    Args:
        descriptor: opened with O_DIRECT; closed with this.
    """

    BLOCK, PIECE = 4096, 1 << 20

    def __init__(self, descriptor: int):
        self._buffer = mmap.mmap(-1, self.PIECE)  # begins with a page, as O_DIRECT wants it
        self._descriptor = descriptor
        self._begins = self._filled = 0  # where the buffer's content lies in the file, and how long it is

    def write(self, data: bytes) -> int:
        """Append bytes."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            count = min(self.PIECE - self._filled, len(view) - done)
            self._buffer[self._filled : self._filled + count] = view[done : done + count]
            self._filled += count
            done += count
            if self._filled == self.PIECE:
                self._put(self.PIECE)
                self._begins, self._filled = self._begins + self.PIECE, 0
        return done

    def flush(self) -> None:
        """Have the file hold all that was written, and nothing else."""
        self._put(-(-self._filled // self.BLOCK) * self.BLOCK)
        os.ftruncate(self._descriptor, self.tell())

    def tell(self) -> int:
        """Bytes written so far."""
        return self._begins + self._filled

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close the file, which goes unless it has been given a name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._buffer.close()

    def __enter__(self) -> UncachedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _put(self, count: int) -> None:
        with memoryview(self._buffer) as whole, whole[:count] as piece:
            if count and os.pwrite(self._descriptor, piece, self._begins) < count:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
