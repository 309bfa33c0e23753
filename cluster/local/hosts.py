"""Hosts on one Linux machine: each has its own network, processes, name, /dev/shm and /tmp/ray; the files are shared.

A host is a set of namespaces whose first process only waits; its cable hangs on one bridge, 10.77.0.0/24. The bridge lies
in a network namespace of the program itself (`enter_own_network`): programs can do this side by side, nobody else on the
machine reaches the hosts, and nothing is left when the program ends, however it ends.

Needs util-linux and iproute2, and root or unprivileged user namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

from hsta.errors import InputError

NETWORK = "10.77.0"
PRIVATE = "/tmp/ray"  # a folder of each host's own
_IP = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "ip"
_INSIDE = "HSTA_OWN_NETWORK"
_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")


def enter_own_network() -> None:
    """Start this program anew in a network namespace of its own, as root or as root of a new user namespace.

    Raises:
        InputError: this machine does not allow it.
    """
    if os.environ.pop(_INSIDE, None) is None:
        unshare = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))]
        tried = subprocess.run(
            [*unshare, "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, text=True
        )
        if tried.returncode:
            raise InputError(
                f"this machine gives no namespaces: {tried.stderr.strip()}",
                where="unshare",
                cure="run it as root; in a container, give it --privileged; see kernel.unprivileged_userns_clone",
            )
        os.execvpe(unshare[0], [*unshare, *sys.orig_argv], {**os.environ, _INSIDE: "1"})
    _ip("link", "set", "lo", "up")


def enter(pid: int, argv: Sequence[str], *, whole: bool = False) -> list[str]:
    """The command line that runs ``argv`` in the network of the process ``pid``; with ``whole``, on its host."""
    user = (
        [] if os.path.samefile(f"/proc/{pid}/ns/user", "/proc/self/ns/user") else ["--user", "--preserve-credentials"]
    )
    return ["nsenter", f"--target={pid}", *user, *(_NAMESPACES if whole else ("--net",)), "--", *argv]


class Hosts:
    """A context manager: hosts that are up inside it.

    Args:
        names: of the hosts; host i has the address 10.77.0.(i + 1), and finds the others by name.
        shared_memory: size of each host's /dev/shm, as `mount` takes it.

    Attributes:
        address: of each host, by name.
        first: process id of each host's first process, by name; missing where the power is off.
    """

    def __init__(self, names: Sequence[str], *, shared_memory: str = "1g"):
        self.names, self._shared_memory = tuple(names), shared_memory
        self.address = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, start=1)}
        self.first: dict[str, int] = {}
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> Self:
        try:
            # Without an address of its own it takes a cable's, and changes it with every host that goes.
            _ip("link", "add", "bridge", "address", "02:00:00:00:00:01", "type", "bridge")
            _ip("addr", "add", f"{NETWORK}.254/24", "dev", "bridge")
            _ip("link", "set", "bridge", "up")
            for name in self.names:
                self._start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, name: str) -> None:
        table = "\\n".join(["127.0.0.1 localhost", *(f"{address} {host}" for host, address in self.address.items())])
        script = [
            f"hostname {name}",
            f"{_IP} link set lo up",
            f"mount -t tmpfs -o size={self._shared_memory} tmpfs /dev/shm",
            f"mkdir -p {PRIVATE}",
            f"mount -t tmpfs tmpfs {PRIVATE}",
            f"printf '{table}\\n' >/dev/shm/hosts",
            "mount --bind /dev/shm/hosts /etc/hosts",
            "echo up",
            "exec >&-",
            "while :; do sleep 3600 & wait $!; done",  # a shell, because the first process must reap the others
        ]
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen(
            [*argv, "bash", "-ec", "; ".join(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        if process.stdout.readline() != "up\n":
            raise InputError(
                f"host '{name}' does not start: {process.stderr.read().strip()}",
                where="unshare",
                cure="see what this machine allows",
            )
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
            self.first[name] = pid = int(children.read().split()[0])
        _ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("link", "set", f"to-{name}", "master", "bridge", "up")
        for command in (
            f"addr add {self.address[name]}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {NETWORK}.254",
        ):
            _run(self.on(name, [_IP, *command.split()]))

    def on(self, name: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` on a host."""
        return enter(self.first[name], argv, whole=True)


def plug(program: int, name: str, *, into: bool) -> None:
    """Pull a host's cable, or plug it in again; what travels meanwhile is lost in silence.

    Args:
        program: process id of the program whose host it is.
    """
    _run(enter(program, [_IP, "link", "set", f"to-{name}", "up" if into else "down"]))


def power_off(program: int, name: str, first: int) -> None:
    """End a host at once: its cable goes first, so that nobody hears of it; then all of its processes."""
    _run(enter(program, [_IP, "link", "del", f"to-{name}"]))
    os.kill(first, signal.SIGKILL)


def _ip(*arguments: str) -> None:
    _run([_IP, *arguments])


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"{' '.join(argv)}: {done.stderr.strip()}", where=argv[0], cure="is iproute2 installed, is the host up?"
        )
