"""A real S3 server (Ceph Object Gateway, from Debian's packages) and a proxy that makes it fail, on this machine
only."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
S3 = HERE.parents[1] / "cluster/local/s3.sh"
NEEDED = ("radosgw", "ceph-mon", "ceph-osd", "curl")
KEYS = ("testkey", "testsecret")


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_for(port: int, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while free(port):
        assert time.monotonic() < until, f"nothing listens on port {port}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server():
    """The server's port. Its data lie in memory where there is room."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"no S3 server here: {', '.join(missing)} not installed; `make test-s3` as root installs them from Debian"
        )
    base = next(port for port in random.sample(range(20000, 30000, 100), 50) if all(free(port + k) for k in range(61)))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        started = subprocess.run(
            ["bash", S3, "start", folder, str(base), *KEYS], capture_output=True, text=True, timeout=120
        )
        try:
            assert started.returncode == 0, started.stdout + started.stderr
            yield base
        finally:
            subprocess.run(["bash", S3, "kill", folder], timeout=60)


class Proxy:
    """The fault proxy: `fail` sets what goes wrong, `counters` says what did."""

    def __init__(self, port: int):
        self.endpoint = f"http://127.0.0.1:{port}"

    def fail(self, **faults) -> None:
        request = urllib.request.Request(f"{self.endpoint}/__fault", data=json.dumps(faults).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=10).read()

    @property
    def counters(self) -> dict[str, int]:
        return json.load(urllib.request.urlopen(f"{self.endpoint}/__fault", timeout=10))["counters"]


@pytest.fixture(scope="session")
def proxy(server):
    """A proxy before the server, without faults until it is told."""
    port = server + 5
    process = subprocess.Popen([sys.executable, HERE / "faultproxy.py", str(port), f"http://127.0.0.1:{server}"])
    try:
        wait_for(port)
        yield Proxy(port)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def store(proxy):
    """A bucket's URL. The environment points at the proxy, as a user's would at a store."""
    environment = {
        "AWS_ENDPOINT_URL_S3": proxy.endpoint,
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    from hsta import storage

    fs, _ = storage.filesystem("s3://clips")
    fs.mkdir("clips")
    yield "s3://clips"
    for name, value in kept.items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
