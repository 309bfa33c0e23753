"""Whether a recipe fits a model: settings that would have no effect on it are errors. Nothing here imports torch."""

from __future__ import annotations

import difflib

from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.training.recipe import MOTION_SCALE, Recipe
from hsta.training.special import flow_pairs_of


def check_fits(recipe: Recipe, model: HSTAConfig, *, validates: bool) -> None:
    """Raise InputError for settings of ``recipe`` that ``model`` cannot follow, or that would change nothing.

    Args:
        validates: whether there are inner validation clips.
    """
    _require(
        recipe.patience == 0 or validates,
        "patience",
        f"{recipe.patience} has no effect: there are no inner validation clips to be patient about",
        "set protocol.validation_subjects, or patience: 0",
    )
    shows_motion = "special" in model.branch_names and bool(flow_pairs_of(model.special))
    _require(
        tuple(recipe.motion_scale) == MOTION_SCALE or shows_motion,
        "motion_scale",
        f"has no effect: special data '{model.special}' holds no motion, or the model has no special branch",
        "leave it out, or use special data of flow",
    )
    _require(
        recipe.padding == "repeat" or "video" in model.branch_names,
        "padding",
        f"'{recipe.padding}' has no effect: the model has no video branch",
        "leave it out",
    )
    known = freezable(model)
    for name in recipe.freeze:
        near = difflib.get_close_matches(name, known, n=1)
        _require(
            name in known,
            "freeze",
            f"the model has no part '{name}'",
            f"did you mean '{near[0]}'?" if near else f"its parts are {', '.join(known)}",
        )
    whole = {"patch_embed", "class_token", "norm", "head", *(f"blocks.{k}" for k in range(model.blocks))}
    _require(not whole <= set(recipe.freeze), "freeze", "nothing is left to learn", "leave at least the head out")


def freezable(model: HSTAConfig) -> tuple[str, ...]:
    """Names of the parts that ``freeze`` takes, from the input to the head: a part, or one branch's share of it."""
    parts = []
    for part in ("patch_embed", "class_token"):
        parts += [part, *(f"{part}.{branch}" for branch in model.branch_names)]
    parts += [f"blocks.{k}" for k in range(model.blocks)]
    return (*parts, "norm", *(f"norm.{branch}" for branch in model.branch_names), "head")


def _require(fits: bool, name: str, problem: str, cure: str) -> None:
    if not fits:
        raise InputError(problem, where=f"train.{name}", cure=cure)
