"""What a process finds out about its machine and its stores for `workflows.doctor`: facts, no judgement, no Ray."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hsta
from hsta import storage
from hsta.environment import package_versions

PATIENCE = 10.0  # seconds that one operation on a store may take
PROBE = 30.0  # seconds that all operations on all stores may take
PAYLOAD = 4 << 20  # bytes written and read to measure throughput
PACKAGES = ("ray", "torch", "numpy", "pandas", "pyarrow", "opencv-contrib-python-headless", "decord", "fsspec", "s3fs")
CUDA_CHECK = "import torch; print(torch.cuda.device_count(), torch.ones(2, device='cuda').sum().item())"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file to read (``folder`` false), or a folder to write, read, list and delete in. ``mark``: a file that another
    machine left there, which must be seen."""

    url: str
    folder: bool = True
    mark: str = ""


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """How a place answered.

    Attributes:
        step: the operation that failed ("write", "read", "list", "share", "delete"), empty where none did; ``code`` and
            ``said`` tell how: S3's error code, the name of the errno or the kind of exception, and its message.
        latency: seconds of a small write or, of a file, of reading it.
        up, down: MB/s of a file of 4 MiB.
        skew: seconds by which this machine's clock is ahead of the store's, None where the store does not say.
    """

    url: str
    step: str = ""
    code: str = ""
    said: str = ""
    latency: float = 0.0
    up: float = 0.0
    down: float = 0.0
    skew: float | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as one process on it sees it.

    Attributes:
        code: hash of the project's source files.
        shm: size of /dev/shm, bytes.
        disks: free and total bytes by folder.
        nvidia: whether NVIDIA's driver is there; ``cuda``: what torch says of it, empty where all is well.
    """

    host: str
    python: str
    packages: Mapping[str, str]
    code: str
    shm: int
    disks: Mapping[str, tuple[int, int]]
    nvidia: bool = False
    cuda: str = ""
    stores: tuple[StoreFacts, ...] = field(default=())


def examine(places: Sequence[Place], folders: Sequence[str], *, gpu: bool = False) -> Machine:
    """Everything about this machine. Takes `PROBE` seconds and a little at most.

    Args:
        folders: folders whose free disk counts, besides the temporary one.
        gpu: whether torch must be able to use a GPU here.
    """
    nvidia = os.path.exists("/dev/nvidiactl")
    return Machine(
        host=socket.gethostname(),
        python=platform.python_version(),
        packages=package_versions(*PACKAGES),
        code=_code_hash(),
        shm=shutil.disk_usage("/dev/shm").total if os.path.isdir("/dev/shm") else 0,
        disks={folder: _disk(folder) for folder in dict.fromkeys([tempfile.gettempdir(), *folders])},
        nvidia=nvidia,
        cuda=_cuda() if gpu or nvidia else "",
        stores=_probe_all(places),
    )


def now() -> float:
    """This machine's clock, seconds since 1970."""
    return time.time()


def apart(before: float, there: float, after: float) -> float:
    """Seconds by which another clock, read between ``before`` and ``after`` of this one, is certainly ahead (or
    behind, negative)."""
    return min(0.0, there - before) + max(0.0, there - after)


def probe(place: Place) -> StoreFacts:
    """Use a place as the commands do. What fails is in the answer, nothing is raised."""
    step, measured = "read", {}
    try:
        if not place.folder:
            measured["latency"] = _timed(lambda: storage.read_bytes(place.url))
            return StoreFacts(url=place.url, **measured)
        file = storage.join(place.url, f".doctor-{uuid.uuid4().hex}")
        payload = os.urandom(PAYLOAD)
        try:
            step = "write"
            storage.write_bytes(file, b"small")  # the first one also sets the client up
            began = time.time()
            measured["latency"] = _timed(lambda: storage.write_bytes(file, b"small"))
            measured["skew"] = _store_skew(file, began)
            measured["up"] = PAYLOAD / 1e6 / _timed(lambda: storage.write_bytes(file, payload))
            step = "read"
            measured["down"] = PAYLOAD / 1e6 / _timed(lambda: _same(storage.read_bytes(file), payload))
            step = "list"
            if not any(entry.path.endswith(Path(file).name) for entry in storage.listing(place.url)):
                raise FileNotFoundError("the file just written is not listed")
            step = "share"
            if place.mark:
                storage.read_bytes(place.mark)
            step = "delete"
        finally:
            if step != "write":
                storage.delete(file)
    except Exception as error:
        return StoreFacts(url=place.url, step=step, code=_code(error), said=_said(error), **measured)
    return StoreFacts(url=place.url, **measured)


def _probe_all(places: Sequence[Place]) -> tuple[StoreFacts, ...]:
    """All places side by side; one that has not answered in time is left behind."""
    before, storage.PATIENCE = storage.PATIENCE, PATIENCE
    found: dict[Place, StoreFacts] = {}
    try:
        threads = [
            threading.Thread(target=lambda place=place: found.update({place: probe(place)}), daemon=True)
            for place in places
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + PROBE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    finally:
        storage.PATIENCE = before
    late = {"step": "write", "code": "Timeout", "said": f"no answer within {PROBE:.0f} seconds"}
    return tuple(found.get(place) or StoreFacts(url=place.url, **late) for place in places)


def _timed(action: Callable[[], object]) -> float:
    since = time.monotonic()
    action()
    return time.monotonic() - since


def _same(found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise OSError(errno.EIO, "what is read is not what was written")


def _store_skew(file: str, began: float) -> float | None:
    """This machine's clock against the store's, by a file just written: stores give whole seconds."""
    fs, path = storage.filesystem(file)
    try:
        written = fs.modified(path).timestamp()
    except NotImplementedError:
        return None
    return -apart(began - 1.0, written, time.time())


def _code(error: BaseException) -> str:
    """The most telling name in a chain of exceptions: S3's error code, else the errno, else the innermost kind."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    for link in chain:
        response = getattr(link, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code"):
            return str(response["Error"]["Code"])
    for link in chain:
        if type(link).__module__.partition(".")[0] in ("botocore", "aiobotocore"):
            return type(link).__name__
    for link in chain:
        if isinstance(link, OSError) and link.errno in errno.errorcode:
            return errno.errorcode[link.errno]
    return type(chain[-1]).__name__


def _said(error: BaseException) -> str:
    if isinstance(error, storage.Unreachable):
        return error.problem.partition(": ")[0]
    text = getattr(error, "problem", None) or getattr(error, "strerror", None) or str(error)
    return "" if text in ("", "None") else text.strip().splitlines()[0]


def _disk(folder: str) -> tuple[int, int]:
    """Free and total bytes where a folder is, or will be."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return usage.free, usage.total


def _code_hash() -> str:
    """Hash of the source files of the packages hsta and workflows."""
    digest = hashlib.sha256()
    for package in (Path(hsta.__file__).parent, Path(__file__).parent):
        for file in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{file.relative_to(package)}".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _cuda() -> str:
    """What keeps torch from using the GPU, in a process of its own: Ray hides the GPUs from tasks that ask for none."""
    variables = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", CUDA_CHECK], env=variables, capture_output=True, text=True, timeout=PROBE
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE:.0f} seconds"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
