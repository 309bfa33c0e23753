"""If these fail, clips prepared in different ways are mixed, or a setting does nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hsta.vision.recipe as module
from hsta.errors import InputError
from hsta.vision.recipe import PrepareRecipe, recipe_hash


@pytest.mark.parametrize(
    "changed",
    [
        {"size": 112},
        {"eye_distance": 0.3},
        {"eye_height": 0.4},
        {"stabilise": "none"},
        {"flow": "dis"},
        {"flow_window": 25},
        {"flow_pairs": ("onset-apex",)},
        {"missing_apex": "reject"},
    ],
)
def test_every_setting_changes_the_hash(changed):
    assert recipe_hash(PrepareRecipe(**changed)) != recipe_hash(PrepareRecipe())


def test_code_and_library_versions_change_the_hash(monkeypatch):
    before = recipe_hash(PrepareRecipe())
    monkeypatch.setattr(module, "CODE_VERSION", "other")
    assert recipe_hash(PrepareRecipe()) != before
    monkeypatch.undo()
    monkeypatch.setattr(module, "library_versions", lambda: {"opencv": "0"})
    assert recipe_hash(PrepareRecipe()) != before


def test_the_hash_is_the_same_in_every_process_and_for_the_default_written_out():
    code = "from hsta.vision.recipe import *; print(recipe_hash(PrepareRecipe(flow_window=21)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == recipe_hash(PrepareRecipe())


def test_a_recipe_is_made_without_opencv():
    code = "import sys, hsta.vision.recipe; assert not {'cv2', 'numpy', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 8),
        ("eye_distance", 0.9),
        ("eye_height", 0.0),
        ("stabilise", "ecc"),
        ("flow", "raft"),
        ("flow_window", 3),
        ("flow_pairs", ()),
        ("flow_pairs", ("onset-apex", "onset-apex")),
        ("flow_pairs", ("apex-onset",)),
        ("missing_apex", "guess"),
    ],
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(InputError, match=f"vision.{setting}"):
        PrepareRecipe(**{setting: value})


def test_a_window_without_effect_is_refused():
    with pytest.raises(InputError, match="no effect"):
        PrepareRecipe(flow="dis", flow_window=21)
