"""The hosts on one machine, and whole jobs on them. If these fail, what runs on one machine does not survive on several."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.workflows.conftest import ROOT

SMALL = ["synthetic.subjects=3", "synthetic.clips_per_class=6", "train.epochs=12", "train.batch_size=4"]
SMALL += ["train.warmup_epochs=1", "folds.checkpoint_every=1"]
TOGETHER = ["folds.workers=2", "train.epochs=24"]


def unshared() -> list[str]:
    """What gives this user a network of its own."""
    return [
        "unshare",
        "--net",
        *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
        "--mount",
        "--pid",
        "--fork",
    ]


pytestmark = pytest.mark.skipif(
    subprocess.run([*unshared(), "--mount-proc", "true"], capture_output=True).returncode != 0,
    reason="this machine gives no namespaces: run as root, or allow unprivileged user namespaces",
)
long = pytest.mark.skipif(not os.environ.get("HSTA_LONG"), reason="takes minutes: `make test-cluster` runs it")

TWO_HOSTS = """
import os, subprocess, sys
from cluster.local.hosts import Hosts, enter_own_network, plug, power_off

def says(host, argv):
    return subprocess.run(hosts.on(host, argv), capture_output=True, text=True).stdout.strip()

def reached():
    connect = ["timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/b/7000"]
    return subprocess.run(hosts.on("a", connect), capture_output=True).returncode == 0

