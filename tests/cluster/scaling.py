"""Prepare, then loso, on a Ray cluster that begins without workers and grows by its autoscaler, on this machine.

unshare --net --pid --fork --mount --mount-proc python scaling.py GROUPS SET...

GROUPS is JSON: the autoscaler's node types. Prints JSON: the exit status of each command, and the most nodes of each type.
Ray's test cluster ends every Ray process that it sees, so this belongs into namespaces of its own.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider
from ray.cluster_utils import AutoscalingCluster

ROOT = Path(__file__).parents[2]


class Provider(FakeMultiNodeProvider):
    """Ray's provider for tests starts nodes on this machine. It refuses to be told their memory: they have the machine's."""

    def _create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        known = {name: value for name, value in resources.items() if name != "memory"}
        super()._create_node_with_resources_and_labels(node_config, tags, count, known, labels)


class Cluster(AutoscalingCluster):
    """Ray's cluster for tests, whose own defaults are missing from its package."""

    def _generate_config(self, head_resources, worker_node_types, **_):
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        commands = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray", "initialization")
        provider = {
            "type": "external",
            "module": "tests.cluster.scaling.Provider",
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        }
        return {
            **{f"{name}_commands": [] for name in commands},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "auth": {},
            "docker": {},
            "upscaling_speed": 1,
            "cluster_name": "scaling",
            "max_workers": 8,
            "idle_timeout_minutes": 0.5,
            "provider": provider,
            "head_node_type": "ray.head.default",
            "available_node_types": {"ray.head.default": head, **worker_node_types},
        }


def main(groups: dict, assignments: list[str]) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    cluster = Cluster({"CPU": 0, "object_store_memory": 80 << 20}, groups, autoscaler_v2=True)
    cluster.start()
    ray.init("auto", logging_level="ERROR", log_to_driver=False)
    most: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            types = [name for node in ray.nodes() if node["Alive"] for name in groups if node["Resources"].get(name)]
            for name in groups:
                most[name] = max(most.get(name, 0), types.count(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun, found = time.monotonic(), {}
    for stage in ("prepare", "loso"):
        sets = [part for assignment in assignments for part in ("--set", assignment)]
        command = [sys.executable, "-m", f"workflows.{stage}", "--config", "configs/demo.yaml", *sets]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "RAY_ADDRESS": "auto"}, stdout=sys.stderr, timeout=900
        )
        found[stage] = {"status": done.returncode, "nodes": dict(most), "seconds": round(time.monotonic() - begun)}
        most.clear()
    over.set()
    watcher.join()
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
