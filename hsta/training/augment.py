"""Random changes of training clips: drawn here, on the host; `resident` makes them, on the device.

A clip's frames and its special data are moved by one affine map, sampled once. Flow is moved as what it is: the field
is sampled like a picture, and each vector is turned, sheared and scaled by the map's linear part; a mirror negates u.
Strain is computed again from the moved field. Every draw comes from the generator given, so a resumed run goes on with
the same draws.

Shape letters: B clips, I items (frames or fields) of a clip, C channels, H height, W width. Maps are in coordinates
from -1 (left, top) to 1 (right, bottom), as `torch.nn.functional.affine_grid` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from hsta.training.light import NEUTRAL_LIGHT
from hsta.training.recipe import Augmentation
from hsta.training.rectangles import draw_rectangles

MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*NEUTRAL_LIGHT, *MOVES)
"""What ``randaugment`` chooses from."""

_CROP_ASPECT = (3 / 4, 4 / 3)
_ERASED_AREA, _ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)
_LARGEST = {"rotate": 30.0, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 0.9, "translate_y": 0.9}  # at magnitude 10
_LARGEST_FACTOR = 0.9  # brightness and its like, from 0.1 to 1.9 at magnitude 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is done to each clip of a batch, on the host; None where nothing of the kind is done to any.

    Attributes:
        mirror_B: bool, mirrored left to right. The first of all moves.
        sampling_B33: the map from places in the changed picture to places in the original.
        light_B6: values of `hsta.training.light.NEUTRAL_LIGHT`, in its order.
        erased_B4: left, top, right and bottom of the emptied rectangle.
    """

    mirror_B: Tensor | None = None
    sampling_B33: Tensor | None = None
    light_B6: Tensor | None = None
    erased_B4: Tensor | None = None

    def part(self, clips: slice) -> Changes:
        """Those of some of the clips."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Changes(**{name: None if value is None else value[clips] for name, value in values.items()})


def draw_changes(settings: Augmentation, count: int, generator: Generator) -> Changes:
    """Changes for ``count`` clips. Settings that are off draw nothing."""
    mirror_B = torch.rand(count, generator=generator) < settings.flip if settings.flip else None
    maps = []
    if settings.rotation or settings.scale or settings.translation:
        turn_B, size_B, right_B, down_B = _either_way(4, count, generator=generator)
        shift = [settings.translation * 2 * right_B, settings.translation * 2 * down_B]
        maps.append(_similarity(settings.rotation * turn_B, 1 + settings.scale * size_B, *shift))
    light_B6 = None
    if settings.randaugment[0]:
        strength = draw_operations(*settings.randaugment, count, generator)
        light_B6 = torch.stack([strength[name] for name in NEUTRAL_LIGHT], dim=1)
        one = torch.ones(count)
        maps.append(_similarity(strength["rotate"], one, strength["translate_x"], strength["translate_y"]))
        maps.append(_matrix(one, strength["shear_x"], 0 * one, strength["shear_y"], one, 0 * one))
    if settings.crop != (1.0, 1.0):
        left_B, top_B, right_B, bottom_B = draw_rectangles(
            count, area=settings.crop, aspect=_CROP_ASPECT, generator=generator
        ).unbind(1)
        zero = torch.zeros(count)
        maps.append(_matrix(right_B - left_B, zero, left_B + right_B - 1, zero, bottom_B - top_B, top_B + bottom_B - 1))
    erased_B4 = None
    if settings.erasing:
        erased_B4 = draw_rectangles(count, area=_ERASED_AREA, aspect=_ERASED_ASPECT, generator=generator)
        erased_B4 *= (torch.rand(count, 1, generator=generator) < settings.erasing).float()
    return Changes(mirror_B=mirror_B, sampling_B33=_product(maps), light_B6=light_B6, erased_B4=erased_B4)


def draw_operations(operations: int, magnitude: float, count: int, generator: Generator) -> dict[str, Tensor]:
    """For each clip so many different `OPERATIONS`, at ``magnitude`` (0 to 10). Moves and factors go either way.

    Returns:
        the value (B,) of every operation, neutral where it was not chosen.
    """
    level = magnitude / 10
    order = torch.rand(count, len(OPERATIONS), generator=generator).argsort(dim=1)
    chosen = order.argsort(dim=1) < operations
    sign = torch.where(torch.rand(count, len(OPERATIONS), generator=generator) < 0.5, -1.0, 1.0)
    full = {name: 1 + _LARGEST_FACTOR * level * sign[:, column] for column, name in enumerate(NEUTRAL_LIGHT)}
    full["posterise"] = torch.full((count,), 2.0 ** round(4 * level))
    full["solarise"] = torch.full((count,), 256 * (1 - level))
    full |= {name: largest * level * sign[:, OPERATIONS.index(name)] for name, largest in _LARGEST.items()}
    neutral = {**NEUTRAL_LIGHT, **dict.fromkeys(MOVES, 0.0)}
    return {name: torch.where(chosen[:, column], full[name], neutral[name]) for column, name in enumerate(OPERATIONS)}


def mirror(x_BICHW: Tensor, mirror_B: Tensor, *, vectors: bool) -> Tensor:
    """Clips mirrored left to right where ``mirror_B`` says so; of ``vectors``, the first channel changes its sign."""
    flipped = x_BICHW.flip(-1)
    if vectors:
        flipped[:, :, 0] = -flipped[:, :, 0]
    return torch.where(mirror_B.view(-1, 1, 1, 1, 1), flipped, x_BICHW)


def resample(x_BICHW: Tensor, sampling_B33: Tensor) -> Tensor:
    """Pictures under a map, bilinear; beyond the edge the edge goes on."""
    x_BCHW = x_BICHW.flatten(1, 2)
    grid_BHW2 = F.affine_grid(sampling_B33[:, :2], list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid_BHW2, padding_mode="border", align_corners=False).view_as(x_BICHW)


def move_flow(motion_BIcHW: Tensor, sampling_B33: Tensor) -> Tensor:
    """Flow fields (u, v, strain) under a map: what would be measured between the moved pictures."""
    motion_BIcHW = resample(motion_BIcHW, sampling_B33)
    vectors_B22 = _inverse(sampling_B33)
    flow_BIcHW = torch.einsum("bij,bnjhw->bnihw", vectors_B22, motion_BIcHW[:, :, :2])
    return torch.cat([flow_BIcHW, strain(flow_BIcHW)], dim=2)


def strain(flow_BIcHW: Tensor) -> Tensor:
    """Optical strain (B, I, 1, H, W) of fields (u, v), as `hsta.vision.flow.optical_strain` defines it."""
    uy, ux = torch.gradient(flow_BIcHW[:, :, 0], dim=(-2, -1))
    vy, vx = torch.gradient(flow_BIcHW[:, :, 1], dim=(-2, -1))
    return (ux**2 + vy**2 + 0.5 * (uy + vx) ** 2).sqrt()[:, :, None]


def _either_way(*shape: int, generator: Generator) -> Tensor:
    return torch.rand(*shape, generator=generator) * 2 - 1


def _similarity(degrees_B: Tensor, size_B: Tensor, right_B: Tensor, down_B: Tensor) -> Tensor:
    """Sampling of a picture that is turned clockwise, made ``size`` times as large, and then shifted."""
    cos, sin = degrees_B.deg2rad().cos() / size_B, degrees_B.deg2rad().sin() / size_B
    return _matrix(cos, sin, -(cos * right_B + sin * down_B), -sin, cos, sin * right_B - cos * down_B)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    zero = torch.zeros_like(a)
    return torch.stack([a, b, c, d, e, f, zero, zero, zero + 1], dim=1).view(-1, 3, 3)


def _product(maps: list[Tensor]) -> Tensor | None:
    if not maps:
        return None
    whole = maps[0]
    for later in maps[1:]:  # what is done last to the picture is the first step on the way back to the original
        whole = whole @ later
    return whole


def _inverse(sampling_B33: Tensor) -> Tensor:
    """Inverse (B, 2, 2) of the linear part, in closed form: no solver, no synchronisation."""
    (a, b, _), (c, d, _) = (row.unbind(1) for row in sampling_B33[:, :2].unbind(1))
    adjugate = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2)
    return adjugate / (a * d - b * c).view(-1, 1, 1)
