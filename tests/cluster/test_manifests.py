"""The Kubernetes manifests. If these fail, a cluster is refused, waits for ever for nodes, or stands open."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.cluster import kube
from tests.workflows.conftest import ROOT
from workflows import engine
from workflows.config import load

FOLDER = ROOT / "cluster/kuberay"
OVERLAYS = ("prepare", "loso", "interactive")
COMMANDS = {"prepare": "workflows.prepare", "loso": "workflows.loso"}
GIB = {"Mi": 2**20, "Gi": 2**30}
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def build(folder) -> list[dict]:
    """What `kubectl apply -k` would send."""
    tool = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    if not shutil.which(tool[0]):
        pytest.skip("neither kubectl nor kustomize is installed")
    done = subprocess.run([*tool, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return kube.read(done.stdout)


@pytest.fixture(scope="module")
def built():
    return {name: build(FOLDER / name) for name in OVERLAYS}


@pytest.fixture(scope="module")
def crds():
    pytest.importorskip("kubernetes_validate", reason="needs the extra 'lint'")
    return kube.schemas()


def ray_object(documents: list[dict]) -> dict:
    """The one RayJob or RayCluster."""
    (found,) = [document for document in documents if document["apiVersion"].startswith("ray.io/")]
    return found


def of_kind(documents: list[dict], kind: str) -> dict:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pods(documents: list[dict]) -> list[dict]:
    """The specifications of every pod that will run."""
    found = [template["spec"] for template in kube.templates(ray_object(documents))]
    return found + [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "StatefulSet"]


@pytest.fixture(scope="module")
def config(built, tmp_path_factory):
    """The run that the ConfigMap carries, as the commands load it."""
    path = tmp_path_factory.mktemp("site") / "run.yaml"
    path.write_text(of_kind(built["loso"], "ConfigMap")["data"]["run.yaml"])
    return load(str(path))


@pytest.mark.parametrize("name", OVERLAYS)
def test_is_accepted(built, crds, name):
    assert {d["kind"]: kube.problems(d, crds) for d in built[name] if kube.problems(d, crds)} == {}
    assert ray_object(built[name])["kind"] == ("RayCluster" if name == "interactive" else "RayJob")


def change(path: str, value):
    def apply(document: dict) -> None:
        place = document["spec"]
        *keys, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in keys:
            place = place[key]
        place[last] = value

    return apply


HEAD = "rayClusterSpec/headGroupSpec"
GROUP = "rayClusterSpec/workerGroupSpecs/0"
CRDS_ONLY = ("backofLimit", "enableInTreeAutoscaler", "max", "mode", "upscaling", "backoff")
MISTAKES = {
    "backofLimit": change("backofLimit", 3),
    "backoff": change("backoffLimit", "3"),
    "enableInTreeAutoscaler": change("rayClusterSpec/enableInTreeAutoscaler", True),
    "max": change(f"{GROUP}/maxReplica", 3),
    "mode": change("rayClusterSpec/authOptions/mode", "tokens"),
    "upscaling": change("rayClusterSpec/autoscalerOptions/upscalingMode", "Fast"),
    "typo deep in a pod": change(f"{GROUP}/template/spec/containers/0/volumeMounts/0/mountpath", "/x"),
    "wrong type deep in a pod": change(f"{HEAD}/template/spec/containers/0/ports/0/containerPort", "6379"),
    "typo in the submitter": change("submitterPodTemplate/spec/containers/0/imagePullpolicy", "Always"),
    "quantity": change(f"{GROUP}/template/spec/containers/0/resources/requests/memory", "16GB"),
    "a number as quantity of a disk": change(f"{HEAD}/template/spec/volumes/1/emptyDir/sizeLimit", "50 Gi"),
    "num-cpus without quotes": change(f"{HEAD}/rayStartParams/num-cpus", 0),
    "a port twice": change(f"{HEAD}/template/spec/containers/0/ports/1/containerPort", 6379),
    "submissionMode": change("submissionMode", "K8SJobMode"),
    "ttl without shutdown": change("shutdownAfterJobFinishes", False),
    "too old for a token": change("rayClusterSpec/rayVersion", "2.50.0"),
    "priority without v2": change("rayClusterSpec/autoscalerOptions/version", "v1"),
    "restartPolicy": change(f"{GROUP}/template/spec/restartPolicy", "Always"),
    "replicas": change(f"{GROUP}/minReplicas", 9),
    "two groups of one name": change(f"{GROUP}/groupName", "gpu-on-demand"),
    "an alpha field": change("rayClusterSpec/tlsOptions", {"enabled": True}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught(built, crds, mistake):
    if mistake in CRDS_ONLY and not crds:
        pytest.skip("KubeRay's CRDs are not beside the repository")
    document = copy.deepcopy(ray_object(built["loso"]))
    MISTAKES[mistake](document)
    assert kube.problems(document, crds)


def test_a_key_that_stands_twice_is_caught():
    with pytest.raises(Exception, match="duplicate key 'name'"):
        kube.read("metadata:\n  name: a\n  name: b\n")


@pytest.mark.parametrize("name", OVERLAYS)
def test_versions_are_the_projects(built, name):
    assert kube.cluster_spec(ray_object(built[name]))["rayVersion"] == PINS["ray"]
    python = re.search(r"^ARG PYTHON_VERSION=(\S+)$", (ROOT / "cluster/Dockerfile").read_text(), re.MULTILINE)[1]
    tags = {
        c["image"].rpartition(":")[2]
        for spec in pods(built[name])[: 4 if name != "prepare" else 3]
        for c in spec["containers"]
    }
    assert tags == {f"ray{PINS['ray']}-py{python}"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_runs_with_the_configuration_that_is_mounted(built, config, name):
    job = ray_object(built[name])
    assert job["spec"]["entrypoint"] == f"python -m {COMMANDS[name]} --config /etc/hsta/run.yaml"
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mount = next(m for m in head["containers"][0]["volumeMounts"] if m["mountPath"] == "/etc/hsta")
    volume = next(v for v in head["volumes"] if v["name"] == mount["name"])
    assert volume["configMap"]["name"] == of_kind(built[name], "ConfigMap")["metadata"]["name"]
    done = subprocess.run([sys.executable, "-m", COMMANDS[name], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--config" in done.stdout
    assert job["spec"]["backoffLimit"] >= 1
    assert all("://" in url for url in (config.data.manifest, config.data.prepared, config.run.storage))


def resources(group: dict) -> tuple[float, float, float]:
    """CPUs, GPUs and bytes that Ray will see in a pod of the group; asserts that requests and limits agree on them."""
    (container,) = group["template"]["spec"]["containers"]
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert all(requests[name] == limits[name] for name in limits)
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", limits["memory"]).groups()
    return float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0)), int(number) * GIB[unit]


def groups(documents: list[dict]) -> dict[str, dict]:
    return {group["groupName"]: group for group in kube.cluster_spec(ray_object(documents))["workerGroupSpecs"]}


def launched(document: dict, demand: dict, count: int, *, without: tuple[str, ...] = ()) -> dict[str, int]:
    """The nodes that Ray's own autoscaler asks for, reading the groups as in the cluster. ``without``: groups of which no
    machine came lately."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    resource = {"metadata": {"name": "hsta", "namespace": "hsta"}, "spec": kube.cluster_spec(document)}
    configs = AutoscalingConfig(_derive_autoscaling_config_from_ray_cr(resource), skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=configs.get_node_type_configs(),
        max_num_nodes=configs.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand)] * count),
        recoverable_resource_availabilities=dict.fromkeys(without, 0.0),
    )
    reply = ResourceDemandScheduler().schedule(request)
    assert not reply.infeasible_resource_requests
    return {order.instance_type: order.count for order in reply.to_launch if order.instance_type != "headgroup"}


