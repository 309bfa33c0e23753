"""Files on disk or in object storage, named by plain paths or fsspec URLs, in one place.

Every file of a run goes through these functions, so that a run folder may be ``runs/demo`` or
``s3://bucket/runs/demo``. Credentials and endpoints come from the usual environment of each protocol
(``AWS_ENDPOINT_URL``, ``AWS_PROFILE`` and its files, ``FSSPEC_S3_...``); `environment` gives what other clients in
other processes need to see the same.

A store that fails now and then is asked again; one that stays away for `PATIENCE` seconds is an `Unreachable`, which
names the endpoint. A file appears whole or not at all: on disk by a temporary name and a rename, in object stores by a
single upload.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec
from fsspec.asyn import sync
from fsspec.implementations.local import LocalFileSystem

from hsta import s3_fast
from hsta.errors import InputError
from hsta.uncached import UncachedFile

PATIENCE = 45.0  # seconds from the first failure of an operation until the store counts as unreachable
S3_OPTIONS = {
    # Listings are never cached: they would grow without bound in a long run, and hide what changed.
    "use_listings_cache": False,
    "config_kwargs": {
        "retries": {"mode": "standard", "max_attempts": 3},  # `PATIENCE` bounds them together
        "connect_timeout": 5,
        "read_timeout": 30,
        "max_pool_connections": 32,
    },
}
CHUNK = 8 << 20
_TEMPORARY = re.compile(r"\.(?P<host>[^.]*)\.(?P<pid>\d+)\.[0-9a-f]{32}\.tmp$")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_NETWORK_PACKAGES = {"botocore", "aiobotocore", "aiohttp"}
_SETTINGS_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ParamValidationError",
    "InvalidURL",
}


class Unreachable(InputError):
    """The store does not answer, or refuses its service, for longer than `PATIENCE`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing: its full path within the file system, size in bytes, and what tells its versions apart
    (ETag or modification time)."""

    path: str
    size: int
    version: str


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that ``url`` names and the path inside it. Raises InputError for an unknown protocol."""
    try:
        return fsspec.core.url_to_fs(url, **({"s3": _s3_options()} if "s3://" in url or "s3a://" in url else {}))
    except (ValueError, ImportError) as error:
        raise InputError(
            f"cannot open this kind of storage: {error}",
            where=url,
            cure="use a path, file://, s3:// or another fsspec protocol whose package is installed",
        ) from error


