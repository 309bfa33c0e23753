"""Whole files from and to S3, one plain request each: the way to read many frames, and to store shards, for little
processor time. See `hsta.storage.read_many` and `hsta.storage.upload`."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.httpsession import URLLib3Session

THREADS = 8  # one request after the other would wait for the network
LARGEST = 256 << 20  # bytes of a file that is stored in one request
_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID")


def read_many(environment: Callable[[], Mapping[str, str]], files: Sequence[tuple[str, int]]) -> dict[str, bytes]:
    """Contents by path ("bucket/key") of those files, given with their sizes in bytes, that could be read whole at
    once; none where the store's address or the credentials are not known.

    s3fs takes four times the processor time for a small file, and Arrow's client asks for the size first, so that the
    store has twice the work.

    Args:
        environment: gives the ``AWS_...`` variables that name the endpoint; asked again when the process's own change.
    """
    session = _current(environment)

    def read(file: tuple[str, int]) -> bytes | None:
        content = _ask(session, "GET", file[0])
        return content if content is not None and len(content) == file[1] else None

    contents = session[-1].map(read, files)
    return {path: data for (path, _), data in zip(files, contents) if data is not None}


def write(environment: Callable[[], Mapping[str, str]], path: str, file: BinaryIO) -> bool:
    """Store an open file at a path ("bucket/key"), whole or not at all. Returns whether that was done; never for files of
    no bytes or more than `LARGEST`.

    Takes a third of the processor time of s3fs. What arrives is what was sent: the signature covers the content's
    SHA-256.

    Args:
        environment: as for `read_many`.
    """
    if not 0 < os.fstat(file.fileno()).st_size <= LARGEST:
        return False
    content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return _ask(_current(environment), "PUT", path, content) is not None


def _ask(session: tuple, method: str, path: str, data: memoryview | None = None) -> bytes | None:
    """The answer's content; None where the store did not do as it was asked, or cannot be."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import HTTPClientError
    from urllib3.exceptions import HTTPError

    endpoint, region, credentials, http, _ = session
    if not endpoint or credentials is None:
        return None
    request = AWSRequest(method, f"{endpoint}/{quote(path, safe='/~')}", data=data, stream_output=True)
    S3SigV4Auth(credentials.get_frozen_credentials(), "s3", region).add_auth(request)
    try:
        response = http.send(request.prepare())
        content = response.raw.read()  # in one piece: botocore's own `content` costs four times as much
    except (HTTPClientError, HTTPError):
        return None
    return content if response.status_code == 200 else None


def _current(environment: Callable[[], Mapping[str, str]]) -> tuple:
    """What `_session` gives for the variables of this moment."""
    return _session(environment, *map(os.environ.get, _VARIABLES))


@lru_cache(maxsize=1)
def _session(
    environment: Callable[[], Mapping[str, str]], *_: str | None
) -> tuple[str, str, Credentials | None, URLLib3Session, ThreadPoolExecutor]:
    """Endpoint, region, credentials, connections and threads; anew when one of the variables changes."""
    from botocore.httpsession import URLLib3Session
    from botocore.session import Session
    from botocore.utils import get_environ_proxies

    session = Session()
    region = session.get_config_variable("region")
    endpoint = environment().get("AWS_ENDPOINT_URL_S3") or (f"https://s3.{region}.amazonaws.com" if region else "")
    http = URLLib3Session(
        verify=session.get_config_variable("ca_bundle") or True,
        proxies=get_environ_proxies(endpoint),
        timeout=(5, 30),
        max_pool_connections=THREADS,
    )
    return endpoint.rstrip("/"), region or "us-east-1", session.get_credentials(), http, ThreadPoolExecutor(THREADS)
