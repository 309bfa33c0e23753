"""The doctor on clusters with planted faults. If these fail, an engineer looks for hours for what one command should say."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from benchmarks.servers import free_port
from tests.workflows.conftest import ROOT
from workflows import doctor as command

TOKEN = "0123456789abcdef" * 4
OTHER_PYTHON = "/usr/bin/python3.11"
AS_ROOT = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
NAMESPACES = ["unshare", *AS_ROOT, "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
SITE = str(Path(ray.__file__).parents[1])


def works(arguments):
    try:
        return subprocess.run(arguments, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def other_python():
    """Another patch version of the same minor, so that this environment's packages can be imported by it."""
    code = "import sys; print(sys.version_info[:3])"
    try:
        found = subprocess.run([OTHER_PYTHON, "-c", code], capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        return False
    return found.startswith(str(sys.version_info[:2])[:-1]) and found != str(sys.version_info[:3])


needs_namespaces = pytest.mark.skipif(
    not works([*NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]), reason="no mount namespaces for this user here"
)
needs_other_python = pytest.mark.skipif(not other_python(), reason=f"no other patch version at {OTHER_PYTHON}")


def doctor(*assignments, environment=None, python=sys.executable):
    """Run the command; gives exit status, output and seconds."""
    arguments = [python, "-m", "workflows.doctor", "--config", "configs/demo.yaml"]
    for assignment in assignments:
        arguments += ["--set", assignment]
    since = time.monotonic()
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stdout and "doctor: " in done.stdout, done.stdout + done.stderr
    return done.returncode, done.stdout, time.monotonic() - since


def lines(output, level):
    """Findings of a level, each with its cure."""
    return [line for line in output.replace("\n  cure:", " cure:").splitlines() if line.startswith(level)]


def clean(**variables):
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables


def start_ray(*arguments, python=sys.executable):
    start = [python, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
    return [*start, "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", *arguments]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head with token authentication; the environment of a driver that may join it."""
    port = free_port()
    environment = clean(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_USAGE_STATS_ENABLED="0")
    environment |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1", "PYTHONPATH": str(ROOT)}
    start = start_ray("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    start += [f"--ray-client-server-port={free_port()}"]
    log = (tmp_path_factory.mktemp("head") / "head.log").open("w+")
    process = subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 90
        health = [*start[:3], "health-check", "--address", f"127.0.0.1:{port}"]
        while subprocess.run(health, env=environment, capture_output=True).returncode:
            assert process.poll() is None and time.monotonic() < until, log.seek(0) or log.read()
            time.sleep(0.5)
        yield environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def test_a_healthy_machine_is_well_and_is_left_as_it_was(demo_set):
    folder, assignments = demo_set
    before = {path for path in folder.rglob("*") if path.is_file()}
    status, output, seconds = doctor(*assignments, "synthetic=null", environment=clean())
    assert status == 0 and not lines(output, "wrong"), output
    assert seconds < 90  # 5 on a quiet machine
    for said in (
        "9 clips in",
        "9 clips in 3 shards",
        "everywhere",
        "actors fit",
        "at a time fit",
        "the set takes",
    ):
        assert said in output, output
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def test_a_head_that_nobody_answers_for_is_said_at_once(tmp_path):
    port = free_port()
    status, output, seconds = doctor(f"run.storage={tmp_path}", environment=clean(RAY_ADDRESS=f"127.0.0.1:{port}"))
    (line,) = lines(output, "wrong")
    assert status == 1 and seconds < 20
    assert f"nobody answers at RAY_ADDRESS=127.0.0.1:{port}" in line and "cure: start the head" in line
    assert any(f"storage {tmp_path}" in other for other in lines(output, "ok"))  # the rest is checked all the same


def test_the_dashboards_address_is_no_head():
    _, output, _ = doctor(environment=clean(RAY_ADDRESS="http://127.0.0.1:8265"))
    assert "is the address of the dashboard" in output and "cure: set RAY_ADDRESS to HOST:6379" in output


def test_what_listens_but_is_no_head_is_given_up(monkeypatch):
    monkeypatch.setattr(command, "JOIN", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        since = time.monotonic()
        found = command._head(f"127.0.0.1:{silent.getsockname()[1]}")
    assert found.level == "wrong" and "cannot be joined" in found.found and time.monotonic() - since < 15


def test_wrong_settings_are_bad_input():
    arguments = [sys.executable, "-m", "workflows.doctor", "--config", "configs/demo.yaml", "--set", "folds.gpu=1"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'gpus'" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "it refuses this token"),
        ({"RAY_AUTH_TOKEN": ""}, "there is no token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": "disabled"}, "wants one and got none"),
    ],
)
def test_a_wrong_or_missing_token_is_said(head, tmp_path, change, said):
    environment = {name: value for name, value in {**head, **change, "HOME": str(tmp_path)}.items() if value}
    status, output, seconds = doctor(f"run.storage={tmp_path}", environment=environment)
    (line,) = lines(output, "wrong")
    assert status == 1 and seconds < 30 and said in line and "RAY_AUTH_TOKEN" in line.partition("cure:")[2]


def other_ray(folder, version):
    """A Ray of another version in a folder of its own, as an upgrade on one machine leaves it."""
    (folder / "ray").mkdir(parents=True)
    for part in Path(ray.__file__).parent.iterdir():
        if part.name not in ("_version.py", "__pycache__"):
            (folder / "ray" / part.name).symlink_to(part)
    own = (Path(ray.__file__).parent / "_version.py").read_text()
    (folder / "ray/_version.py").write_text(own.replace(ray.__version__, version))
    metadata = folder / f"ray-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ray\nVersion: {version}\n")


def test_a_driver_of_another_ray_is_told_both_versions(head, tmp_path):
    other_ray(tmp_path / "ray", "2.59.0")
    environment = head | {"PYTHONPATH": f"{tmp_path}/ray"}
    status, output, _ = doctor(f"run.storage={tmp_path}/runs", environment=environment)
    (line,) = lines(output, "wrong")
    assert status == 1 and "Ray: 2.60.0" in line and "Ray: 2.59.0" in line and "cure: give the head" in line


@needs_other_python
def test_a_driver_of_another_python_is_told_both_versions(head, tmp_path):
    environment = head | {"PYTHONPATH": SITE}
    status, output, _ = doctor(f"run.storage={tmp_path}/runs", environment=environment, python=OTHER_PYTHON)
    (line,) = lines(output, "wrong")
    assert status == 1 and line.count("Python: 3.11.") == 2 and "cure: give the head" in line


@pytest.fixture(scope="module")
def sick(head, demo_set, tmp_path_factory):
    """What the doctor says of a cluster with a node that has every fault: the exit status and the output."""
    folder = tmp_path_factory.mktemp("sick")
    for name in ("own", "shared", "full", "ray"):
        (folder / name).mkdir()
    script = f"""hostname sick; mount -t tmpfs -o size=64m tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp/ray
        mount -t tmpfs tmpfs {folder}/own; mount --bind {folder}/shared {folder}/shared
        mount -o remount,ro,bind {folder}/shared; mount -t tmpfs -o size=20m tmpfs {folder}/full; exec "$@" """
    environment = head | {"TMPDIR": f"{folder}/full", "PYTHONPATH": f"{folder}/ray:{ROOT}:{SITE}"}
    environment["RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"] = "minor"
    python = OTHER_PYTHON if other_python() else sys.executable
    os.makedirs("/tmp/ray", exist_ok=True)
    start = start_ray(f"--address={head['RAY_ADDRESS']}", "--num-cpus=1", python=python)
    log = (folder / "node.log").open("w+")
    arguments = [*NAMESPACES, "bash", "-ec", script, "sick", *start]
    process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 90
        while "Ray runtime started" not in (folder / "node.log").read_text():
            assert process.poll() is None and time.monotonic() < until, (folder / "node.log").read_text()
            time.sleep(0.5)
        shutil.rmtree(folder / "ray")
        other_ray(folder / "ray", "2.59.0")  # Ray itself refuses a node of another version; not one changed afterwards
        (folder / "ray/sitecustomize.py").write_text("import time; now = time.time; time.time = lambda: now() - 420")
        places = [f"data.prepared={folder}/own", f"run.storage={folder}/shared", "folds.gpus=1"]
        driver = head | {"RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor"}
        yield *doctor(*demo_set[1], "synthetic=null", *places, environment=driver), folder
    finally:
        process.kill()
        process.wait()
        log.close()


@needs_namespaces
@pytest.mark.parametrize(
    ("check", "found", "cure"),
    [
        ("versions: sick", "ray is 2.59.0 there, 2.60.0 at the driver", "one image"),
        pytest.param("versions: sick", "Python is 3.11.", "one image", marks=needs_other_python),
        ("storage {folder}/own: sick", "does not see the file that the driver wrote", "NFS"),
        ("storage {folder}/shared: sick", "cannot write: the disk is mounted read-only", "choose another folder"),
        ("/dev/shm: sick", "has 67 MB, Ray's object store there is 100 MB", "--shm-size"),
        ("disk: sick", "free in {folder}/full", "TMPDIR"),
        ("gpus", "folds.gpus is 1, the cluster has no GPU", "--set folds.gpus=0"),
        ("clocks", "sick is 420 s behind", "NTP"),
    ],
)
def test_each_fault_of_a_sick_node_is_found_with_its_cure(sick, check, found, cure):
    status, output, _, folder = sick
    check, found = check.format(folder=folder), found.format(folder=folder)
    said = [line for line in lines(output, "wrong") if line.startswith(f"wrong    {check}")]
    assert status == 1 and any(found in line and cure in line.partition("cure:")[2] for line in said), output


@needs_namespaces
def test_a_sick_node_hides_nothing_and_delays_nothing(sick):
    _, output, seconds, _ = sick
    assert seconds < 90 and "nodes: 2 of 2 ran a task" in output
    assert not [line for line in lines(output, "wrong") if "driver:" in line.split(" cure:")[0]]
