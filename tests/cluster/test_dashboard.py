"""The Grafana dashboard. If these fail, a panel stays empty."""

import json
import os
import re
import secrets
import socket
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from tests.workflows.conftest import ROOT

DASHBOARD = json.loads((ROOT / "cluster/grafana/hsta.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
NAMES = {name for text in EXPRESSIONS for name in re.findall(r"\bray_\w+", text)} - {"ray_io_cluster"}
OURS = {name for name in NAMES if name.startswith("ray_hsta_")}


@pytest.fixture(scope="module")
def scraped():
    """What Prometheus reads from a node on which clips were prepared and folds trained."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    # Without a token in the environment Ray writes one into the home folder. It stays there: Ray keeps the first it reads.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 << 20, _metrics_export_port=port
    )

    @ray.remote
    class Worker:
        def count(self) -> None:
            from workflows import executors, shard_maker

            seconds = dict.fromkeys((*shard_maker.STAGES, "whole"), 1.0)
            receipt = {"clips": {"a": 1}, "rejects": ["b"], "bytes": 5}
            self.prepared, self.trained = shard_maker._Metrics(), executors._Metrics("a-run", "a-fold")
            self.prepared.count(receipt, seconds)
            self.trained.epoch({"seconds": 1.0, "loss": 0.5})
            self.trained.end(None)
            self.trained.end("a cause")

    try:
        worker = Worker.remote()
        ray.get(worker.count.remote())
        until, text = time.monotonic() + 60, ""
        while time.monotonic() < until and not (OURS <= set(re.findall(r"^\w+", text, re.MULTILINE))):
            time.sleep(1)
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    finally:
        ray.shutdown()
    return text


def test_our_metrics_come_by_these_names_and_labels(scraped):
    assert len(OURS) >= 8
    assert OURS <= set(re.findall(r"^\w+", scraped, re.MULTILINE))
    assert {"status", "stage", "run"} <= {
        label for text in EXPRESSIONS if "ray_hsta" in text for label in re.findall(r"by \((\w+)\)", text)
    }
    for name, label in re.findall(r"by \((\w+)\) \(\w+\((ray_hsta_\w+)", " ".join(EXPRESSIONS)):
        assert re.search(rf'^{label}\{{.*\b{name}="', scraped, re.MULTILINE), (label, name)


def test_every_metric_of_ours_is_shown():
    sources = "".join((ROOT / "workflows" / name).read_text() for name in ("shard_maker.py", "executors.py"))
    known = {f"ray_{name}" for name in re.findall(r'(?:Counter|Gauge|Histogram)\("(hsta_\w+)"', sources)}
    assert known == OURS


def test_rays_metrics_are_ones_that_ray_has():
    modules = Path(ray.__file__).parent / "dashboard/modules"
    sources = (modules / "metrics/dashboards/default_dashboard_panels.py").read_text()
    sources += (modules / "reporter/reporter_agent.py").read_text()
    for name in NAMES - OURS:
        assert f"{name}{{" in sources or f'"{name.removeprefix("ray_")}"' in sources, name


def test_panels_do_not_overlap_and_each_says_something():
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    places = [panel["gridPos"] for panel in panels]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["targets"] and '$cluster"' in target["expr"] for panel in panels for target in panel["targets"])
