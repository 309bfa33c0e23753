"""A Ray cluster of three hosts and an S3 server on this Linux machine, for trying and testing what a real cluster does.

The hosts are namespaces: head, w1 and w2 with Ray (token authentication on, one CPU each), s3 with Ceph's object gateway.
Nobody else on the machine reaches them, and nothing is left of them when the program ends. Needs util-linux, iproute2 and
Debian's packages ceph-mon, ceph-osd, radosgw, ceph-common and curl; not root, where user namespaces are allowed.

examples:
  python -m cluster.local demo                     up; prepare, loso and report by `ray job submit`, all in S3; down
  python -m cluster.local up                       up until Ctrl-C; from another terminal:
  python -m cluster.local exec -- ray job submit --working-dir . -- python -m workflows.loso --config my.yaml
  python -m cluster.local exec --on w1 -- ls /tmp/ray/session_latest/logs
  python -m cluster.local kill w1                  power off
  python -m cluster.local cut w1                   cable out
  python -m cluster.local heal w1                  cable in again
  python -m cluster.local down

exit status: of the command, or 2 with the cure
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from cluster.local import hosts
from cluster.local.cluster import HEAD, STORE, WORKERS, Cluster, read, running
from hsta.errors import InputError
from workflows.command import answer

STATE = Path(__file__).parents[2] / "runs" / "local-cluster.json"


def up(options: argparse.Namespace) -> int:
    """Bring it up and keep it up until a signal comes; with ``options.command``, until that has ended."""
    if read(options.state) is not None:
        raise InputError("it is up already", where=str(options.state), cure="python -m cluster.local down")
    hosts.enter_own_network()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.state.parent.mkdir(exist_ok=True)
    try:
        with running(options.state) as cluster:
            print(f"up: {HEAD}, {', '.join(WORKERS)} with Ray, {STORE} with S3; Ctrl-C ends it", flush=True)
            if options.command:
                return subprocess.run(options.command, env=cluster.variables()).returncode
            signal.pause()
    except KeyboardInterrupt:
        print("down", flush=True)
    return 130 if options.command else 0


def demo(options: argparse.Namespace) -> int:
    """Bring it up, run the demo on it, and take it down."""
    settings = [part for assignment in options.set for part in ("--set", assignment)]
    options.command = [sys.executable, "-m", "cluster.local.demo", *settings]
    return up(options)


def execute(options: argparse.Namespace) -> int:
    """Run a command where the cluster is in reach, or on one of its hosts."""
    cluster = _cluster(options)
    target = cluster.first[options.on] if options.on else cluster.program
    return subprocess.run(
        hosts.enter(target, options.command, whole=bool(options.on)), env=cluster.variables()
    ).returncode


def kill(options: argparse.Namespace) -> int:
    """Power a host off."""
    cluster = _cluster(options)
    hosts.power_off(cluster.program, options.host, cluster.first[options.host])
    return 0


def cut(options: argparse.Namespace) -> int:
    """Pull a host's cable."""
    hosts.plug(_cluster(options).program, options.host, into=False)
    return 0


def heal(options: argparse.Namespace) -> int:
    """Plug a host's cable in again."""
    hosts.plug(_cluster(options).program, options.host, into=True)
    return 0


def down(options: argparse.Namespace) -> int:
    """End it."""
    os.kill(_cluster(options).program, signal.SIGTERM)
    return 0


def _cluster(options: argparse.Namespace) -> Cluster:
    found = read(options.state)
    if found is None:
        raise InputError("no cluster is up", where=str(options.state), cure="python -m cluster.local up")
    return found


def main() -> int:
    """Parse the arguments and run the command."""
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m cluster.local",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", type=Path, default=STATE, metavar="FILE", help="by which it is found (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function in {"up": up, "down": down}.items():
        commands.add_parser(name, help=function.__doc__).set_defaults(run=function, command=[])
    command = commands.add_parser("demo", help=demo.__doc__)
    command.set_defaults(run=demo)
    command.add_argument("--set", action="append", default=[], metavar="a.b=c", help="replace one setting of the demo")
    command = commands.add_parser("exec", help=execute.__doc__)
    command.set_defaults(run=execute)
    command.add_argument("--on", choices=(HEAD, *WORKERS, STORE), help="the host; without it, beside them")
    command.add_argument("command", nargs="+", help="after a --")
    for name, function in {"kill": kill, "cut": cut, "heal": heal}.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("host", choices=(*WORKERS, STORE, HEAD))
    options = parser.parse_args()
    return answer(lambda: options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
