"""HSTA as one would write it down from the paper: the yardstick of benchmarks/model.py.

Plain eager PyTorch: tubelets by Conv3d, attention as softmax(q k^T) v with the matrix of scores formed, CSTA with keys
and values formed for every token, the final norm over all tokens. Its state dict has the authors' names, so it takes
the product's weights through `hsta.model.authors_state_dict`, and is checked to give the same logits before anything is
timed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsta.model import HSTAConfig
from hsta.model.config import BRANCHES
from hsta.model.hsta import sinusoid


class EagerHSTA(nn.Module):
    """The published model: both branches, CSTA, the "cls" head. Takes and gives what `hsta.model.HSTA` does."""

    def __init__(self, config: HSTAConfig):
        super().__init__()
        sides = [config.geometry(name) for name in BRANCHES]
        self.patch_embed = nn.ModuleList(TubeletConv(g.channels, g.width, g.depth, g.patch) for g in sides)
        self.cls_token = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, g.width)) for g in sides)
        self.blocks = nn.ModuleList(EagerBlock(config, index) for index in range(config.blocks))
        self.norm = nn.ModuleList(nn.LayerNorm(g.width, eps=1e-6) for g in sides)
        self.head = nn.Linear(config.head_inputs, config.classes)
        self.dropout = nn.Dropout(config.dropout)
        for index, g in enumerate(sides):
            self.register_buffer(f"position{index}", sinusoid(g.tokens, g.width)[None], persistent=False)

    def forward(self, video: Tensor, special: Tensor) -> Tensor:
        xs = []
        for index, clip in enumerate((special, video)):
            x = self.patch_embed[index](clip.transpose(1, 2))
            x = torch.cat((self.cls_token[index].expand(len(x), -1, -1), x), dim=1)
            xs.append(self.dropout(x + getattr(self, f"position{index}")))
        for block in self.blocks:
            xs = block(xs)
        return self.head(torch.cat([norm(x)[:, 0] for norm, x in zip(self.norm, xs)], dim=1))


class TubeletConv(nn.Module):
    def __init__(self, channels: int, width: int, depth: int, patch: int):
        super().__init__()
        kernel = (depth, patch, patch)
        self.proj = nn.Conv3d(channels, width, kernel_size=kernel, stride=kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class EagerBlock(nn.Module):
    def __init__(self, config: HSTAConfig, index: int):
        super().__init__()
        sides = [config.geometry(name) for name in BRANCHES]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    EagerLayer(g.width, g.heads, config.dropout, config.drop_path_rate(index, i))
                    for i in range(g.layers)
                )
            )
            for g in sides
        )
        pairs = [(sides[0], sides[1]), (sides[1], sides[0])]
        self.projs = nn.ModuleList(norm_gelu_linear(own.width, other.width) for own, other in pairs)
        self.fusion = nn.ModuleList(EagerCrossAttention(other.width, other.heads, config.dropout) for _, other in pairs)
        self.revert_projs = nn.ModuleList(norm_gelu_linear(other.width, own.width) for own, other in pairs)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [blocks(x) for blocks, x in zip(self.blocks, xs)]
        classes = [proj(x[:, :1]) for proj, x in zip(self.projs, xs)]
        after = []
        for i, j in ((0, 1), (1, 0)):
            token = self.fusion[i](torch.cat((classes[i], xs[j][:, 1:]), dim=1))
            after.append(torch.cat((self.revert_projs[i](token), xs[i][:, 1:]), dim=1))
        return after


def norm_gelu_linear(width: int, to: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.GELU(), nn.Linear(width, to))


class EagerLayer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = EagerAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = EagerMLP(width, dropout)
        self.rate = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.skipped(self.attn(self.norm1(x)))
        return x + self.skipped(self.mlp(self.norm2(x)))

    def skipped(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return x / (1 - self.rate) * torch.empty(len(x), 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)


class EagerAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = nn.functional.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.dropout(self.proj((weights @ v).transpose(1, 2).reshape(x.shape)))


class EagerMLP(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(self.gelu(self.fc1(x)))))


class EagerCrossAttention(nn.Module):
    """The first token of a sequence attends over the whole of it."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({name: nn.Linear(width, width) for name in ("wq", "wk", "wv", "proj")})
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (
            self.attn[name](part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, part in (("wq", y[:, :1]), ("wk", y), ("wv", y))
        )
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        seen = (weights @ v).transpose(1, 2).flatten(2)
        return x[:, :1] + self.dropout(self.attn["proj"](seen))
