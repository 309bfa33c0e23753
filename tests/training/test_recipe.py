"""The recipe's checks. If these fail, a setting that does nothing, or cannot be meant, trains for a weekend without a
word."""

import dataclasses

import pytest

from hsta.errors import InputError
from hsta.model import PRESETS
from hsta.training.fit import check_fits, freezable
from hsta.training.recipe import Recipe

BASE = PRESETS["base"]


def test_the_defaults_are_the_published_recipe():
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.warmup_epochs) == (150, 32, 5)
    assert recipe.base_lr * 32 / 256 == pytest.approx(6.25e-5) and recipe.min_lr * 32 / 256 == pytest.approx(1.25e-7)
    assert (recipe.betas, recipe.weight_decay, recipe.layer_decay) == ((0.9, 0.999), 0.05, 0.9)
    assert recipe.balanced and not recipe.class_weights
    off = ("flip", "rotation", "scale", "translation", "erasing", "mixup", "cutmix")
    off += ("clip_grad", "ema", "label_smoothing", "patience")
    assert [getattr(recipe, name) for name in off] == [0] * len(off)
    check_fits(recipe, BASE, validates=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("betas", (0.9, 1.0)),
        ("flip", 2),
        ("precision", "fp8"),
        ("rotation", 181),
        ("scale", 1.0),
        ("translation", -0.1),
        ("crop", (0.5, 0.2)),
        ("crop", (0.0, 1.0)),
        ("randaugment", (12, 5.0)),
        ("erasing", 1.1),
        ("mixup", -1.0),
        ("cutmix", -1.0),
        ("accumulate", 5),
        ("accumulate", 0),
        ("clip_grad", -1.0),
        ("ema", 1.0),
        ("label_smoothing", 1.0),
        ("padding", "mirror"),
        ("resident", "disk"),
        ("patience", -1),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        Recipe(**{"warmup_epochs": 0, name: value})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"randaugment": (2, 0.0)}, "randaugment.*no effect"),
        ({"randaugment": (0, 5.0)}, "randaugment.*no effect"),
        ({"epochs": 10, "patience": 10}, "patience.*no effect"),
        ({"batch_size": 1, "mixup": 0.8}, "batch_size.*another clip"),
        ({"class_weights": True}, "class_weights.*balanced: false"),
    ],
)
def test_a_setting_without_effect_is_refused(settings, said):
    with pytest.raises(InputError, match="(?s)" + said):
        Recipe(**{"warmup_epochs": 0, **settings})


@pytest.mark.parametrize(
    ("recipe", "model", "said"),
    [
        ({"patience": 3}, {}, "patience.*no inner validation"),
        ({"motion_scale": (2.0, 0.1)}, {}, "motion_scale.*no motion"),
        ({"motion_scale": (2.0, 0.1)}, {"special": "flow", "branches": "video", "fusion": "none"}, "motion_scale"),
        ({"padding": "zeros"}, {"branches": "special", "fusion": "none"}, "padding.*no video branch"),
        ({"freeze": ("patch_embd",)}, {}, "no part 'patch_embd'.*did you mean 'patch_embed'"),
        ({"freeze": ("blocks.4",)}, {}, "no part 'blocks.4'"),
        ({"freeze": ("patch_embed.special",)}, {"branches": "video", "fusion": "none"}, "no part"),
        ({"freeze": ("patch_embed", "class_token", "blocks.0", "norm", "head")}, {"blocks": 1}, "nothing is left"),
    ],
)
def test_a_recipe_that_does_not_fit_the_model_is_refused(recipe, model, said):
    with pytest.raises(InputError, match="(?s)" + said):
        check_fits(Recipe(**recipe), dataclasses.replace(BASE, **model), validates=False)


def test_what_fits_is_accepted():
    flow = dataclasses.replace(BASE, special="flow_picture_black")
    recipe = Recipe(motion_scale=(2.0, 0.1), patience=3, freeze=freezable(flow)[:4], padding="zeros")
    check_fits(recipe, flow, validates=True)