def _s3_options() -> dict:
    """`S3_OPTIONS` with the endpoint of the environment spelled out: fsspec keeps one file system for equal options,
    and one of another endpoint must not be taken for it."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return {**S3_OPTIONS, "endpoint_url": endpoint} if endpoint else S3_OPTIONS


def environment() -> dict[str, str]:
    """Environment variables by which S3 clients in other processes (pyarrow, Ray's workers) reach the store that this
    one does.

    An endpoint that stands in the profile of an AWS configuration file is spelled out, because pyarrow does not read
    it. With any endpoint of one's own, checksums that only newer stores understand are sent only when required.
    """
    found = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "FSSPEC_", "GOOGLE_"))}
    endpoint = found.get("AWS_ENDPOINT_URL_S3") or found.get("AWS_ENDPOINT_URL") or _endpoint_of_profile()
    if endpoint:
        found.setdefault("AWS_ENDPOINT_URL_S3", endpoint)
        for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
            found.setdefault(name, "when_required")
    return found


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
    return _ask(url, "exists")


def entry(url: str) -> Entry:
    """Size and version of one file. Raises FileNotFoundError where there is no file."""
    info = _ask(url, "info")
    if info["type"] != "file":
        raise FileNotFoundError(url)
    return _entry(info)


def listing(url: str) -> list[Entry]:
    """The files directly in a folder. Raises FileNotFoundError or NotADirectoryError."""
    found = _ask(url, "ls", detail=True)
    path = filesystem(url)[1].rstrip("/")
    if len(found) == 1 and found[0]["type"] == "file" and found[0]["name"].rstrip("/") == path:
        raise NotADirectoryError(url)
    return [_entry(info) for info in found if info["type"] == "file"]


def find(url: str) -> list[str]:
    """Names of all files below a folder, from that folder, sorted; none where there is no folder."""
    path = filesystem(url)[1].rstrip("/")
    return sorted(name[len(path) :].lstrip("/") for name in _ask(url, "find"))


def read_bytes(url: str) -> bytes:
    """The content of a file. Raises FileNotFoundError when it is not there."""
    return _ask(url, "cat_file")


def read_many(url: str, entries: Sequence[Entry]) -> list[bytes]:
    """The contents of several files of the file system that ``url`` is in, side by side.

    From S3 they come by one plain request each (`hsta.s3_fast`); what fails to come so, or comes short, is asked of
    s3fs, with all patience.
    """
    fs, _ = filesystem(url)
    paths = [entry.path for entry in entries]
    if isinstance(fs, LocalFileSystem):
        return [fs.cat_file(path) for path in paths]
    found: dict[str, bytes] = {}
    if _is_plain_s3(url):
        found = s3_fast.read_many(environment, [(entry.path, entry.size) for entry in entries])
    left = [path for path in paths if path not in found]
    if left:
        contents = patiently(url, lambda patience: _call(fs, "cat", left, timeout=patience))
        found |= {left[0]: contents} if isinstance(contents, bytes) else contents
    return [found[path] for path in paths]


def _is_plain_s3(url: str) -> bool:
    """Whether it is S3 without settings (encryption, access lists) that only s3fs knows."""
    return url.startswith(("s3://", "s3a://")) and not fsspec.config.conf.get("s3")


def write_bytes(url: str, data: bytes) -> None:
    """Write a file so that a reader sees the old content or all of the new, never a part."""
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        _replace(path, lambda temporary: _write(temporary, data))
    else:
        patiently(url, lambda patience: _call(fs, "pipe_file", path, data, timeout=patience))


def scratch(url: str) -> BinaryIO:
    """A new file without a name, for what `upload` will put at ``url``: on the same disk where that is local, so that
    no copy is needed. It goes when it is closed or its process ends, however that ends."""
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        with suppress(OSError, AttributeError):  # a file system, or a system, that cannot write around its page cache
            return UncachedFile(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o666))
        with suppress(OSError, AttributeError):  # one that has no files without names
            return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    return tempfile.TemporaryFile()


def upload(file: BinaryIO, url: str) -> None:
    """Write an open local file's content to ``url``, whole or not at all, without holding it in memory. The file is not
    written to afterwards."""
    fs, path = filesystem(url)
    file.flush()
    if isinstance(fs, LocalFileSystem):
        _replace(path, lambda temporary: _link_or_copy(file, temporary))
    elif not (_is_plain_s3(url) and s3_fast.write(environment, path, file)):
        patiently(url, lambda patience: _call(fs, "put_file", local_name(file), path, timeout=patience), bounded=False)


def open_for_reading(url: str) -> BinaryIO:
    """A file opened for reading here and there; of a remote one only the parts that are read are fetched."""
    fs, path = filesystem(url)
    return fs.open(path, "rb", block_size=1 << 20)


def local_copy(url: str) -> BinaryIO:
    """A file opened for reading on this machine's disk: itself where it is local, else a copy without a name, which
    goes when it is closed or its process ends, however that ends. Raises FileNotFoundError.
    """
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        return open(path, "rb")
    entry(url)
    copy = tempfile.TemporaryFile()
    try:
        patiently(url, lambda patience: _call(fs, "get_file", path, local_name(copy), timeout=patience), bounded=False)
    except BaseException:
        copy.close()
        raise
    return copy


def local_name(file: BinaryIO) -> str:
    """A path by which code in this process opens an open file once more, even one without a name (Linux)."""
    return f"/proc/self/fd/{file.fileno()}"


def sha256(url: str) -> str:
    """SHA-256 of a file's content, read in pieces. Raises FileNotFoundError."""
    fs, path = filesystem(url)

    def digest(_: float | None = None) -> str:
        found = hashlib.sha256()
        with fs.open(path, "rb", cache_type="none") as file:
            while piece := file.read(CHUNK):
                found.update(piece)
        return found.hexdigest()

    return digest() if isinstance(fs, LocalFileSystem) else patiently(url, digest, bounded=False)


def delete(url: str) -> None:
    """Delete a file; it may be gone already."""
    try:
        _ask(url, "rm_file")
    except FileNotFoundError:
        return


def read_json(url: str) -> Any:
    """A JSON file's content. Raises InputError when it is not JSON."""
    try:
        return json.loads(read_bytes(url))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"is not valid JSON: {error}", where=url, cure="delete it and run its command again"
        ) from error


