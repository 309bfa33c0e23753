"""Files on disk or in object storage, named by plain paths or fsspec URLs, in one place.

Every file of a run goes through these functions, so that a run folder may be ``runs/demo`` or ``s3://bucket/runs/demo``.
Credentials and endpoints come from the usual environment of each protocol (``AWS_ENDPOINT_URL``, profiles, ...).
"""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hsta.errors import InputError


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that ``url`` names and the path inside it. Raises InputError for an unknown protocol."""
    try:
        return fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot open this kind of storage: {error}",
            where=url,
            cure="use a path, file://, s3:// or another fsspec protocol whose package is installed",
        ) from error


def is_local(url: str) -> bool:
    """Whether ``url`` is on this machine's disk."""
    return isinstance(filesystem(url)[0], LocalFileSystem)


def absolute(url: str) -> str:
    """``url`` with a relative local path made absolute, so that it means the same in every process."""
    return url if "://" in url or "::" in url else os.path.abspath(os.path.expanduser(url))


def join(url: str, *parts: str) -> str:
    """``url`` with ``parts`` appended by slashes."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    """Whether a file or folder is there."""
    fs, path = filesystem(url)
    return fs.exists(path)


def read_bytes(url: str) -> bytes:
    """The content of a file. Raises FileNotFoundError when it is not there."""
    fs, path = filesystem(url)
    return fs.cat_file(path)


def write_bytes(url: str, data: bytes) -> None:
    """Write a file so that a reader sees the old content or all of the new, never a part.

    On disk by a temporary name and a rename; object stores show an object only when its upload is complete.
    """
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        fs.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        fs.pipe_file(temporary, data)
        os.replace(temporary, path)
    else:
        fs.pipe_file(path, data)


def read_json(url: str) -> Any:
    """A JSON file's content. Raises InputError when it is not JSON."""
    try:
        return json.loads(read_bytes(url))
    except json.JSONDecodeError as error:
        raise InputError(f"is not valid JSON: {error}", where=url, cure="delete it and run its command again") from error


def write_json(url: str, value: Any) -> None:
    """Write JSON, indented, atomically (see `write_bytes`)."""
    write_bytes(url, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def ensure_writable(url: str) -> None:
    """Write and delete a small file in folder ``url``. Raises InputError when that fails, before any work is done."""
    probe = join(url, f".write-test-{uuid.uuid4().hex}")
    try:
        fs, path = filesystem(probe)
        write_bytes(probe, b"")
        fs.rm_file(path)
    except OSError as error:
        raise InputError(
            f"no write access to the output folder: {error}",
            where=url,
            cure="choose a folder that you may write to, or grant write access to this one",
        ) from error
