"""What the doctor concludes from facts. If these fail, it is silent about a fault, or cries wolf."""

from dataclasses import replace

import pytest

from workflows import doctor_judge as judge
from workflows.config import Folds, Prepare
from workflows.doctor_facts import Machine, StoreFacts, apart
from workflows.doctor_judge import Node

PACKAGES = {"ray": "2.60.0", "torch": "2.13.0"}
WELL = Machine(host="a", python="3.11.7", packages=PACKAGES, code="abc", shm=10**10, disks={"/tmp": (10**11, 10**12)})
CPUS = {"CPU": 4, "memory": 8 << 30, "object_store_memory": 4e9}
NODE = Node(name="a", resources=CPUS, machine=WELL)
GPUS = {**CPUS, "GPU": 2}
HEAD = Node(name="head", resources={"memory": 8 << 30, "object_store_memory": 4e9}, machine=WELL)


def levels(findings):
    return [finding.level for finding in findings]


def one(findings):
    (finding,) = findings
    assert finding.cure or finding.level == "ok", finding
    return finding


@pytest.mark.parametrize(
    ("other", "said", "cure"),
    [
        ({"packages": {**PACKAGES, "ray": "2.59.0"}}, "ray is 2.59.0 there, 2.60.0 at the driver", "one image"),
        ({"python": "3.12.1"}, "Python is 3.12.1 there", "one image"),
        ({"packages": {"ray": "2.60.0"}}, "torch is not installed there", "one image"),
        ({"code": "old"}, "code is old there", "--working-dir"),
    ],
)
def test_another_version_on_a_node_is_named(other, said, cure):
    nodes = [NODE, Node(name="b", resources=CPUS, machine=replace(WELL, **other))]
    found = one(judge.judge_versions(WELL, nodes))
    assert found.level == "wrong" and f"b: {said}" in found.found.replace("the project's ", "") and cure in found.cure


@pytest.mark.parametrize(
    ("resources", "machine", "groups", "gpus", "level", "said"),
    [
        (CPUS, WELL, [], 1, "wrong", "the cluster has no GPU"),
        (CPUS, WELL, [(GPUS, 3)], 1, "ok", "may start up to 6"),
        (GPUS, WELL, [], 0, "warning", "none is used"),
        (GPUS, WELL, [], 0.5, "ok", "has 2 GPU"),
        (GPUS, replace(WELL, cuda="driver too old"), [], 1, "wrong", "torch cannot use the GPU of a: driver too old"),
        (CPUS, replace(WELL, nvidia=True), [], 0, "warning", "gives Ray no GPU"),
    ],
)
def test_gpus(resources, machine, groups, gpus, level, said):
    found = next(judge.judge_gpus([Node(name="a", resources=resources, machine=machine)], groups, Folds(gpus=gpus)))
    assert found.level == level and said in found.found


@pytest.mark.parametrize(
    ("nodes", "groups", "settings", "level", "said"),
    [
        ([NODE], [], {}, "ok", "4 of 4 actors fit"),
        ([NODE], [], {"actors": 9}, "warning", "4 of 9 actors"),
        ([NODE], [], {"memory_mb": 3000}, "warning", "2 of 4 actors"),
        ([NODE], [], {"memory_mb": 9000}, "wrong", "none would ever start"),
        ([HEAD], [], {}, "wrong", "none would ever start"),
        ([HEAD], [(CPUS, 5)], {"actors": 20}, "ok", "20 of them once the autoscaler"),
        ([HEAD], [(CPUS, 5)], {}, "warning", "prepare.actors is 0"),
        ([NODE], [(CPUS, float("inf"))], {"actors": 1000}, "ok", "996 of them once"),
    ],
)
def test_actors_that_would_never_start(nodes, groups, settings, level, said):
    found = one(judge.judge_prepare(nodes, groups, Prepare(**settings)))
    assert found.level == level and said in found.found