def test_the_autoscaler_brings_every_node_that_prepare_can_use(built, config):
    demand = {"CPU": 1, "memory": config.prepare.memory_mb << 20}
    (group,) = groups(built["prepare"]).values()
    assert launched(ray_object(built["prepare"]), demand, config.prepare.actors) == {"cpu-spot": group["maxReplicas"]}


def test_the_autoscaler_takes_spot_first_and_on_demand_where_no_spot_comes(built, config):
    job, demand = ray_object(built["loso"]), {"CPU": config.folds.cpus, "GPU": config.folds.gpus}
    count = config.folds.concurrent
    assert launched(job, demand, count) == {"gpu-spot": count}
    assert launched(job, demand, count, without=("gpu-spot",)) == {"gpu-on-demand": count}
    environment = {e["name"]: e["value"] for e in job["spec"]["rayClusterSpec"]["autoscalerOptions"]["env"]}
    assert int(environment["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) <= 900, "Ray's default is an hour"


def test_preparing_starts_no_gpu(built):
    assert launched(ray_object(built["interactive"]), {"CPU": 1}, 4) == {"cpu-spot": 1}


def test_prepare_gets_what_it_asks_for(built, config):
    (group,) = groups(built["prepare"]).values()
    cpus, _, memory = resources(group)
    assert (
        group["minReplicas"] == 0 and group["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"] == "spot"
    )
    # The cluster has no CPU at first, so that "one actor for each CPU" would be one actor.
    assert config.prepare.actors == group["maxReplicas"] * cpus and config.prepare.min_actors == 0
    # What the actors reserve leaves Ray its object store, 30 % of the memory.
    assert cpus * config.prepare.memory_mb * 2**20 <= 0.7 * memory


def test_folds_get_what_they_ask_for(built, config):
    found, folds = groups(built["loso"]), config.folds
    assert list(found) == ["gpu-spot", "gpu-on-demand"]
    assert found["gpu-spot"]["priority"] > found["gpu-on-demand"].get("priority", 0)
    for name, group in found.items():
        cpus, gpus, _ = resources(group)
        fits = min(cpus // folds.cpus, gpus // folds.gpus)
        assert fits >= 1 and group["minReplicas"] == 0
        assert folds.concurrent == fits * group["maxReplicas"] // folds.workers
        kind = group["template"]["spec"]["nodeSelector"]["karpenter.sh/capacity-type"]
        assert kind == ("spot" if name == "gpu-spot" else "on-demand")
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in group["template"]["spec"][
            "tolerations"
        ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_does_no_work_and_every_node_has_the_environment_it_needs(built, name):
    spec = kube.cluster_spec(ray_object(built[name]))
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["enableInTreeAutoscaling"] and spec["autoscalerOptions"]["version"] == "v2"
    wanted = {**engine.KEEPALIVE, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        environment = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
        assert wanted.items() <= environment.items()
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "hsta-storage", "optional": True}}]
        if group is spec["headGroupSpec"]:
            assert int(environment["RAY_health_check_period_ms"]) >= 1000
        else:
            assert pod["terminationGracePeriodSeconds"] > int(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_passes_the_restricted_standard(built, name):
    """Pod Security `restricted`, which docs/cluster.md sets on the namespace."""
    for pod in pods(built[name]):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all(set(volume) & {"configMap", "emptyDir"} for volume in pod.get("volumes", []))
        assert {"requests", "limits"} <= set(pod["containers"][0]["resources"])
    contexts = [container["securityContext"] for pod in pods(built[name]) for container in pod["containers"]]
    contexts.append(kube.cluster_spec(ray_object(built[name]))["autoscalerOptions"]["securityContext"])
    for context in contexts:
        assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_door_is_open(built, name):
    documents, spec = built[name], kube.cluster_spec(ray_object(built[name]))
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP" and not spec["headGroupSpec"].get("enableIngress")
    assert not {"Ingress", "Secret"} & {document["kind"] for document in documents}
    assert all(d["spec"].get("type", "ClusterIP") == "ClusterIP" for d in documents if d["kind"] == "Service")
    policy = of_kind(documents, "NetworkPolicy")["spec"]
    ours = {"podSelector": policy["podSelector"]}
    labels = policy["podSelector"]["matchLabels"].items()
    templates = kube.templates(ray_object(documents))
    templates += [d["spec"]["template"] for d in documents if d["kind"] == "StatefulSet"]
    assert all(labels <= template["metadata"]["labels"].items() for template in templates)
    reached = {port["port"] for rule in policy["ingress"] if rule["from"] != [ours] for port in rule["ports"]}
    assert reached == {8265, 52365, 8080, 44217, 44227}, "the operator's and Prometheus' ports, and no other"
    assert all(rule["from"] for rule in policy["ingress"])
    text = json.dumps(documents)
    assert not re.search(r"AKIA[0-9A-Z]{16}|AWS_SECRET_ACCESS_KEY|AWS_ACCESS_KEY_ID", text)
    for pod in pods(documents):
        secrets = [
            e for c in pod["containers"] for e in c.get("env", []) if re.search("PASSWORD|TOKEN|SECRET|KEY", e["name"])
        ]
        assert all("secretKeyRef" in e["valueFrom"] for e in secrets)


def test_only_the_head_has_rights_in_the_cluster(built):
    """The autoscaler, in the head's pod, changes the number of nodes; whoever gets into a worker cannot."""
    head, *others = pods(built["interactive"])
    assert head.get("automountServiceAccountToken", True)
    assert all(pod["automountServiceAccountToken"] is False for pod in others)


def test_the_standing_cluster_outlives_its_head(built):
    documents = built["interactive"]
    options = ray_object(documents)["spec"]["gcsFaultToleranceOptions"]
    service, redis = of_kind(documents, "Service"), of_kind(documents, "StatefulSet")
    assert options["redisAddress"] == f"redis://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert service["spec"]["selector"].items() <= redis["spec"]["template"]["metadata"]["labels"].items()
    (environment,) = redis["spec"]["template"]["spec"]["containers"][0]["env"]
    assert options["redisPassword"]["valueFrom"] == environment["valueFrom"]
    mount = redis["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]
    assert mount["name"] == redis["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]


def test_monitors_name_ports_that_the_pods_have(built):
    templates = kube.templates(ray_object(built["interactive"]))
    ports = [{p["name"] for p in t["spec"]["containers"][0]["ports"]} for t in templates]
    monitors = {d["metadata"]["name"]: d["spec"] for d in built["interactive"] if d["kind"] == "PodMonitor"}
    assert all({end["port"] for end in monitors["hsta-nodes"]["podMetricsEndpoints"]} <= names for names in ports)
    assert {end["port"] for end in monitors["hsta-heads"]["podMetricsEndpoints"]} <= ports[0]


def test_a_site_changes_image_and_run_in_one_place(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "kuberay")
    site = tmp_path / "kuberay/site"
    text = (site / "kustomization.yaml").read_text()
    (site / "kustomization.yaml").write_text(text.replace("registry.example.org", "ours.example.net:5000"))
    (site / "run.yaml").write_text("run: {name: ours}\n")
    for name in OVERLAYS:
        documents = build(tmp_path / "kuberay" / name)
        images = {
            c["image"] for template in kube.templates(ray_object(documents)) for c in template["spec"]["containers"]
        }
        assert len(images) == 1 and images.pop().startswith("ours.example.net:5000/hsta:")
        assert of_kind(documents, "ConfigMap")["data"]["run.yaml"] == "run: {name: ours}\n"


@pytest.mark.skipif(not os.environ.get("HSTA_LONG"), reason="takes minutes: `make test-cluster` runs it")
@pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount", "true"], capture_output=True).returncode != 0,
    reason="needs root, for namespaces",
)
def test_both_commands_grow_the_cluster_from_nothing(built, tmp_path):
    """With the groups of the manifest, one CPU a node: the autoscaler brings nodes of the preferred group, and the commands
    use all of them."""
    from hsta.datasets import synthetic

    synthetic.make_demo(tmp_path / "clips", subjects=3, clips_per_class=6, seed=0)
    types = {
        name: {
            "resources": {"CPU": 1, "memory": 2 << 30, name: 1},
            "node_config": {},
            "min_workers": group["minReplicas"],
            "max_workers": 3,
            "priority": group.get("priority", 0),
        }
        for name, group in groups(built["loso"]).items()
    }
    assignments = [
        f"run.storage={tmp_path}/runs",
        f"data.manifest={tmp_path}/clips/clips.csv",
        f"data.prepared={tmp_path}/prepared",
        "synthetic.subjects=3",
        "train.epochs=20",
        "train.warmup_epochs=1",
        "prepare.actors=3",
        "prepare.clips_per_shard=1",
        "folds.concurrent=3",
    ]
    command = [sys.executable, "tests/cluster/scaling.py", json.dumps(types), *assignments]
    unshare = ["unshare", "--net", "--pid", "--fork", "--mount", "--mount-proc"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with tempfile.TemporaryDirectory(prefix="hsta-") as folder:  # short: sockets lie in it
        environment["RAY_TMPDIR"] = folder
        done = subprocess.run(
            [*unshare, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800
        )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for stage in COMMANDS:
        assert found[stage]["status"] == 0, done.stderr[-4000:]
        assert found[stage]["nodes"]["gpu-spot"] >= 2 and found[stage]["nodes"]["gpu-on-demand"] == 0