enter_own_network()
with Hosts(["a", "b"], shared_memory="8m") as hosts:
    serve = "import socket; s = socket.create_server(('', 7000)); print('ready', flush=True)\\nwhile True: s.accept()"
    server = subprocess.Popen(hosts.on("b", [sys.executable, "-c", serve]), stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    assert says("a", ["hostname"]) == "a" and says("a", ["getent", "hosts", "b"]).split() == ["10.77.0.2", "b"]
    assert "8.0M" in says("b", ["df", "-h", "/dev/shm"]) and says("b", ["ls", "/tmp/ray"]) == ""
    assert reached()
    plug(os.getpid(), "b", into=False)
    assert not reached()
    plug(os.getpid(), "b", into=True)
    assert reached()
    power_off(os.getpid(), "b", hosts.first["b"])
    assert server.wait(9) != 0
    print(hosts.first["a"], flush=True)
    sys.stdin.read()
"""


def test_hosts_have_their_own_world_and_die_with_the_program():
    program = subprocess.Popen(
        [sys.executable, "-c", TWO_HOSTS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    first = int(program.stdout.readline())
    assert os.path.exists(f"/proc/{first}")
    program.kill()
    program.wait()
    until = time.monotonic() + 10
    while os.path.exists(f"/proc/{first}"):
        assert time.monotonic() < until, "a host outlives the program"
        time.sleep(0.05)


def test_without_a_cluster_it_says_how_to_get_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cluster.local", "--state", tmp_path / "none", "kill", "w1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no cluster is up" in done.stderr and "cluster.local up" in done.stderr


class Cluster:
    """A cluster that `python -m cluster.local up` keeps up."""

    def __init__(self, state):
        self._command = [sys.executable, "-m", "cluster.local", "--state", state]
        self.program = subprocess.Popen([*self._command, "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.program.stdout.readline().startswith("up: head, w1, w2")

    def __call__(self, *arguments):
        """Run `python -m cluster.local ...` and return its standard output."""
        done = subprocess.run([*self._command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command):
        """Start a command beside the hosts."""
        argv = ["timeout", "900", *self._command, "exec", "--", *command]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def job(self, stage, *assignments):
        """Start a stage of the demo as a job."""
        from cluster.local.demo import job

        return self.start(*job(stage, [*SMALL, *assignments]))

    def predictions(self, name):
        """A run's prediction log: clip, subject, predicted class and probabilities."""
        code = (
            "import sys; from hsta.evaluation.predictions import read_predictions as read\n"
            "print(read(sys.argv[1]).sort_values('clip_id').to_json(orient='records', double_precision=15))"
        )
        return json.loads(self("exec", "--", "python", "-c", code, f"s3://hsta/runs/{name}/predictions.parquet"))

    def wait_until_whole(self, seconds=180):
        """Wait until the head counts three hosts again: one that was cut off starts Ray anew."""
        code = (
            "import os, urllib.request as web\n"
            "token = {'Authorization': 'Bearer ' + os.environ['RAY_AUTH_TOKEN']}\n"
            "url = os.environ['RAY_API_SERVER_ADDRESS'] + '/nodes?view=summary'\n"
            "print(web.urlopen(web.Request(url, headers=token)).read().decode())"
        )
        deadline = time.monotonic() + seconds
        while True:
            nodes = json.loads(self("exec", "--", "python", "-c", code))["data"]["summary"]
            states = [node["raylet"].get("state") for node in nodes]
            if states.count("ALIVE") == 3:
                return
            assert time.monotonic() < deadline, states
            time.sleep(1)

    def end(self):
        self.program.send_signal(signal.SIGTERM)
        assert self.program.wait(60) == 0


def until(process, pattern):
    """Read a process's output up to a line that matches."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    raise AssertionError("".join(lines))


def rest(process):
    """Its exit status and the rest of its output."""
    text = process.communicate()[0]
    return process.returncode, text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("cluster") / "state.json")
    yield found
    found.end()


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """The predictions of a run of the whole demo as jobs."""
    settings = [part for assignment in SMALL for part in ("--set", assignment)]
    status, text = rest(cluster.start("python", "-m", "cluster.local.demo", *settings))
    assert status == 0, text
    assert "54 clips prepared, 0 rejected" in text and text.count("succeeded") == 3
    return cluster.predictions("demo")


@long
def test_prepare_loso_and_report_are_jobs_on_three_hosts(cluster, undisturbed):
    assert len({row["clip_id"] for row in undisturbed}) == len(undisturbed) == 54
    report = ROOT / "runs" / "demo-on-local-cluster.html"
    assert "UF1" in report.read_text()
    report.unlink()


@long
def test_what_is_uploaded_is_small(cluster, undisturbed):
    """Stored without compression, so that the size of the files is the size of the upload."""
    folder = "/tmp/ray/session_latest/runtime_resources/working_dir_files"
    files = cluster("exec", "--on", "head", "--", "find", folder, "-type", "f", "-printf", "%s %P\n").splitlines()
    uploads = {}
    for size, path in (line.split(" ", 1) for line in files):
        upload, inside, path = path.partition("/")
        if inside:
            uploads.setdefault(upload, {})[path] = int(size)
    assert uploads
    for sizes in uploads.values():
        assert "workflows/loso.py" in sizes and sum(sizes.values()) < 5e6
        assert not [path for path in sizes if path.startswith((".git/", ".venv/", "runs/", "data/"))]


@long
@pytest.mark.parametrize("variables", [["-u", "RAY_AUTH_TOKEN"], ["RAY_AUTH_TOKEN=" + "0" * 48]], ids=["none", "wrong"])
def test_a_job_without_the_token_is_refused(cluster, variables, tmp_path):
    touch = ["ray", "job", "submit", "--", "touch", str(tmp_path / "ran")]
    status, text = rest(cluster.start("env", *variables, "HOME=/nonexistent", *touch))
    assert status != 0 and re.search("40[13]|nauth|oken", text), text
    assert not (tmp_path / "ran").exists()
    status, text = rest(cluster.start(*touch))
    assert status == 0 and (tmp_path / "ran").exists(), text


@pytest.fixture(scope="module")
def together(cluster, undisturbed):
    """The predictions of a run whose folds are each trained by two hosts together."""
    status, text = rest(cluster.job("loso", *TOGETHER, "run.name=together"))
    assert status == 0, text
    return cluster.predictions("together")


@long
@pytest.mark.parametrize("seconds", [60, None], ids=["a minute", "good"])
def test_two_hosts_that_train_together_survive_a_cut_for(cluster, together, seconds):
    name = f"cut-{seconds}"
    job = cluster.job("loso", *TOGETHER, f"run.name={name}")
    until(job, r"folds: .* [1-9]\d*/\d+ epochs")
    trains = [
        host
        for host in ("w1", "w2")
        if "RayTrainWorker" in cluster("exec", "--on", host, "--", "ps", "-e", "-o", "args")
    ]
    assert trains, "folds train on two hosts of three"
    cluster("cut", trains[0])
    if seconds:
        time.sleep(seconds)
        cluster("heal", trains[0])
    status, text = rest(job)
    assert status == 0 and "3/3 complete" in text, text
    assert cluster.predictions(name) == together
    if not seconds:
        cluster("heal", trains[0])
    cluster.wait_until_whole()


@long
def test_a_host_that_dies_in_each_stage_stops_nothing(cluster, undisturbed):
    """Power off, so this comes last: w1 while clips are prepared, w2 while folds train; the head finishes alone."""
    places = ["data.prepared=s3://hsta/prepared-again", "run.name=killed"]
    prepare = cluster.job("prepare", *places)
    until(prepare, r"prepare: .* [1-9]\d*/54 clips")
    cluster("kill", "w1")
    status, text = rest(prepare)
    assert status == 0 and "54 clips prepared, 0 rejected" in text, text
    loso = cluster.job("loso", *places)
    until(loso, r"folds: .* [1-9]\d*/36 epochs")
    cluster("kill", "w2")
    status, text = rest(loso)
    assert status == 0 and "marked dead" in text, text
    assert cluster.predictions("killed") == undisturbed
