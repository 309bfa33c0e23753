"""A real S3 server (Ceph Object Gateway, from Debian's packages) and a proxy that makes it fail, on this machine
only."""

import os
import tempfile
from pathlib import Path

import pytest

from benchmarks.servers import FaultProxy, S3Server, client_environment


@pytest.fixture(scope="session")
def server():
    """The server. Its data lie in memory where there is room."""
    if missing := S3Server.missing():
        pytest.skip(
            f"no S3 server here: {', '.join(missing)} not installed; `make test-s3` as root installs them from Debian"
        )
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder,
        S3Server(Path(folder), "clips") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def proxy(server):
    """A proxy before the server, without faults until it is told."""
    with FaultProxy(server.environment["AWS_ENDPOINT_URL_S3"]) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def store(server, proxy):
    """The bucket's URL. The environment points at the proxy, as a user's would at a store."""
    environment = client_environment(proxy.endpoint)
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    yield server.url
    for name, value in kept.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
