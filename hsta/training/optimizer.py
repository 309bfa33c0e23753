"""What learns, and how fast: frozen parts, layer-wise learning rate decay counted per HSTA block, and the schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Keep some parts as they are, by names such as ``blocks.0`` (`hsta.training.fit.freezable`)."""
    for name, parameter in model.named_parameters():
        if any(name == part or name.startswith(part + ".") for part in parts):
            parameter.requires_grad_(False)


def parameter_groups(model: nn.Module, *, weight_decay: float, layer_decay: float) -> list[dict]:
    """AdamW's groups: one for each depth, with and without weight decay.

    The head and the final norms learn at the full rate, block k of K (from 0) at ``layer_decay ** (K - k)``, patch
    embeddings and class tokens at ``layer_decay ** (K + 1)``. One-dimensional tensors and class tokens do not decay.

    Returns:
        dicts with ``params, weight_decay, lr_scale``.
    """
    depth = model.config.blocks
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and "class_token" not in name
        key = (layer_decay ** (depth + 1 - _depth_of(name, depth)), weight_decay if decays else 0.0)
        group = groups.setdefault(key, {"params": [], "lr_scale": key[0], "weight_decay": key[1]})
        group["params"].append(parameter)
    return list(groups.values())


def _depth_of(name: str, depth: int) -> int:
    parts = name.split(".")
    if parts[0] == "blocks":
        return int(parts[1]) + 1
    if parts[0].startswith(("patch", "class_token")):
        return 0
    if parts[0].startswith(("norm", "head")):
        return depth + 1
    raise ValueError(f"parameter {name} has no place in the layer-wise learning rate decay")


def scheduled_rate(step: int, *, total: int, warmup: int, peak: float, final: float) -> float:
    """The learning rate at a step: linear from 0 over ``warmup`` steps, then a cosine from ``peak`` to ``final``."""
    if step < warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, total - warmup - 1)
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
