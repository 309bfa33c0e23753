"""Mixup and cutmix: each clip of a batch is joined with another, and their labels by the same share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from hsta.training.rectangles import inside
from hsta.training.transfer import to_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How each clip is joined with its partner, on the host.

    Attributes:
        partner_B: row of the other clip in the batch.
        share_B: weight of the clip itself in the blend, 1 where cutmix is used instead.
        pasted_B4: rectangle that is taken from the partner, empty where mixup is used instead.
    """

    partner_B: Tensor
    share_B: Tensor
    pasted_B4: Tensor


def draw_mix(mixup: float, cutmix: float, count: int, generator: Generator) -> Mix:
    """Partners and shares for ``count`` clips; ``mixup`` and ``cutmix`` are the alphas, at least one above 0."""
    partner_B = torch.randperm(count, generator=generator)
    pastes_B = torch.rand(count, generator=generator) < (0.5 if mixup and cutmix else float(cutmix > 0))
    blend_B = draw_beta(mixup, count, generator) if mixup else torch.ones(count)
    kept_B = draw_beta(cutmix, count, generator) if cutmix else torch.ones(count)
    side_B = (1 - kept_B).sqrt()
    left_B, top_B = (torch.rand(2, count, generator=generator) * (1 - side_B)).unbind(0)
    pasted_B4 = torch.stack([left_B, top_B, left_B + side_B, top_B + side_B], dim=1)
    return Mix(
        partner_B=partner_B,
        share_B=torch.where(pastes_B, 1.0, blend_B),
        pasted_B4=pasted_B4 * pastes_B[:, None].float(),
    )


def draw_beta(alpha: float, count: int, generator: Generator) -> Tensor:
    """Numbers of the distribution Beta(alpha, alpha), by Jöhnk's rejection; quick for an alpha of up to 2."""
    drawn = torch.empty(0, dtype=torch.float64)
    while len(drawn) < count:
        x, y = torch.rand(2, 4 * count, generator=generator, dtype=torch.float64).pow(1 / alpha)
        fits = (x + y <= 1) & (x + y > 0)
        drawn = torch.cat([drawn, x[fits] / (x + y)[fits]])
    return drawn[:count].float()


def join(
    drawn: Mix, video: Tensor | None, special: Tensor | None, target_BK: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Clips (B, items, channels, H, W) and targets (B, classes) joined with their partners.

    A label's share is the part of the picture that is really its clip's, to the pixel.
    """
    device = target_BK.device
    partner_B, share_B, pasted_B4 = (to_device(x, device) for x in (drawn.partner_B, drawn.share_B, drawn.pasted_B4))
    size = next(x for x in (video, special) if x is not None).shape[-1]
    inside_B = inside(pasted_B4, size)
    share = share_B.view(-1, 1, 1, 1, 1)

    def joined(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        other = x[partner_B]
        return torch.where(inside_B, other, share * x + (1 - share) * other)

    share_B1 = share_B[:, None] * (1 - inside_B.flatten(1).float().mean(1, keepdim=True))
    return joined(video), joined(special), share_B1 * target_BK + (1 - share_B1) * target_BK[partner_B]
