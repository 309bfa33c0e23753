"""A very small demo, made once, through the real commands on a real local Ray."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def demo_set(tmp_path_factory):
    """Settings of a small prepared demo: 3 subjects, 3 classes, 1 clip each; a list of --set assignments, and its folder."""
    from workflows import demo, prepare

    folder = tmp_path_factory.mktemp("demo")
    assignments = [
        f"run.storage={folder}/runs",
        f"data.manifest={folder}/clips/clips.csv",
        f"data.prepared={folder}/prepared",
        "synthetic.subjects=3",
        "synthetic.clips_per_class=1",
        "train.epochs=3",
        "train.batch_size=4",
        "train.warmup_epochs=1",
        "folds.checkpoint_every=1",
    ]
    config = load(assignments)
    from workflows.engine import ray_session

    with ray_session():
        demo.make_clips(config)
        assert prepare.run(config) == 0
    return folder, assignments


def load(assignments, *more):
    """The demo's configuration with assignments."""
    from workflows.config import load as load_config

    return load_config(str(ROOT / "configs/demo.yaml"), [*assignments, *more])


@pytest.fixture(scope="session", autouse=True)
def no_cluster_of_the_users():
    """Tests run on a Ray of their own."""
    os.environ.pop("RAY_ADDRESS", None)
