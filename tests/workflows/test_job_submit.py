"""`ray job submit` to a standing cluster. If this fails, what runs on a laptop does not run on a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks.servers import free_port
from tests.workflows.conftest import ROOT

BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Ray head with token authentication, as a process of its own. Gives the environment to reach it with."""
    ports = {name: free_port() for name in ("gcs", "dashboard", "client")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    start = [BIN / "ray", "start", "--head", "--block", f"--port={ports['gcs']}", "--num-cpus=2"]
    start += [f"--dashboard-port={ports['dashboard']}", f"--ray-client-server-port={ports['client']}"]
    start += ["--object-store-memory=200000000", "--node-ip-address=127.0.0.1"]
    log = (tmp_path_factory.mktemp("head") / "head.log").open("w")
    head = subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{ports['dashboard']}"
    try:
        request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
        for _ in range(120):
            try:
                urllib.request.urlopen(request, timeout=5).read()
                break
            except (urllib.error.URLError, OSError):
                assert head.poll() is None, "the head ended"
                time.sleep(0.5)
        yield address, environment
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        log.close()


def submit(cluster, name, assignments):
    address, environment = cluster
    arguments = [BIN / "ray", "job", "submit", "--address", address, "--working-dir", ".", "--"]
    arguments += ["python", "-m", f"workflows.{name}", "--config", "configs/demo.yaml"]
    for assignment in assignments:
        arguments += ["--set", assignment]
    for _ in range(30):  # a head that has just started answers before it can take jobs
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        if "No available agent" not in done.stderr:
            break
        time.sleep(1)
    return done


def test_the_same_commands_run_as_jobs(cluster, demo_set):
    folder, assignments = demo_set
    ours = [*assignments, f"data.prepared={folder}/prepared-by-job", "run.name=job"]
    prepared = submit(cluster, "prepare", ours)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert "9 clips prepared, 0 rejected" in prepared.stdout
    trained = submit(cluster, "loso", ours)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    with open(folder / "runs/job/results.json") as file:
        assert json.load(file)["folds"]["complete"] == 3
    here, there = (json.load(open(folder / part / "card.json")) for part in ("prepared", "prepared-by-job"))
    assert [shard["sha256"] for shard in here["shards"]] == [shard["sha256"] for shard in there["shards"]]


def test_a_failing_job_fails(cluster, tmp_path):
    done = submit(cluster, "loso", [f"data.prepared={tmp_path}"])
    assert done.returncode == 1 and "card.json is missing" in done.stdout + done.stderr
