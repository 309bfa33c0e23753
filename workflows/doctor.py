"""Find what is wrong with a machine or a cluster before a run does, and say the cure.

Checks the head node and its token, the versions on every node, GPUs, CPUs and memory against the settings, /dev/shm, free disk,
the object store, the clocks, and the storage of the configuration (manifest, prepared set, runs) from the driver and from
every node: folders that are not there are made, small files named .doctor-... written and deleted again. Without RAY_ADDRESS
it starts Ray on this machine.

examples:
  python -m workflows.doctor --config configs/demo.yaml
  RAY_ADDRESS=10.0.0.1:6379 python -m workflows.doctor --config my.yaml --set data.prepared=s3://lab/prepared
  ray job submit --working-dir . -- python -m workflows.doctor --config my.yaml

exit status: 0 all is well, or there are only warnings; 1 something is wrong; 2 bad input, with the cure
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from hsta import storage
from hsta.datasets import shards
from hsta.errors import InputError
from hsta.vision.recipe import recipe_hash
from workflows import command, doctor_facts, doctor_judge, engine
from workflows.config import Config
from workflows.doctor_facts import Machine, Place
from workflows.doctor_judge import OK, WRONG, Finding, Group, Node
from workflows.preflight import loaded_bytes
from workflows.prepared import open_set

KNOCK = 5.0  # seconds for the head's port to answer
JOIN = 40.0  # seconds to join the cluster; Ray alone would try for two minutes and then end the process
NODES = 60.0  # seconds for all nodes together
JOIN_CODE = "from workflows.engine import ray_session\nwith ray_session(): pass"
# What Ray writes while it cannot join, what it means, and the cure; the first that is found counts.
JOINING = (
    (
        "Version mismatch",
        "it runs another version",
        f"{doctor_judge.ONE_IMAGE}, or submit from anywhere with ray job submit",
    ),
    (
        "InvalidAuthToken",
        "it refuses this token, or wants one and got none",
        "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the token of the head",
    ),
    (
        "no authentication token was found",
        "RAY_AUTH_MODE is token, and there is no token",
        "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the token of the head",
    ),
    (
        "Could not find any running Ray instance",
        "no Ray runs on this machine",
        "unset RAY_ADDRESS to work on this machine alone, or give it the head's address, HOST:6379",
    ),
    (
        "Can't find a node_ip_address.json file",
        "this machine is no node of the cluster",
        "run the doctor on a node, or with ray job submit --address http://HOST:8265",
    ),
    *(
        (
            mark,
            "no Ray head answers there",
            "RAY_ADDRESS is the head's GCS port (6379), not the dashboard's (8265) or the client's (10001)",
        )
        for mark in ("TimedOut", "Received http2 header")
    ),
)


def run(config: Config) -> int:
    """Check everything and print each finding when it is there. Returns the exit status."""
    levels: Counter[str] = Counter()

    def say(findings: Iterable[Finding]) -> None:
        for finding in findings:
            levels[finding.level] += 1
            print(finding, flush=True)

    since = time.monotonic()
    with _marked_places(config) as (places, driver):
        set_bytes, preflight = _preflight(config, driver)
        say(preflight)
        address = os.environ.get("RAY_ADDRESS", "")
        head = _head(address) if address else Finding(OK, "head", "RAY_ADDRESS is not set: Ray on this machine alone")
        say([head])
        if head.level == WRONG:
            nodes, session = [], ""
        else:
            with redirect_stdout(sys.stderr), engine.ray_session():  # Ray prints what its nodes complain of
                nodes, groups, session = _nodes(places)
    if nodes:
        say(doctor_judge.judge_answers(nodes))
        say(doctor_judge.judge_versions(driver, nodes))
        say(doctor_judge.judge_gpus(nodes, groups, config.folds))
        say(doctor_judge.judge_prepare(nodes, groups, config.prepare))
        say(doctor_judge.judge_folds(nodes, groups, config.folds))
        say(doctor_judge.judge_memory(nodes, set_bytes, config.folds.data))
    machines = {"driver": driver} | {node.name: node.machine for node in nodes if node.machine}
    say(doctor_judge.judge_disks(machines, session))
    for number, place in enumerate(places):
        found = {name: machine.stores[number] for name, machine in machines.items()}
        say(doctor_judge.judge_store(place.url, found))
    say(doctor_judge.judge_clocks(nodes, {name: machine.stores for name, machine in machines.items()}))
    counts = ", ".join(f"{levels[level]} {level}" for level in (OK, doctor_judge.WARNING, WRONG))
    print(f"doctor: {counts}, in {time.monotonic() - since:.0f} s", flush=True)
    return 1 if levels[WRONG] else 0


@contextmanager
def _marked_places(config: Config):
    """The places that the configuration names, each folder with a mark that other machines must see, and what the driver
    found; the marks are taken away again."""
    urls = [storage.absolute(config.data.prepared), storage.absolute(config.run.storage)]
    mark = f".doctor-{uuid.uuid4().hex}"
    places = [] if config.synthetic else [Place(url=storage.absolute(config.data.manifest), folder=False)]
    places += [Place(url=url) for url in dict.fromkeys(urls)]
    driver = doctor_facts.examine(places, [])
    marked = []
    for place, facts in zip(places, driver.stores):
        if place.folder and not facts.step:
            place = Place(url=place.url, mark=storage.join(place.url, mark))
            storage.write_bytes(place.mark, b"")
        marked.append(place)
    try:
        yield marked, driver
    finally:
        for place in marked:
            if place.mark:
                storage.delete(place.mark)


def _preflight(config: Config, driver: Machine) -> tuple[int, list[Finding]]:
    """Manifest and prepared set against the settings, as far as they can be read. Returns also the bytes that the prepared
    set takes in memory, 0 where there is none."""
    found, set_bytes = [Finding(OK, "config", f"run '{config.run.name}' -> {config.folder}")], 0
    failed = {facts.url for facts in driver.stores if facts.step}  # said by `judge_store`
    data = config.data
    try:
        if not config.synthetic and storage.absolute(data.manifest) not in failed:
            from hsta.datasets.manifest import read_manifest

            clips = read_manifest(data.manifest, dataset=data.dataset, label_set=data.label_set, classes=config.classes)
            found.append(Finding(OK, "manifest", f"{len(clips)} clips in {data.manifest}"))
        root = storage.absolute(data.prepared)
        if root not in failed and storage.exists(storage.join(root, shards.CARD_FILE)):
            card = shards.read_card(root)
            if card["recipe_hash"] != recipe_hash(config.vision):
                cure = "prepare again with --force, choose another data.prepared, or give the settings it was made with"
                found.append(Finding(WRONG, "prepared", "the set was made with other settings or versions", cure))
            else:
                found.append(Finding(OK, "prepared", f"{card['prepared']} clips in {len(card['shards'])} shards"))
            set_bytes = loaded_bytes(config, open_set(root))
        elif root not in failed:
            found.append(Finding(OK, "prepared", "nothing yet: workflows.prepare comes first"))
    except InputError as error:
        found.append(Finding(WRONG, "preflight", f"{error.where}: {error.problem}", error.cure))
    return set_bytes, found


def _head(address: str) -> Finding:
    """Whether the cluster that RAY_ADDRESS names can be joined, within a bounded time."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address.startswith("http"):
        cure = "set RAY_ADDRESS to HOST:6379, or use this address with ray job submit --address"
        return Finding(WRONG, "head", f"RAY_ADDRESS={address} is the address of the dashboard", cure)
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=KNOCK).close()
        except OSError as error:
            return Finding(
                WRONG,
                "head",
                f"nobody answers at RAY_ADDRESS={address}: {error}",
                "start the head (ray start --head), or set RAY_ADDRESS to where it is; open port 6379 between this "
                "machine and it; unset RAY_ADDRESS to work on this machine alone",
            )
    since = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        # In a process of its own: Ray may try for minutes, and then ends the process that joins.
        child = subprocess.Popen(
            [sys.executable, "-c", JOIN_CODE], stdout=log, stderr=log, cwd=Path(__file__).resolve().parents[1]
        )
        try:
            while child.poll() is None and time.monotonic() < since + JOIN and "InvalidAuthToken" not in _text(log):
                time.sleep(0.2)
        finally:
            child.kill()
            status = child.wait()
        text = _text(log)
    if status == 0:
        return Finding(OK, "head", f"joined RAY_ADDRESS={address} in {time.monotonic() - since:.1f} s")
    meaning, cure = next(
        ((meaning, cure) for mark, meaning, cure in JOINING if mark in text),
        ("it cannot be joined", "see the message, and the head's logs in /tmp/ray/session_latest/logs"),
    )
    said = [line.strip() for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(said) if "Version mismatch" in line), len(said) - 1)
    shown = " ".join(said[max(0, start) :]) or f"no answer within {JOIN:.0f} s"
    return Finding(WRONG, "head", f"{meaning}: RAY_ADDRESS={address}: {shown}", cure)


