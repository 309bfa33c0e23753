"""What benchmarks and tests start on this machine: an S3 server, a proxy that makes it fail, Ray on two nodes. All of it is
real, none of it is reached from elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from workflows.engine import STOP_WAIT

ROOT = Path(__file__).resolve().parents[1]
KEYS = ("testkey", "testsecret")
S3_PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd", "curl")


class S3Server:
    """Ceph's object gateway with an empty bucket; ``environment`` is what leads a client to it."""

    def __init__(self, folder: Path, bucket: str):
        self._folder = folder
        self.port = next(
            port
            for port in random.SystemRandom().sample(range(20000, 30000, 100), 50)
            if all(is_free(port + part) for part in range(61))
        )
        self.environment = client_environment(f"http://127.0.0.1:{self.port}")
        self.url = f"s3://{bucket}"
        try:
            self.start()
            self._make_bucket(bucket)
        except BaseException:
            self.kill()
            raise

    @staticmethod
    def missing() -> list[str]:
        """The programs that it needs and this machine lacks."""
        return [name for name in S3_PROGRAMS if shutil.which(name) is None]

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [int((self._folder / "run" / name).read_text()) for name in ("1mon", "2osd", "3rgw")]

    def start(self) -> None:
        """Start it, or start it again on the same data."""
        self._do("start", str(self.port), *KEYS)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        self._do("kill")

    def __enter__(self) -> S3Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _do(self, what: str, *more: str) -> None:
        script = ROOT / "cluster/local/s3.sh"
        done = subprocess.run(["bash", script, what, self._folder, *more], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"the S3 server did not {what}:\n{done.stdout}{done.stderr}")

    def _make_bucket(self, bucket: str) -> None:
        import botocore.session

        botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.environment["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=KEYS[0],
            aws_secret_access_key=KEYS[1],
        ).create_bucket(Bucket=bucket)


def client_environment(endpoint: str) -> dict[str, str]:
    """The variables that lead an S3 client to ``endpoint`` with this module's keys, and to nothing else."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class FaultProxy:
    """A proxy before an S3 server: ``fail`` sets what goes wrong, ``counters`` says what did, and how many bytes were
    read. Without faults until it is told."""

    def __init__(self, upstream: str):
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        script = Path(__file__).with_name("faultproxy.py")
        self._process = subprocess.Popen([sys.executable, script, str(port), upstream])
        try:
            wait_until(lambda: not is_free(port), 30, "the proxy")
        except BaseException:
            self.kill()
            raise

    def fail(self, **faults: object) -> None:
        """Set the faults, see faultproxy.py, and the counters to nothing."""
        request = urllib.request.Request(f"{self.endpoint}/__fault", data=json.dumps(faults).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        urllib.request.urlopen(request, timeout=10).read()

    @property
    def counters(self) -> dict[str, int]:
        """Requests, bytes read, and faults by kind, since the last ``fail``."""
        return json.load(urllib.request.urlopen(f"{self.endpoint}/__fault", timeout=10))["counters"]

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class TwoNodes:
    """Ray: a head of one CPU and a node of two, on this machine."""

    def __init__(self, environment: Mapping[str, str], folder: Path):
        self._environment, self._folder = environment, folder
        self.ports = {name: free_port() for name in ("gcs", "dashboard", "client")}
        self.address = f"127.0.0.1:{self.ports['gcs']}"
        options = ["--head", f"--port={self.ports['gcs']}", f"--ray-client-server-port={self.ports['client']}"]
        options.append(f"--dashboard-port={self.ports['dashboard']}")
        self.head = self._start("head", "--num-cpus=1", *options)
        self.node = None
        try:
            self._wait("head", self.head)
            self.join()
        except BaseException:
            self.stop()
            raise

    def join(self) -> None:
        """Start the second node, or start it again."""
        if self.node is not None:
            self.node.wait(60)
        self.node = self._start("node", "--num-cpus=2", f"--address={self.address}")
        self._wait("node", self.node)

    def raylets(self) -> list[int]:
        """The second node's raylet."""
        return [
            pid
            for pid in descendants(self.node.pid, "raylet/raylet")
            if os.readlink(f"/proc/{pid}/exe").endswith("raylet")
        ]

    def stop(self) -> None:
        """End both nodes."""
        for process in filter(None, (self.node, self.head)):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, name: str, process: subprocess.Popen) -> None:
        log = self._folder / f"{name}.log"
        wait_until(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, 300, f"the {name}")
        if process.poll() is not None:
            raise SystemExit(f"the {name} ended:\n{log.read_text()[-4000:]}")

    def _start(self, name: str, *options: str) -> subprocess.Popen:
        ray = [Path(sys.executable).parent / "ray", "start", "--block", "--node-ip-address=127.0.0.1"]
        with open(self._folder / f"{name}.log", "w") as log:
            return subprocess.Popen(
                [*ray, "--object-store-memory=150000000", f"--temp-dir={self._folder}/ray", *options],
                env={**self._environment, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1", STOP_WAIT: "30"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def descendants(pid: int, mark: str) -> Iterator[int]:
    """Processes below ``pid`` whose command line has ``mark``."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mark in line:
                yield child


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something, but not for ever."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """A port of the system's choice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
