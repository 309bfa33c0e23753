"""What a model looked at: CSTA's weights on patches, and a rollout of attention back to pixels.

Everything is computed by a separate walk through the model; its own forward pass forms no attention matrix and knows
nothing of this. The matrices take memory: use batches of a few clips.

Shape letters as in hsta.py, with P patches, and t, h, w their grid (time, height, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hsta.model.config import BranchGeometry
from hsta.model.hsta import HSTA, PARTNER


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMaps:
    """Attention of a batch, by branch looked at.

    Attributes:
        csta: (B, K, H, t, h, w), the weight that CSTA's query puts on each patch of this branch, by block and head. The
            query is the other branch's class token. Over the patches the weights sum to one less ``csta_self``. Empty
            without CSTA.
        csta_self: (B, K, H), the weight the query keeps for itself.
        rollout: (B, t, H, W), how much of the tokens that the classifier reads comes from each patch of this branch: a
            map for the frames of each tubelet, the patch's share on every one of its pixels, zero on pixels that no
            patch covers. The shares of all patches of all branches, and of the class tokens, sum to one.
    """

    csta: dict[str, Tensor]
    csta_self: dict[str, Tensor]
    rollout: dict[str, Tensor]


@torch.no_grad()
def attention(model: HSTA, video: Tensor | None, special: Tensor | None) -> AttentionMaps:
    """Attention maps of a batch, as in evaluation (no dropout). The model is left in the mode it was in.

    The rollout is that of Abnar and Zuidema (arXiv 2005.00928), taken through both branches: a USTA layer mixes tokens
    by half its mean attention over heads and half the identity, for its residual; CSTA mixes a class token likewise
    with the other branch's patches. What the classifier reads is averaged over branches. Without CSTA it is the rollout
    over USTA alone.

    Args:
        video, special: as for the model.

    Raises:
        InputError: an input of another shape.
    """
    training = model.training
    model.eval()
    try:
        return _walk(model, model.embed(video, special))
    finally:
        model.train(training)


def to_pixels(weights: Tensor, geometry: BranchGeometry) -> Tensor:
    """(..., t, h, w) values of patches as (..., t, H, W) on their pixels, zero where no patch is."""
    pixels = weights.repeat_interleave(geometry.patch, -2).repeat_interleave(geometry.patch, -1)
    return torch.nn.functional.pad(pixels, (0, geometry.lost, 0, geometry.lost))


def _walk(model: HSTA, tokens: dict[str, Tensor]) -> AttentionMaps:
    geometry = {name: model.config.geometry(name) for name in tokens}
    share = _initial_shares(tokens)
    seen: dict[str, list[Tensor]] = {name: [] for name in tokens}
    for block in model.blocks:
        for name, layers in block.usta.items():
            for layer in layers:
                share[name] = _usta_share(layer.attention_weights(tokens[name]), share[name])
                tokens[name] = layer(tokens[name])
        class_share = {}
        for name, csta in block.csta.items():
            partner = PARTNER[name]
            *_, weight_BHL = csta.attend(tokens[name][:, :1], tokens[partner][:, 1:])
            seen[partner].append(weight_BHL)
            class_share[name] = _csta_share(weight_BHL, share[name], share[partner])
        for name, row_BS in class_share.items():
            share[name] = torch.cat([row_BS[:, None], share[name][:, 1:]], dim=1)
        tokens = block.attend_across(tokens)

    read_BS = torch.stack([_read(share_BLS, model.config.head) for share_BLS in share.values()]).mean(0)
    rollout = {}
    for (name, g), part_BL in zip(geometry.items(), read_BS.split([g.tokens for g in geometry.values()], dim=-1)):
        rollout[name] = to_pixels(part_BL[:, 1:].unflatten(-1, g.grid), g)
    weights = {name: torch.stack(blocks, dim=1) for name, blocks in seen.items() if blocks}
    return AttentionMaps(
        csta={name: w_BKHL[..., 1:].unflatten(-1, geometry[name].grid) for name, w_BKHL in weights.items()},
        csta_self={name: w_BKHL[..., 0] for name, w_BKHL in weights.items()},
        rollout=rollout,
    )


def _initial_shares(tokens: dict[str, Tensor]) -> dict[str, Tensor]:
    """(B, L, S) for each branch: how much of each of its tokens comes from each of S sources, all tokens there are."""
    lengths = [x_BLD.shape[1] for x_BLD in tokens.values()]
    one = next(iter(tokens.values()))
    sources_SS = torch.eye(sum(lengths), device=one.device, dtype=one.dtype)
    return {name: rows.expand(len(one), -1, -1) for name, rows in zip(tokens, sources_SS.split(lengths))}


def _usta_share(weight_BHLL: Tensor, share_BLS: Tensor) -> Tensor:
    return (share_BLS + weight_BHLL.mean(1) @ share_BLS) / 2


def _csta_share(weight_BHL: Tensor, own_BLS: Tensor, partner_BLS: Tensor) -> Tensor:
    """(B, S) of the new class token: half itself, half what the query saw (itself and the partner's patches)."""
    itself_BS = own_BLS[:, 0]
    seen_B1L = weight_BHL.mean(1)[:, None]
    seen_BS = seen_B1L[:, :, 0] * itself_BS + (seen_B1L[:, :, 1:] @ partner_BLS[:, 1:])[:, 0]
    return (itself_BS + seen_BS) / 2


def _read(share_BLS: Tensor, head: str) -> Tensor:
    if head == "mean":
        return share_BLS.mean(1)
    return share_BLS[:, 0] if head == "cls" else (share_BLS[:, 0] + share_BLS[:, -1]) / 2
