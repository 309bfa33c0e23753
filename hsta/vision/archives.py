"""Frames inside zip and tar archives: ``EP02.zip``, or a folder within one, ``all.zip/s01/EP02``.

Of a zip only its directory and the members asked for are read; a small one in object storage is fetched whole, by one
request. A tar has no directory: it is copied to this machine's disk once, decompressed, and read from there.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence

from hsta import storage
from hsta.vision.errors import ClipError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_MEMBER_BYTES = 512 << 20
WHOLE_BYTES = 64 << 20  # a remote zip up to this size is fetched whole
_PATH = re.compile(
    r"(.*?(?:%s))(?:/(.*))?$" % "|".join(re.escape(suffix) for suffix in ZIP_SUFFIXES + TAR_SUFFIXES), re.IGNORECASE
)
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    UnicodeDecodeError,
)


def split_archive(path: str) -> tuple[str, str] | None:
    """The archive's path and the folder within it ("" for its top); None where ``path`` names no archive."""
    match = _PATH.match(path)
    return (match.group(1), (match.group(2) or "").strip("/")) if match else None


def is_tar(path: str) -> bool:
    """Whether ``path`` leads into a tar, which can only be read as a whole."""
    split = split_archive(path)
    return split is not None and split[0].lower().endswith(TAR_SUFFIXES)


class Archive:
    """An open archive.

    Args:
        entry: the file's size and version, where the store has been asked for them already.

    Raises:
        FileNotFoundError: it is not there.
        ClipError: unreadable-archive.
    """

    def __init__(self, url: str, entry: storage.Entry | None = None):
        self.url = url
        try:
            if url.lower().endswith(ZIP_SUFFIXES):
                entry = entry or storage.entry(url)
                if entry.size <= WHOLE_BYTES and not storage.is_local(url):
                    self._file = io.BytesIO(storage.read_many(url, [entry])[0])
                else:
                    self._file = storage.open_for_reading(url)
                self._zip = storage.patiently(url, lambda _: zipfile.ZipFile(self._file))
                self._sizes = {info.filename: info.file_size for info in self._zip.infolist() if not info.is_dir()}
            else:
                self._zip = None
                self._file = _plain_tar(url)
                self._tar = tarfile.open(fileobj=self._file, mode="r:")
                self._members = {posixpath.normpath(info.name): info for info in self._tar if info.isfile()}
                self._sizes = {name: info.size for name, info in self._members.items()}
        except _DAMAGE as error:
            raise ClipError("unreadable-archive", f"{url} cannot be opened: {error}") from None

    def names(self, folder: str) -> list[str]:
        """Full names of the files directly in a folder; of the only folder below it where it holds none itself."""
        here = [name for name in self._sizes if posixpath.dirname(name) == folder]
        below = [name for name in self._sizes if not folder or name.startswith(f"{folder}/")]
        if not here and len({posixpath.dirname(name) for name in below}) == 1:
            return below
        return here

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Contents by full name. Raises ClipError: unreadable-archive."""
        try:
            return [storage.patiently(self.url, lambda _: self._read(name)) for name in names]
        except _DAMAGE as error:
            raise ClipError("unreadable-archive", f"{self.url} is damaged: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read(self, name: str) -> bytes:
        if self._sizes[name] > MAX_MEMBER_BYTES:
            raise ClipError("frame-too-large", f"{name} in {self.url} unpacks to {self._sizes[name] >> 20} MiB")
        if self._zip is not None:
            return self._zip.read(name)
        data = self._tar.extractfile(self._members[name]).read()
        if len(data) != self._sizes[name]:
            raise EOFError(f"{name} is cut short")
        return data


def _plain_tar(url: str):
    """The tar as an open file on this machine's disk, decompressed."""
    stored = storage.local_copy(url)
    opener = _OPENERS.get(stored.read(2))
    stored.seek(0)
    if opener is None:
        return stored
    plain = tempfile.TemporaryFile()
    try:
        with stored, opener(stored) as source:
            shutil.copyfileobj(source, plain, storage.CHUNK)
    except BaseException:
        plain.close()
        raise
    plain.seek(0)
    return plain