def write_json(url: str, value: Any) -> None:
    """Write JSON, indented, atomically (see `write_bytes`)."""
    write_bytes(url, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def ensure_writable(url: str) -> None:
    """Write and delete a small file in folder ``url``. Raises InputError when that fails, before any work is done."""
    probe = join(url, f".write-test-{uuid.uuid4().hex}")
    try:
        write_bytes(probe, b"")
        delete(probe)
    except OSError as error:
        raise InputError(
            f"no write access to the output folder: {error.__cause__ or error}",
            where=url,
            cure="choose a folder or bucket that exists and that you may write to, or grant write access to this one",
        ) from error


def sweep_temporary(url: str) -> None:
    """Delete temporary files that processes of this machine, gone since, left under a local folder when they were
    killed."""
    if not is_local(url):
        return
    for folder, _, names in os.walk(filesystem(url)[1]):
        for name in names:
            match = _TEMPORARY.search(name)
            if match and match["host"] == _host() and not os.path.exists(f"/proc/{match['pid']}"):
                delete(os.path.join(folder, name))


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _replace(path: str, write: Callable[[str], Any]) -> None:
    """Write a local file by a temporary name that says whose it is."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{_host()}.{os.getpid()}.{uuid.uuid4().hex}.tmp"
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _link_or_copy(file: BinaryIO, path: str) -> None:
    """Give a file of `scratch` a name, or copy what cannot have one here.

    The content is on the disk before it has its name, and leaves memory: a set larger than memory would push out all
    else, and finding new pages costs more time than writing.
    """
    try:
        if os.fstat(file.fileno()).st_nlink:
            raise FileExistsError("it has a name")
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.link(local_name(file), path, src_dir_fd=file.fileno())  # a directory makes os.link follow /proc's link
    except OSError:
        shutil.copyfile(local_name(file), path)


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def _entry(info: dict) -> Entry:
    kinds = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    version = next((str(info[kind]) for kind in kinds if info.get(kind)), "")
    return Entry(info["name"], info["size"] or 0, version)


def _ask(url: str, name: str, **options: Any) -> Any:
    """Call a method of the file system on the path, patiently where the store is remote."""
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        return getattr(fs, name)(path, **options)
    return patiently(url, lambda patience: _call(fs, name, path, timeout=patience, **options))


def _call(fs: fsspec.AbstractFileSystem, name: str, *arguments: Any, timeout: float | None, **options: Any) -> Any:
    if getattr(fs, "async_impl", False):
        return sync(fs.loop, getattr(fs, f"_{name}"), *arguments, timeout=timeout, **options)
    return getattr(fs, name)(*arguments, **options)


def patiently(url: str, operation: Callable[[float | None], Any], *, bounded: bool = True) -> Any:
    """Do something with a remote store: ``operation(seconds it may take)``, again while it fails in a way that may
    pass.

    `PATIENCE` counts from the start of a bounded operation, and from the first failure of a transfer, which may take
    long.
    """
    since = time.monotonic() if bounded else None
    cause: Exception | None = None
    for attempt in range(1, 1000):
        try:
            return operation(max(1.0, since + PATIENCE - time.monotonic()) if bounded else None)
        except Exception as error:
            if not _may_pass(error):
                _explain(url, error)
                raise
            since = since or time.monotonic()
            cause = cause if cause and isinstance(error, TimeoutError) else error
        pause = random.uniform(0.1, min(5.0, 0.2 * 2**attempt))
        if time.monotonic() + pause > since + PATIENCE:
            break
        time.sleep(pause)
    said = f"{type(cause).__name__}: {cause}" if str(cause) else f"no answer within {PATIENCE:.0f} seconds"
    raise Unreachable(
        f"the store at {_endpoint(url)} cannot be reached: {said}",
        where=url,
        cure="check the endpoint (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL), the network and the credentials; "
        "then run the same command again, it goes on where it stopped",
    ) from cause


def _may_pass(error: Exception) -> bool:
    """Whether it is worth while to ask again: network and service failures, not files that are missing or forbidden."""
    if isinstance(error, OSError):
        return not isinstance(error, _FINAL)
    package = type(error).__module__.partition(".")[0]
    return package in _NETWORK_PACKAGES and type(error).__name__ not in _SETTINGS_ERRORS


def _explain(url: str, error: Exception) -> None:
    """Raise an InputError for settings that no further attempt can cure."""
    if type(error).__name__ in _SETTINGS_ERRORS:
        raise InputError(
            f"the store's client has no usable settings: {error}",
            where=url,
            cure="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, as for any S3 client",
        ) from error


def _endpoint(url: str) -> str:
    """The address that is asked, as far as it is known."""
    fs, _ = filesystem(url)
    fs = getattr(fs, "fo", fs)
    client = getattr(getattr(fs, "fs", fs), "_s3", None)
    found = environment()
    return (
        getattr(getattr(client, "meta", None), "endpoint_url", None)
        or found.get("AWS_ENDPOINT_URL_S3")
        or url.split("/")[2]
    )


def _endpoint_of_profile() -> str | None:
    """The endpoint of the AWS profile in use; None where there is no such file or entry."""
    file = os.environ.get("AWS_CONFIG_FILE") or os.path.expanduser("~/.aws/config")
    if not os.path.isfile(file):
        return None
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session()
    try:
        scoped = session.get_scoped_config()
        services = session.full_config.get("services", {}).get(scoped.get("services", ""), {})
    except BotoCoreError:
        return None
    return (services.get("s3") or {}).get("endpoint_url") or scoped.get("endpoint_url")
