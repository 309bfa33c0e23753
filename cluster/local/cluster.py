"""Ray on three hosts, token authentication on, and an S3 server on a fourth: brought up together, gone together."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.local.hosts import PRIVATE, Hosts
from hsta.errors import InputError
from workflows.engine import KEEPALIVE, STOP_WAIT

HEAD, WORKERS, STORE = "head", ("w1", "w2"), "s3"
BUCKET = "s3://hsta"
# The head counts a silent host as dead after some 15 seconds; Ray's defaults take more than a minute.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}
PATIENCE = 240.0  # seconds until everything must have started; a busy machine with two cores takes 60
_FOREVER = (
    'while :; do "$@"; sleep 1; done'  # a worker that was cut off ends itself: start it again, as Kubernetes would
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that is up: all that another process needs to reach it.

    Attributes:
        program: process id of the program that keeps it up.
        first: process id of the first process of each host.
        environment: variables with which `ray job submit` and the S3 clients find it.
    """

    program: int
    first: dict[str, int]
    environment: dict[str, str]

    def variables(self) -> dict[str, str]:
        """This process's environment with `environment`, without the user's own Ray, storage and accounts."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        return kept | self.environment


@contextmanager
def running(state: Path) -> Iterator[Cluster]:
    """A cluster that is up inside the context. Call `hosts.enter_own_network` before.

    Args:
        state: the file by which other processes find it.

    Raises:
        InputError: a program is missing, or something does not start; the end of its log is shown.
    """
    missing = [name for name in ("radosgw", "ceph-mon", "ceph-osd", "curl") if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"no S3 server here: {', '.join(missing)} not installed",
            where="cluster.local",
            cure="as root: apt-get install --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl",
        )
    with (
        tempfile.TemporaryDirectory(prefix="hsta-local-") as logs,
        Hosts([HEAD, *WORKERS, STORE], shared_memory="4g") as hosts,
    ):
        token, key, secret = (secrets.token_hex(24) for _ in range(3))
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_API_SERVER_ADDRESS": f"http://{hosts.address[HEAD]}:8265",
            "RAY_USAGE_STATS_ENABLED": "0",
            "AWS_ENDPOINT_URL_S3": f"http://{hosts.address[STORE]}:7480",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "S3_HOST": hosts.address[STORE],
        }
        cluster = Cluster(program=os.getpid(), first=hosts.first, environment=environment)
        variables = cluster.variables() | KEEPALIVE | HEALTH | {STOP_WAIT: "30", "TMPDIR": PRIVATE}
        script = str(Path(__file__).with_name("s3.sh"))
        start = _Starter(hosts, variables, logs)
        start(STORE, ["bash", script, "start", "/dev/shm/s3", "7480", key, secret])
        start(
            HEAD,
            [
                *_ray(hosts, HEAD),
                "--head",
                "--port=6379",
                f"--temp-dir={PRIVATE}",
                f"--dashboard-host={hosts.address[HEAD]}",
            ],
        )
        start.wait(HEAD, 8265, "/api/version")
        for name in WORKERS:
            start(name, ["bash", "-c", _FOREVER, name, *_ray(hosts, name), f"--address={hosts.address[HEAD]}:6379"])
        for name in (HEAD, *WORKERS):
            start.wait(name, 52365, "/api/local_raylet_healthz")
        start.wait(STORE, 7480, "/")
        start.finish(STORE)
        with open(os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(cluster), file)
        try:
            yield cluster
        finally:
            state.unlink()


def read(state: Path) -> Cluster | None:
    """The cluster that is up, None where there is none; what a killed one left of its file is removed."""
    try:
        cluster = Cluster(**json.loads(state.read_text()))
    except FileNotFoundError:
        return None
    if not os.path.exists(f"/proc/{cluster.program}"):
        state.unlink()
        return None
    return cluster


def _ray(hosts: Hosts, name: str) -> list[str]:
    ray = str(Path(sys.executable).parent / "ray")
    return [
        ray,
        "start",
        "--block",
        f"--node-ip-address={hosts.address[name]}",
        "--num-cpus=1",
        "--object-store-memory=200000000",
    ]


class _Starter:
    """Starts programs on hosts, each with a log, and waits for them."""

    def __init__(self, hosts: Hosts, variables: dict[str, str], logs: str):
        self._hosts, self._variables, self._logs = hosts, variables, Path(logs)
        self._until = time.monotonic() + PATIENCE
        self._processes: dict[str, subprocess.Popen] = {}

    def __call__(self, name: str, argv: Sequence[str]) -> None:
        with (self._logs / name).open("w") as log:
            self._processes[name] = subprocess.Popen(
                self._hosts.on(name, argv), env=self._variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self, name: str, port: int, path: str) -> None:
        """Wait until a URL of the host answers."""
        headers = {"Authorization": f"Bearer {self._variables['RAY_AUTH_TOKEN']}"} if port == 8265 else {}
        request = urllib.request.Request(f"http://{self._hosts.address[name]}:{port}{path}", headers=headers)
        while True:
            try:
                urllib.request.urlopen(request, timeout=5).read()
                return
            except (urllib.error.URLError, OSError):
                if self._processes[name].poll() or time.monotonic() > self._until:
                    raise self._failure(name) from None
                time.sleep(0.3)

    def finish(self, name: str) -> None:
        """Wait until a program has ended well."""
        if self._processes[name].wait(max(1.0, self._until - time.monotonic())):
            raise self._failure(name)

    def _failure(self, name: str) -> InputError:
        end = (self._logs / name).read_text(errors="replace")[-2000:]
        return InputError(f"host '{name}' did not start:\n{end}", where=name, cure="see the log above; run it again")
