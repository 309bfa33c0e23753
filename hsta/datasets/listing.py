"""The frames under a root, found in one pass over names: no file is opened, and no request is made for a single frame.

On disk the tree is walked; on object storage its upper folders are listed until there are enough to list side by side,
then each of these is listed whole, a page of names a request. A folder is a clip or recording, its files' trailing
numbers the frames.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from hsta import storage
from hsta.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_FRAME = re.compile(r"([0-9]{1,18})\.(?:jpe?g|png|bmp)$", re.IGNORECASE)
_ENOUGH = 16  # folders to list side by side
_WORKERS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Folder:
    """A folder that holds frames, or nothing at all.

    Attributes:
        path: under the root, with slashes.
        numbers: (n,) int64, frame numbers found, ascending, each once.
        repeated: numbers that two files claim.
    """

    path: str
    numbers: np.ndarray
    repeated: tuple[int, ...] = ()

    def missing(self, first: int, last: int) -> np.ndarray:
        """Numbers of first..last, both included, that no file has."""
        found = self.numbers[(self.numbers >= first) & (self.numbers <= last)]
        if last - first + 1 == len(found):
            return np.empty(0, np.int64)
        return np.setdiff1d(np.arange(first, min(last, first + 1_000_000) + 1), found, assume_unique=True)


class Listing:
    """All folders of frames under ``root``; ``links`` are symbolic links to folders, which are not followed."""

    def __init__(self, root: str, folders: Iterable[Folder], links: Sequence[str] = ()):
        self.root = root
        self.folders = {folder.path: folder for folder in sorted(folders, key=lambda one: one.path)}
        self.links = tuple(sorted(links))
        self.frames = sum(len(folder.numbers) for folder in self.folders.values())
        self._above = [part for part in re.split(r"[/\\]+", root.split("://")[-1]) if part][-4:]
        self._by_tail: dict[int, dict[tuple[str, ...], list[Folder]]] = {}

    @property
    def above(self) -> tuple[str, ...]:
        """Lower-case names of the root's last folders."""
        return tuple(part.casefold() for part in self._above)

    def components(self, folder: Folder, *, below_root: bool = False) -> tuple[str, ...]:
        """Lower-case names of the folders down to this one, the root's last ones included unless ``below_root``; one
        nested in a folder of the same name counts once."""
        parts = [part.casefold() for part in (*(() if below_root else self._above), *folder.path.split("/")) if part]
        return tuple(part for place, part in enumerate(parts) if place == 0 or part != parts[place - 1])

    def ending(self, tail: Sequence[str]) -> list[Folder]:
        """Folders whose path ends with these names, in any case of letters."""
        index = self._by_tail.get(len(tail))
        if index is None:
            index = self._by_tail[len(tail)] = {}
            for folder in self.folders.values():
                index.setdefault(self.components(folder)[-len(tail) :], []).append(folder)
        return index.get(tuple(name.casefold() for name in tail), [])

    def url(self, folder: Folder) -> str:
        """The folder's absolute path or URL."""
        return storage.join(self.root, folder.path) if folder.path else self.root


def frame_number(name: str) -> int | None:
    """The trailing integer of an image file's name; None where there is none. ``006_05562.jpg`` is 5562."""
    match = _FRAME.search(name)
    return int(match[1]) if match and not posixpath.basename(name).startswith(".") else None


def list_frames(root: str) -> Listing:
    """List the frames under ``root``, a folder on disk or any fsspec URL.

    Raises:
        InputError: no such folder, no access, or no image file with a frame number below it.
    """
    root = storage.absolute(root)
    if "\0" in root:
        raise InputError("the path holds a NUL character", where=repr(root), cure="check root")
    fs, top = storage.filesystem(root)
    top = top.rstrip("/") or "/"
    try:
        if isinstance(fs, LocalFileSystem):
            if not os.path.isdir(top):
                raise FileNotFoundError(top)
            folders, links = _list_local(top)
        else:
            folders, links = _list_remote(fs, top, root), []
    except FileNotFoundError:
        raise InputError("the folder of the frames is not there", where=root, cure="check root") from None
    except OSError as error:
        raise InputError(f"cannot be listed: {error}", where=root, cure="check root and the access rights") from None
    listing = Listing(root, folders, links)
    if not listing.frames:
        raise InputError(
            f"no image file with a frame number ({', '.join(IMAGE_SUFFIXES)}) below this folder",
            where=root,
            cure="check root",
        )
    return listing


def _list_local(top: str) -> tuple[list[Folder], list[str]]:
    links: list[str] = []
    folders: list[Folder] = []
    level = [top]
    while level and len(level) < _ENOUGH:
        deeper = []
        for path in level:
            folder, below = _scan(path, top, links)
            folders += [folder] if folder else []
            deeper += below
        level = deeper
    with ThreadPoolExecutor(_WORKERS) as pool:
        for found in pool.map(lambda path: list(_walk(path, top, links)), level):
            folders += found
    return folders, links


def _walk(path: str, top: str, links: list[str]) -> Iterator[Folder]:
    waiting = [path]
    while waiting:
        folder, below = _scan(waiting.pop(), top, links)
        if folder:
            yield folder
        waiting += below


def _scan(path: str, top: str, links: list[str]) -> tuple[Folder | None, list[str]]:
    """The folder's frames, where it has any or holds nothing, and the folders in it."""
    names, below, empty = [], [], True
    with os.scandir(path) as entries:
        for entry in entries:
            empty = False
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.is_symlink() and entry.is_dir():
                links.append(os.path.relpath(entry.path, top))
            else:
                names.append(entry.name)
    folder = _folder("" if path == top else os.path.relpath(path, top).replace(os.sep, "/"), names)
    return (folder if len(folder.numbers) or empty else None), below


def _list_remote(fs: AbstractFileSystem, top: str, url: str) -> list[Folder]:
    """Folders of frames on a store: upper folders one by one, then each whole. A request that fails is made again."""
    names: dict[str, list[str]] = {}
    level = [top]

    def entries_of(path: str) -> list[dict]:
        return storage.patiently(url, lambda _: fs.ls(path, detail=True), bounded=False)

    def names_below(path: str) -> list[str]:
        return storage.patiently(url, lambda _: fs.find(path, detail=False), bounded=False)

    with ThreadPoolExecutor(_WORKERS) as pool:
        while level and len(level) < _ENOUGH:
            deeper = []
            for entries in pool.map(entries_of, level):
                deeper += [entry["name"].rstrip("/") for entry in entries if entry["type"] == "directory"]
                _collect(names, [entry["name"] for entry in entries if entry["type"] != "directory"], top)
            level = deeper
        for paths in pool.map(names_below, level):
            _collect(names, paths, top)
    return [folder for path, found in names.items() if len((folder := _folder(path, found)).numbers)]


def _collect(names: dict[str, list[str]], paths: Iterable[str], top: str) -> None:
    start = 0 if top == "/" else len(top) + 1
    for path in paths:
        folder, _, name = path[start:].rpartition("/")
        names.setdefault(folder, []).append(name)


def _folder(path: str, names: Iterable[str]) -> Folder:
    numbers = np.array([number for name in names if (number := frame_number(name)) is not None], np.int64)
    unique, counts = np.unique(numbers, return_counts=True)
    return Folder(path, unique, tuple(unique[counts > 1].tolist()))
