"""Ray's cluster launcher on AWS. If these fail, `ray up` is refused, pays for idle machines, or opens a port to the world."""

import copy
import http.server
import os
import re
import signal
import subprocess
import threading
import time

import pytest
import yaml

from tests.workflows.conftest import ROOT
from workflows import engine
from workflows.config import Folds, Prepare

FILE, STACK = ROOT / "cluster/aws/aws.yaml", ROOT / "cluster/aws/account.yaml"
COMMANDS = (
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
REGION = "eu-central-1"


@pytest.fixture
def raw():
    return yaml.safe_load(FILE.read_text())


def prepared(raw: dict) -> dict:
    """What `ray up` makes of the file before it asks AWS for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(raw))
    validate_config(config)
    return config


def test_ray_accepts_it_and_fills_in_nothing_of_its_own(raw):
    config = prepared(raw)
    assert all(config[name] == raw[name] for name in COMMANDS)
    assert sum(kind.get("max_workers", 0) for kind in raw["available_node_types"].values()) <= raw["max_workers"]


@pytest.mark.parametrize(
    "path", ["idle_timeout_minuts", "docker/imag", "available_node_types/cpu-spot/max_worker", "auth/user"]
)
def test_ray_refuses_a_typo(raw, path):
    *keys, last = path.split("/")
    place = raw
    for key in keys:
        place = place[key]
    place[last] = 1
    with pytest.raises(Exception, match=last):
        prepared(raw)


def test_versions_are_the_projects(raw):
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    python = re.search(r"^ARG PYTHON_VERSION=(\S+)$", (ROOT / "cluster/Dockerfile").read_text(), re.MULTILINE)[1]
    assert raw["docker"]["image"].endswith(f":ray{pins['ray']}-py{python}")


def test_money_is_not_lost(raw):
    types = raw["available_node_types"]
    assert raw["provider"]["cache_stopped_nodes"] is False and raw["idle_timeout_minutes"] <= 10
    spot = {name for name, kind in types.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {"cpu-spot", "gpu-spot"}
    assert all(kind["min_workers"] == 0 for name, kind in types.items() if name != "head")
    assert types["gpu-on-demand"]["max_workers"] == 0


def test_no_port_is_open_and_a_token_is_asked_for(raw):
    types = raw["available_node_types"]
    for kind in types.values():
        node = kind["node_config"]
        assert node["SecurityGroupIds"], "else Ray makes a group with port 22 open to the world"
        assert node["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
    assert raw["provider"]["use_internal_ips"] and "start-session" in raw["auth"]["ssh_proxy_command"]
    assert any("--dashboard-host=127.0.0.1" in command for command in raw["head_start_ray_commands"])
    assert list(raw["file_mounts"]) == ["/home/ray/.ray/auth_token"]
    assert not re.search(r"AKIA[0-9A-Z]{16}|SECRET", FILE.read_text())


def test_spot_machines_drain_before_they_go(raw):
    start = raw["worker_start_ray_commands"][-1]
    assert "spot_watch.sh ray start" in start and "--block" in start
    assert int(re.search(r"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=(\d+)", start)[1]) < 120, "a notice is two minutes"


def test_images_have_the_environment_of_the_workflows():
    text = (ROOT / "cluster/Dockerfile").read_text()
    for name, value in {**engine.KEEPALIVE, "RAY_AUTH_MODE": "token", engine.STOP_WAIT: "30"}.items():
        assert f"{name}={value}" in text


@pytest.fixture
def aws(monkeypatch, tmp_path):
    moto = pytest.importorskip("moto", reason="needs the extra 'lint'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its key pair there
    with moto.mock_aws():
        yield


def test_instance_types_have_what_is_said_and_what_the_workflows_ask(raw, aws):
    import boto3

    types = {name: kind for name, kind in raw["available_node_types"].items() if name != "head"}
    names = sorted({kind["node_config"]["InstanceType"] for kind in types.values()})
    found = boto3.client("ec2", REGION).describe_instance_types(InstanceTypes=names)["InstanceTypes"]
    known = {entry["InstanceType"]: entry for entry in found}
    for kind in types.values():
        entry = known[kind["node_config"]["InstanceType"]]
        gpus = sum(gpu["Count"] for gpu in entry.get("GpuInfo", {}).get("Gpus", []))
        assert kind["resources"] == {"CPU": entry["VCpuInfo"]["DefaultVCpus"], **({"GPU": gpus} if gpus else {})}
        if not gpus:
            # Ray counts 70 % of the memory as such; the rest is the object store.
            assert kind["resources"]["CPU"] * Prepare().memory_mb <= 0.7 * entry["MemoryInfo"]["SizeInMiB"]
        else:
            assert (
                kind["resources"]["CPU"] >= Folds(gpus=1, cpus=4).cpus
                and "--gpus all" in kind["docker"]["worker_run_options"]
            )
    assert raw["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_what_would_be_asked_of_ec2_is_well_formed(raw):
    session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    shape = session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for kind in raw["available_node_types"].values():
        request = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(request, shape).has_errors()
        assert ParamValidator().validate({**request, "InstancType": "x"}, shape).has_errors()


def test_the_stack_and_the_bootstrap_open_nothing(raw, aws, capsys):
    """The account's stack, then what `ray up` sets up on AWS, both for real against a stand-in of AWS."""
    import boto3
    from ray.autoscaler._private.aws.config import bootstrap_aws

    stacks = boto3.client("cloudformation", REGION)
    stacks.create_stack(StackName="hsta", TemplateBody=STACK.read_text(), Capabilities=["CAPABILITY_NAMED_IAM"])
    outputs = {
        o["OutputKey"]: o["OutputValue"] for o in stacks.describe_stacks(StackName="hsta")["Stacks"][0]["Outputs"]
    }
    for kind in raw["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [outputs["SecurityGroup"]]
    config = bootstrap_aws(prepared(raw))
    groups = boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]
    assert {group["GroupName"] for group in groups if group["GroupId"] != outputs["SecurityGroup"]} <= {"default"}
    (group,) = [group for group in groups if group["GroupId"] == outputs["SecurityGroup"]]
    for rule in group["IpPermissions"]:
        assert not rule["IpRanges"] and not rule["Ipv6Ranges"]
        assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [group["GroupId"]]
    profiles = {p["InstanceProfileName"] for p in boto3.client("iam").list_instance_profiles()["InstanceProfiles"]}
    for name, kind in config["available_node_types"].items():
        profile = kind["node_config"]["IamInstanceProfile"]["Name"]
        assert profile in profiles and profile == ("hsta-head" if name == "head" else "hsta-worker")
        assert kind["node_config"]["SubnetIds"]
    for block in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        assert f"{block}: true" in STACK.read_text()


def test_the_stack_passes_the_linter():
    linter = pytest.importorskip("cfnlint.api", reason="needs the extra 'lint'")
    text = STACK.read_text()

    def complaints(template: str) -> list:
        return [match for match in linter.lint_all(template) if match.rule.severity != "informational"]

    assert complaints(text) == []
    assert complaints(text.replace("GroupDescription", "GroupDescripton"))


class Metadata(http.server.BaseHTTPRequestHandler):
    """EC2's metadata service: a session token first, then the notice, once there is one."""

    notice = False

    def do_PUT(self):
        self._answer(200, b"a-token")

    def do_GET(self):
        known = self.headers["X-aws-ec2-metadata-token"] == "a-token"
        self._answer((200 if self.server.notice else 404) if known else 401, b"{}")

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def metadata():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    server.notice = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def watch(metadata, script: str) -> subprocess.Popen:
    environment = {**os.environ, "IMDS": f"http://127.0.0.1:{metadata.server_port}", "IMDS_SECONDS": "0.1"}
    command = ["bash", ROOT / "cluster/aws/spot_watch.sh", "bash", "-c", script]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


DRAINS = "trap 'sleep 0.5; echo drained; exit 7' TERM; echo up; while true; do sleep 0.1; done"


@pytest.mark.parametrize("cause", ["notice", "SIGTERM"])
def test_the_watch_ends_its_command_gently_and_waits_for_it(metadata, cause):
    process = watch(metadata, DRAINS)
    assert process.stdout.readline() == "up\n"
    time.sleep(0.5)
    assert process.poll() is None, "no notice, so it goes on"
    if cause == "notice":
        metadata.notice = True
    else:
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert output.endswith("drained\n") and process.returncode == 7


def test_the_watch_ends_with_its_command(metadata):
    process = watch(metadata, "exit 3")
    assert process.wait(timeout=20) == 3
    process.stdout.close()
