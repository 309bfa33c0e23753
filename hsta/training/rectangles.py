"""Rectangles drawn at random, one a clip: (B, 4) left, top, right and bottom, each from 0 to 1."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor


def draw_rectangles(
    count: int, *, area: tuple[float, float], aspect: tuple[float, float], generator: Generator
) -> Tensor:
    """Rectangles anywhere in the picture, with an area (part of the picture's) and an aspect ratio (width / height,
    uniform in its logarithm) within bounds. A side that would be longer than the picture's is as long."""
    where = torch.rand(4, count, generator=generator)
    area_B = area[0] + (area[1] - area[0]) * where[0]
    aspect_B = torch.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * where[1])
    width_B, height_B = (area_B * aspect_B).sqrt().clamp_max(1), (area_B / aspect_B).sqrt().clamp_max(1)
    left_B, top_B = (1 - width_B) * where[2], (1 - height_B) * where[3]
    return torch.stack([left_B, top_B, left_B + width_B, top_B + height_B], dim=1)


def inside(rectangles_B4: Tensor, size: int) -> Tensor:
    """Which pixels of size x size pictures have their centres in the rectangle: bool (B, 1, 1, size, size)."""
    centre_W = (torch.arange(size, device=rectangles_B4.device) + 0.5) / size
    left, top, right, bottom = rectangles_B4.unsqueeze(-1).unbind(1)
    across_BW = (centre_W >= left) & (centre_W < right)
    down_BH = (centre_W >= top) & (centre_W < bottom)
    return (down_BH[:, :, None] & across_BW[:, None, :])[:, None, None]
