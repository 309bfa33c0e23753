"""Whole files from and to S3, one plain request each, by obstore: the way to read many frames, and to store shards, for
little processor time. See `hsta.storage.read_many` and `hsta.storage.upload`."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store

THREADS = 8  # one request after the other would wait for the network
LARGEST = 256 << 20  # bytes of a file that is stored in one request
_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID")


def read_many(environment: Callable[[], Mapping[str, str]], files: Sequence[tuple[str, int]]) -> dict[str, bytes]:
    """Contents by path ("bucket/key") of those files, given with their sizes in bytes, that could be read whole at
    once; none where the credentials are not known.

    s3fs takes many times the processor time for a small file, and Arrow's client asks for the size first, so that the
    store has twice the work.

    Args:
        environment: gives the ``AWS_...`` variables that name the endpoint; asked again when the process's own change.
    """
    import obstore
    from obstore.exceptions import BaseError

    def read(file: tuple[str, int]) -> bytes | None:
        bucket, _, key = file[0].partition("/")
        try:
            store = _store(bucket, environment)
            content = obstore.get(store, key).bytes().to_bytes() if store else None
        except (BaseError, OSError, ValueError):
            return None
        return content if content is not None and len(content) == file[1] else None

    contents = _threads().map(read, files)
    return {path: data for (path, _), data in zip(files, contents) if data is not None}


def write(environment: Callable[[], Mapping[str, str]], path: str, file: BinaryIO) -> bool:
    """Store an open file at a path ("bucket/key"), whole or not at all. Returns whether that was done; never for files of
    no bytes or more than `LARGEST`.

    What arrives is what was sent: the signature covers the content's SHA-256.

    Args:
        environment: as for `read_many`.
    """
    import obstore
    from obstore.exceptions import BaseError

    bucket, _, key = path.partition("/")
    if not 0 < os.fstat(file.fileno()).st_size <= LARGEST:
        return False
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            store = _store(bucket, environment)
            return store is not None and bool(obstore.put(store, key, content, use_multipart=False))
        except (BaseError, OSError, ValueError):
            return False


def _store(bucket: str, environment: Callable[[], Mapping[str, str]]) -> S3Store | None:
    return _open(bucket, environment, *map(os.environ.get, _VARIABLES))


@lru_cache(maxsize=8)
def _open(bucket: str, environment: Callable[[], Mapping[str, str]], *_: str | None) -> S3Store | None:
    """A bucket, for one process's life or until one of the variables changes; None without credentials."""
    from botocore.session import Session
    from obstore.store import S3Store

    session = Session()
    credentials = session.get_credentials()
    if credentials is None:
        return None

    def current() -> S3Credential:
        """Those of now; botocore renews the ones that expire."""
        now = credentials.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        }

    endpoint = environment().get("AWS_ENDPOINT_URL_S3")
    return S3Store(
        bucket,
        region=session.get_config_variable("region") or "us-east-1",
        credential_provider=current,
        client_options={"allow_http": True, "connect_timeout": "5s", "read_timeout": "30s", "timeout": "10m"},
        retry_config={"max_retries": 0},  # s3fs is asked again instead
        **({"endpoint": endpoint} if endpoint else {}),
    )


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS)
