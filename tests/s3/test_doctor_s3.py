"""The doctor on a real S3 server. If these fail, a wrong key, a wrong endpoint and a missing right look alike."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import uuid

import pytest

from benchmarks.servers import KEYS, free_port
from hsta import storage
from tests.workflows.conftest import ROOT
from workflows import doctor_facts
from workflows.doctor_facts import Place
from workflows.doctor_judge import judge_store

CLOCK = """
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *found) {
    long status = syscall(SYS_clock_gettime, clock, found);
    if (clock == CLOCK_REALTIME) found->tv_sec += AHEAD;
    return status;
}
"""
PROBE = """
import dataclasses, json, sys
from workflows import doctor_facts as facts
print(json.dumps(dataclasses.asdict(facts.examine([facts.Place(url=sys.argv[1])], []).stores[0])))
"""


@pytest.fixture
def direct(server, store, monkeypatch):
    """The server without its proxy, and new clients."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return f"{store}/doctor-{uuid.uuid4().hex}"


def finding(url, folder=True):
    """What the doctor says of one place."""
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()  # credentials are no part of a client's identity
    machine = doctor_facts.examine([Place(url=url, folder=folder)], [])
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    (found,) = judge_store(url, {"here": machine.stores[0]})
    return found


def test_a_healthy_store_is_measured(direct):
    found = finding(direct)
    assert found.level != "wrong" and "MB/s up" in found.found and storage.find(direct) == []
    assert finding(f"{direct}/clips.csv", folder=False).level == "wrong"
    storage.write_bytes(f"{direct}/clips.csv", b"clip_id")
    assert finding(f"{direct}/clips.csv", folder=False).level != "wrong"


@pytest.mark.parametrize(
    ("environment", "bucket", "meaning", "cure"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            None,
            "the secret key is wrong (SignatureDoesNotMatch)",
            "AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ACCESS_KEY_ID": "expired"}, None, "they expired, were deleted", "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, None, "there are no credentials", "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, None, "there are no credentials", "AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, None, "nothing answers at the endpoint", "AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:9"}, None, "the endpoint is not one", "begins with http://"),
        ({}, "s3://no-such-bucket/x", "there is no such bucket", "make it"),
    ],
)
def test_each_kind_of_refusal_is_told_apart(direct, monkeypatch, environment, bucket, meaning, cure):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    found = finding(bucket or direct)
    assert found.level == "wrong" and meaning in found.found and cure in found.cure, found


def test_an_endpoint_with_tls_before_a_server_without_is_said(direct, server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{server.port}")
    assert "does not speak TLS" in finding(direct).found


def test_a_bucket_that_may_be_read_but_not_written_is_said(direct):
    fs, _ = storage.filesystem("s3://readonly")
    fs.mkdir("readonly")
    storage.write_bytes("s3://readonly/clips.csv", b"clip_id")
    denied = {
        "Effect": "Deny",
        "Principal": {"AWS": ["*"]},
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::readonly/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    fs.call_s3("put_bucket_policy", Bucket="readonly", Policy=policy)
    found = finding("s3://readonly/prepared")
    assert (
        "cannot write: these credentials do not allow it (AccessDenied)" in found.found and "s3:PutObject" in found.cure
    )
    assert finding("s3://readonly/clips.csv", folder=False).level != "wrong"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a skewed clock with")
@pytest.mark.parametrize(
    ("ahead", "code", "least", "most"),
    [(420, "", 418, 421), (-420, "", -421, -418), (1200, "RequestTimeTooSkewed", 0, 0)],
)
def test_a_skewed_clock_is_measured_or_refused(direct, tmp_path, ahead, code, least, most):
    (tmp_path / "clock.c").write_text(CLOCK.replace("AHEAD", str(ahead)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "clock.so", tmp_path / "clock.c"], check=True)
    environment = {**os.environ, **storage.environment(), "LD_PRELOAD": str(tmp_path / "clock.so")}
    arguments = [sys.executable, "-c", PROBE, direct]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["code"] == code and least <= (found["skew"] or 0) <= most, found


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that answers every request with one text."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.text)))
        self.end_headers()
        self.wfile.write(self.server.text)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        # What AWS says; Ceph says AccessDenied of expired session credentials.
        (
            400,
            b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
            "have expired",
        ),
        (404, b"<html>no store</html>", "no S3 store"),
    ],
)
def test_expired_credentials_and_what_is_no_store_are_said(direct, monkeypatch, status, text, meaning):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Answers)
    server.status, server.text = status, text
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        assert meaning in finding(direct).found
    finally:
        server.shutdown()


def test_the_command_checks_the_store_from_the_driver_and_from_a_node(direct):
    arguments = [sys.executable, "-m", "workflows.doctor", "--config", "configs/demo.yaml"]
    arguments += ["--set", f"data.prepared={direct}/prepared", "--set", f"run.storage={direct}/runs"]

    def run(**variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | variables
        return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    well = run()
    assert well.returncode == 0 and well.stdout.count(f"storage {direct}") == 2 and "from driver, " in well.stdout, well
    assert storage.find(direct) == []
    ill = run(AWS_SECRET_ACCESS_KEY=KEYS[1] + "x")
    assert ill.returncode == 1 and ill.stdout.count("the secret key is wrong") == 2, ill.stdout + ill.stderr