def _text(log) -> str:
    log.seek(0)
    return log.read()


def _nodes(places: list[Place]) -> tuple[list[Node], list[Group], str]:
    """Every node with what a task on it found, the groups of nodes that the autoscaler may start, and Ray's session folder."""
    import ray
    from ray._private.state import state
    from ray._private.worker import _global_node
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    session = _global_node.get_session_dir_path()
    alive = [node for node in ray.nodes() if node["Alive"]]
    pins = [
        {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], False)}
        for node in alive
    ]
    examine, now = ray.remote(doctor_facts.examine), ray.remote(doctor_facts.now)
    tasks = [
        examine.options(**pin).remote(places, [session], gpu=bool(node["Resources"].get("GPU")))
        for node, pin in zip(alive, pins)
    ]
    ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=NODES)
    names = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node, pin, task in zip(alive, pins, tasks):
        host = node["NodeManagerHostname"]
        name = host if names[host] == 1 else f"{host}:{node['NodeID'][:6]}"
        machine, problem, skew = None, f"no answer within {NODES:.0f} s", 0.0
        try:
            if task in ready:
                machine = ray.get(task)
                skew = _skew(now.options(**pin))
        except (ray.exceptions.RayError, OSError, ImportError, RuntimeError) as error:
            problem = str(error).strip().splitlines()[-1]
        found.append(Node(name=name, resources=node["Resources"], machine=machine, problem=problem, skew=skew))
    config = state.get_cluster_config()
    groups = [
        (dict(group.resources), float("inf") if group.max_count < 0 else group.max_count)
        for group in (config.node_group_configs if config else ())
    ]
    return found, groups, session


def _skew(now) -> float:
    """Seconds by which a node's clock is ahead of this one, by the task ``now`` on it: the least of three readings, of
    which the first may wait for a worker."""
    import ray

    readings = []
    for _ in range(3):
        before = time.time()
        there = ray.get(now.remote(), timeout=10)
        readings.append(doctor_facts.apart(before, there, time.time()))
    return min(readings, key=abs)


if __name__ == "__main__":
    raise SystemExit(command.main("doctor", __doc__, run))
