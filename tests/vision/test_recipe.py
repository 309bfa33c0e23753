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
        {"stabilise": "ecc"},
        {"alignment": "affine"},
        {"alignment": "none"},
        {"flow_pairs": ("onset-apex", "apex-offset", "sequence")},
        {"global_motion": "nose"},
        {"magnify": 2.0},
        {"interpolate": 10},
        {"flow": "dis"},
        {"flow_window": 25},
        {"flow_pairs": ("onset-apex",)},
        {"missing_apex": "reject"},
        {"max_missing": 0.2},
    ],
)
def test_every_setting_changes_the_hash(changed):
    assert recipe_hash(PrepareRecipe(**changed)) != recipe_hash(PrepareRecipe())


@pytest.mark.parametrize(
    ("base", "default", "other"),
    [
        ({"alignment": "affine"}, {"mouth_height": 0.36 + 1.1 * 0.34}, {"mouth_height": 0.7}),
        ({"flow_pairs": ("sequence",)}, {"flow_steps": 8}, {"flow_steps": 4}),
        ({"magnify": 2.0}, {"magnify_band": (0.5, 6.0), "magnify_level": 1}, {"magnify_band": (0.5, 5.0)}),
        ({"magnify": 2.0}, {"magnify_level": 1}, {"magnify_level": 0}),
        ({"interpolate": 10}, {"interpolation": "tim"}, {"interpolation": "linear"}),
    ],
)
def test_a_default_written_out_is_the_same_recipe_and_another_value_is_not(base, default, other):
    plain = recipe_hash(PrepareRecipe(**base))
    assert recipe_hash(PrepareRecipe(**base, **default)) == plain != recipe_hash(PrepareRecipe(**base, **other))


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
        ("stabilise", "lucas-kanade"),
        ("alignment", "lwm"),
        ("global_motion", "mean"),
        ("magnify", -1.0),
        ("magnify", 99.0),
        ("interpolate", 2),
        ("interpolate", 999),
        ("flow", "raft"),
        ("flow_window", 3),
        ("flow_pairs", ()),
        ("flow_pairs", ("onset-apex", "onset-apex")),
        ("flow_pairs", ("apex-onset",)),
        ("missing_apex", "guess"),
        ("max_missing", 0.6),
    ],
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(InputError, match=f"vision.{setting}"):
        PrepareRecipe(**{setting: value})


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("mouth_height", {"alignment": "affine", "mouth_height": 0.5}),
        ("mouth_height", {"alignment": "affine", "eye_height": 0.6, "eye_distance": 0.4}),
        ("flow_steps", {"flow_pairs": ["sequence"], "flow_steps": 1}),
        ("flow_steps", {"flow_pairs": ["sequence"], "flow_steps": 33}),
        ("max_missing", {"magnify": 2.0, "max_missing": 0.1}),
        ("max_missing", {"interpolate": 10, "max_missing": 0.1}),
        ("magnify_band", {"magnify": 2.0, "magnify_band": [6.0, 0.5]}),
        ("magnify_band", {"magnify": 2.0, "magnify_band": [0.0, 5.0]}),
        ("magnify_level", {"magnify": 2.0, "magnify_level": 5}),
        ("interpolation", {"interpolate": 10, "interpolation": "cubic"}),
    ],
)
def test_wrong_settings_of_an_option_are_named(named, settings):
    with pytest.raises(InputError, match=f"vision.{named}"):
        PrepareRecipe(**settings)


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("flow_window", {"flow": "dis", "flow_window": 21}),
        ("mouth_height", {"mouth_height": 0.7}),
        ("mouth_height", {"alignment": "none", "mouth_height": 0.7}),
        ("eye_distance", {"alignment": "none", "eye_distance": 0.3}),
        ("eye_height", {"alignment": "none", "eye_height": 0.4}),
        ("flow_steps", {"flow_steps": 8}),
        ("magnify_band", {"magnify_band": (1.0, 2.0)}),
        ("magnify_level", {"magnify_level": 1}),
        ("interpolation", {"interpolation": "tim"}),
    ],
)
def test_a_setting_without_effect_is_refused(named, settings):
    with pytest.raises(InputError, match=f"vision.{named}: has no effect"):
        PrepareRecipe(**settings)


def test_a_sequence_is_written_out_in_its_place():
    recipe = PrepareRecipe(flow_pairs=("sequence", "onset-apex"), flow_steps=2)
    assert recipe.flow_names == ("onset-1/2", "onset-2/2", "onset-apex")
    assert PrepareRecipe().flow_names == PrepareRecipe().flow_pairs
