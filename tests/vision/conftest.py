"""Demo clips and the networks, made once for all vision tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hsta.datasets.synthetic import CLASSES, demo_plan, render_clip, write_manifest
from hsta.vision.faces import FaceFinder

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """Two subjects with two clips of each class, and their truth."""
    root = tmp_path_factory.mktemp("demo")
    plan = demo_plan(subjects=2, clips_per_class=2, seed=7)
    for spec in plan:
        render_clip(spec, root)
    write_manifest(plan, root)
    return root


@pytest.fixture
def clips(demo):
    from hsta.datasets.manifest import read_manifest

    return read_manifest(str(demo / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    import hsta.datasets

    path = Path(hsta.datasets.__file__).parent / "assets" / "astronaut.png"
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture(params=["cap13_edit2.mp4", "carphone_pristine.mp4"])
def sample_video(request) -> Path:
    path = SAMPLES / request.param
    if not path.exists():
        pytest.skip("the sample videos are not shipped with the project")
    return path