@pytest.mark.parametrize(
    ("resources", "groups", "settings", "level", "said"),
    [
        ([CPUS, CPUS], [], {"cpus": 4}, "ok", "2 at a time"),
        ([CPUS, CPUS], [], {"cpus": 6}, "wrong", "not one fold fits"),  # eight CPUs in all, and none with six
        ([GPUS], [], {"gpus": 0.25, "cpus": 1}, "ok", "4 at a time"),
        ([GPUS], [], {"gpus": 0.4, "cpus": 1}, "ok", "4 at a time"),
        ([GPUS, GPUS], [], {"gpus": 1, "cpus": 1, "workers": 4}, "ok", "1 at a time"),
        ([GPUS, GPUS], [], {"gpus": 1, "cpus": 1, "workers": 5}, "wrong", "not one fold fits"),
        ([CPUS], [(GPUS, 4)], {"gpus": 2}, "warning", "folds.concurrent is 0"),
        ([CPUS], [(GPUS, 4)], {"gpus": 2, "concurrent": 4}, "ok", "4 at a time"),
    ],
)
def test_folds_that_would_never_start(resources, groups, settings, level, said):
    nodes = [Node(name=str(number), resources=have, machine=WELL) for number, have in enumerate(resources)]
    found = one(judge.judge_folds(nodes, groups, Folds(**settings)))
    assert found.level == level and said in found.found, found


def test_shared_memory_and_the_object_store():
    small = Node(name="a", resources=CPUS, machine=replace(WELL, shm=64 << 20))
    assert "--shm-size=5g" in one(judge.judge_memory([small], 0)).cure
    assert levels(judge.judge_memory([NODE], 3 * 10**9)) == ["ok", "ok"]
    for data, level in (("memory", "wrong"), ("auto", "warning"), ("stream", "ok")):
        assert levels(judge.judge_memory([NODE, HEAD], 35 * 10**8, data)) == ["ok", level]


@pytest.mark.parametrize(
    ("folder", "free", "level"),
    [("/tmp", 4e8, "wrong"), ("/tmp", 4e9, "warning"), ("/tmp", 4e10, "ok"), ("/ray", 4e10, "wrong")],
)
def test_disks(folder, free, level):
    machine = replace(WELL, disks={folder: (free, 1e12)})
    assert one(judge.judge_disks({"a": machine}, "/ray")).level == level


def test_a_fault_of_several_machines_is_said_once_and_slowness_is_a_warning():
    fault = StoreFacts(url="s3://x", step="read", code="SignatureDoesNotMatch")
    found = one(judge.judge_store("s3://x", {"driver": fault, "a": fault}))
    assert found.level == "wrong" and "driver, a: cannot read" in found.found
    slow = StoreFacts(url="s3://x", latency=0.1, up=1.0, down=90.0)
    assert one(judge.judge_store("s3://x", {"driver": slow})).level == "warning"
    unknown = StoreFacts(url="s3://x", step="list", code="Teapot", said="short and stout")
    assert "Teapot: short and stout" in one(judge.judge_store("s3://x", {"driver": unknown})).found


def test_clocks():
    store = StoreFacts(url="s3://x", skew=-400.0)
    found = one(judge.judge_clocks([replace(NODE, skew=20.0)], {"a": [store], "driver": []}))
    assert found.level == "wrong" and "the clock of a is 400 s behind that of s3://x" in found.found
    assert one(judge.judge_clocks([replace(NODE, skew=20.0)], {})).level == "warning"
    assert one(judge.judge_clocks([NODE], {"a": [replace(store, skew=0.5)]})).level == "ok"
    assert [apart(10, there, 12) for there in (5, 11, 14)] == [-5, 0, 2]


def test_a_node_that_runs_no_task_is_named():
    nodes = [NODE, Node(name="b", resources=CPUS, problem="ModuleNotFoundError: No module named 'workflows'")]
    assert "b could not run a task: ModuleNotFoundError" in one(judge.judge_answers(nodes)).found
    assert levels(judge.judge_versions(WELL, nodes)) == ["ok"]
