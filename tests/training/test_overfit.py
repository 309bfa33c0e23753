"""A real model on real pictures. If this fails, nothing that is reported about any data set means anything."""

import dataclasses

import cv2
import pytest

from hsta.datasets.synthetic import demo_plan, render_clip
from hsta.model import PRESETS
from hsta.records import Clip, PreparedClip
from hsta.training.arrays import build_arrays
from hsta.training.loop import predict
from hsta.training.recipe import Recipe
from hsta.vision.clip import prepare_clip
from hsta.vision.faces import FaceFinder
from hsta.vision.recipe import PrepareRecipe
from tests.training.conftest import labels_of, trainer


@pytest.fixture(scope="session")
def eight_clips(tmp_path_factory):
    """Demo clips of two people and three movements, rendered, then prepared as `workflows.prepare` does."""
    cv2.setNumThreads(1)
    root, finder, prepared = tmp_path_factory.mktemp("clips"), FaceFinder(), []
    for spec in demo_plan(subjects=2, clips_per_class=2)[:8]:
        render_clip(spec, root)
        clip = Clip(
            clip_id=spec.clip_id,
            dataset="demo",
            subject=spec.subject,
            recording=spec.recording,
            path=str(root / spec.subject / spec.clip_id),
            onset=spec.onset,
            apex=spec.apex,
            offset=spec.offset,
            labels={"demo3": spec.label},
        )
        prepared.append(prepare_clip(clip, PrepareRecipe(), finder))
    assert all(isinstance(item, PreparedClip) for item in prepared)
    return prepared


@pytest.mark.parametrize("special", ["flow", "frame_difference"])
def test_a_tiny_hsta_learns_eight_clips_by_heart(eight_clips, special):
    config = dataclasses.replace(
        PRESETS["demo"], image_size=56, patch_sizes=(7, 8), widths=(48, 48), blocks=1, special=special
    )
    arrays = build_arrays(eight_clips, image_size=56, label_set="demo3")
    recipe = Recipe(epochs=100, batch_size=8, base_lr=0.1, warmup_epochs=10, balanced=False)
    run = trainer(arrays, recipe, config)
    for _ in range(recipe.epochs):
        run.run_epoch()
    assert predict(run.model, recipe, arrays).argmax(1).tolist() == labels_of(arrays)
