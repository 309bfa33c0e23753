"""HSTA: Hierarchical Space-Time Attention (arXiv 2405.03202), to be read from top to bottom.

A clip comes in as a video, T frames sampled from onset to offset, and as special data, such as its onset and apex
frames. Each has a branch of its own, the special data a small one, the video a large one. K blocks follow one another:

    HSTA block = N layers of USTA on the special branch, M layers of USTA on the video branch, then CSTA between them
    USTA, Unimodal Space-Time Attention:   every token of a branch attends to every token of that branch
    CSTA, Crossmodal Space-Time Attention: the class token of each branch attends to the patches of the other

and a linear classifier reads the two class tokens.

Tokens of the published base model, 224 px, T = 6 (`describe` prints those of any configuration):

                       special branch                video branch
    input              2 x 3 x 224 x 224             6 x 3 x 224 x 224      items x channels x height x width
    tubelet            2 x 12 x 12                   2 x 16 x 16            one patch token each
    patch tokens       1 x 18 x 18 = 324             3 x 14 x 14 = 588      time x height x width
    class token        1                             1
    token width        384, 12 heads of 32           768, 12 heads of 64

Shape letters, written at the end of a tensor's name:

    B clips        L tokens of a branch (class token first, then P patches)        H heads       d width of a head
    D token width of the branch at hand        E token width of its partner, the other branch
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsta.errors import InputError
from hsta.model.config import BranchGeometry, HSTAConfig

MLP_RATIO = 4
NORM_EPS = 1e-6
INIT_STD = 0.02
PARTNER = {"special": "video", "video": "special"}


class HSTA(nn.Module):
    """The model.

    Args:
        config: what it is made of; kept as ``model.config``.
    """

    def __init__(self, config: HSTAConfig):
        super().__init__()
        self.config = config
        geometry = {name: config.geometry(name) for name in config.branch_names}
        self.patch_embed = nn.ModuleDict({name: PatchEmbed(g, dropout=config.dropout) for name, g in geometry.items()})
        self.class_token = nn.ParameterDict({name: nn.Parameter(torch.zeros(g.width)) for name, g in geometry.items()})
        self.blocks = nn.ModuleList(HSTABlock(config, index) for index in range(config.blocks))
        self.norm = nn.ModuleDict({name: nn.LayerNorm(g.width, eps=NORM_EPS) for name, g in geometry.items()})
        self.head = nn.Linear(config.head_inputs, config.classes)
        self._initialise()

    def forward(self, video: Tensor | None, special: Tensor | None) -> Tensor:
        """Logits (B, classes) of video (B, T, 3, H, W) and special data (B, S, C, H, W), both normalised floats.

        A model of a single branch does not look at the other's input, which may then be None.

        Raises:
            InputError: an input of another shape.
        """
        tokens = self.embed(video, special)
        for block in self.blocks:
            tokens = block(tokens)
        return self.classify(tokens)

    def embed(self, video: Tensor | None, special: Tensor | None) -> dict[str, Tensor]:
        """Tokens (B, L, D) of each branch before the first block."""
        inputs = {"special": special, "video": video}
        return {name: embed(inputs[name], self.class_token[name]) for name, embed in self.patch_embed.items()}

    def classify(self, tokens: dict[str, Tensor]) -> Tensor:
        """Logits (B, classes) of the tokens after the last block."""
        if self.config.head == "mean":
            return self.head(torch.cat([self.norm[name](x_BLD).mean(1) for name, x_BLD in tokens.items()], dim=-1))
        read = [0] if self.config.head == "cls" else [0, -1]  # class token; last patch token
        return self.head(
            torch.cat([self.norm[name](x_BLD[:, i]) for i in read for name, x_BLD in tokens.items()], dim=-1)
        )

    def class_tokens(self, video: Tensor | None, special: Tensor | None) -> list[dict[str, Tensor]]:
        """Class tokens (B, D) of each branch after every block, before the final norm."""
        tokens, after = self.embed(video, special), []
        for block in self.blocks:
            tokens = block(tokens)
            after.append({name: x_BLD[:, 0] for name, x_BLD in tokens.items()})
        return after

    def _initialise(self) -> None:
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.head.weight, std=INIT_STD)
        nn.init.zeros_(self.head.bias)
        for class_token_D in self.class_token.values():
            nn.init.trunc_normal_(class_token_D, std=INIT_STD)


class PatchEmbed(nn.Module):
    """Cuts a branch's input into tubelets, makes each a patch token, puts the class token in front and adds positions.

    A convolution whose stride is its kernel, done as a matrix product, and initialised as PyTorch's convolutions are:
    uniform within 1 / sqrt(inputs). Rows and columns beyond the last whole patch are not looked at (`lost`).
    """

    def __init__(self, geometry: BranchGeometry, *, dropout: float):
        super().__init__()
        self.geometry = geometry
        self.proj = nn.Linear(geometry.patch_inputs, geometry.width)
        self.register_buffer("position_LD", sinusoid(geometry.tokens, geometry.width), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor | None, class_token_D: Tensor) -> Tensor:
        """Tokens (B, L, D) of (B, items, channels, H, W)."""
        patches_BPD = self.proj(self.tubelets(x))
        class_B1D = class_token_D.expand(len(patches_BPD), 1, -1)
        return self.dropout(torch.cat([class_B1D, patches_BPD], dim=1) + self.position_LD)

    def tubelets(self, x: Tensor | None) -> Tensor:
        """(B, P, channels * depth * patch * patch): the pixels of each tubelet, in order of time, row and column."""
        g = self.geometry
        size = g.grid[1] * g.patch + g.lost
        if x is None or x.shape[1:] != (g.items, g.channels, size, size):
            shape = "nothing" if x is None else tuple(x.shape)
            raise InputError(
                f"the {g.name} branch got an input of shape {shape}",
                where="HSTA(video, special)",
                cure=f"it takes (B, {g.items}, {g.channels}, {size}, {size})",
            )
        t, h, w = g.grid
        x = x[..., : h * g.patch, : w * g.patch]
        x = x.reshape(-1, t, g.depth, g.channels, h, g.patch, w, g.patch)
        return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(-1, g.patches, g.patch_inputs)


def sinusoid(tokens: int, width: int) -> Tensor:
    """Fixed positions (L, D): sines at even, cosines at odd channels, wavelengths from 2 pi to 10000 x 2 pi.

    Rounded to float32 at any precision of the model, as the published model rounds them.
    """
    channel_D = np.arange(width)
    angle_LD = np.arange(tokens)[:, None] / 10000.0 ** (2 * (channel_D // 2) / width)
    return torch.from_numpy(np.where(channel_D % 2, np.cos(angle_LD), np.sin(angle_LD)).astype(np.float32))


class HSTABlock(nn.Module):
    """USTA layers on each branch, then CSTA between them. Takes and gives the tokens (B, L, D) of each branch."""

    def __init__(self, config: HSTAConfig, index: int):
        super().__init__()
        geometry = {name: config.geometry(name) for name in config.branch_names}
        self.usta = nn.ModuleDict(
            {
                name: nn.Sequential(
                    *(
                        USTA(g.width, g.heads, dropout=config.dropout, drop_path=config.drop_path_rate(index, layer))
                        for layer in range(g.layers)
                    )
                )
                for name, g in geometry.items()
            }
        )
        self.csta = nn.ModuleDict()
        if config.fusion == "csta":
            for name, g in geometry.items():
                partner = geometry[PARTNER[name]]
                self.csta[name] = CSTA(g.width, partner.width, partner.heads, dropout=config.dropout)

    def forward(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.attend_across({name: layers(tokens[name]) for name, layers in self.usta.items()})

    def attend_across(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """CSTA, both directions from the same tokens. Patch tokens pass unchanged."""
        if not self.csta:
            return tokens
        parts = {name: x_BLD.split([1, x_BLD.shape[1] - 1], dim=1) for name, x_BLD in tokens.items()}
        after = {name: csta(parts[name][0], parts[PARTNER[name]][1]) for name, csta in self.csta.items()}
        return {name: torch.cat([after[name], patches_BPD], dim=1) for name, (_, patches_BPD) in parts.items()}


class USTA(nn.Module):
    """One layer of Unimodal Space-Time Attention: a pre-norm transformer layer over all tokens of a branch.

    Keys have no bias: it would shift all scores of a query alike, and the softmax would cancel it.
    """

    def __init__(self, width: int, heads: int, *, dropout: float, drop_path: float):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.drop_path(self.attention(self.norm1(x_BLD)))
        return x_BLD + self.drop_path(self.mlp(self.norm2(x_BLD)))

    def attention(self, x_BLD: Tensor) -> Tensor:
        y_BHLd = F.scaled_dot_product_attention(*self.queries_keys_values(x_BLD))
        return self.dropout(self.proj(y_BHLd.transpose(1, 2).flatten(2)))

    def mlp(self, x_BLD: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x_BLD)))))

    def queries_keys_values(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv_BLD = F.linear(x_BLD, self.qkv.weight, bias)
        q_BHLd, k_BHLd, v_BHLd = (
            part_BLD.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part_BLD in qkv_BLD.chunk(3, dim=-1)
        )
        return q_BHLd, k_BHLd, v_BHLd

    def attention_weights(self, x_BLD: Tensor) -> Tensor:
        """(B, H, L, L): how much each token (third axis) takes from each (last). `forward` never forms them."""
        q_BHLd, k_BHLd, _ = self.queries_keys_values(self.norm1(x_BLD))
        return (q_BHLd @ k_BHLd.mT * q_BHLd.shape[-1] ** -0.5).softmax(-1)


class CSTA(nn.Module):
    """One direction of Crossmodal Space-Time Attention: a branch's class token attends over its partner's patches.

    The class token, brought to the partner's width E, is the only query; keys and values are itself and the patches.
    With one query, keys and values need not be formed for every token. With a head's key matrix Wk and value matrix Wv,

        score of token x = q . (Wk x + bk) = (Wk^T q) . x + q . bk          the last term, alike for all x, cancels
        output           = sum_x a_x (Wv x + bv) = Wv (sum_x a_x x) + bv    as the weights a_x sum to one

    which is exact, at a small part of the cost. So the key bias changes nothing and never learns: it is frozen, and
    kept because the published model counts and stores it.
    """

    def __init__(self, width: int, partner_width: int, partner_heads: int, *, dropout: float):
        super().__init__()
        self.heads = partner_heads
        self.enter_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.enter = nn.Linear(width, partner_width)
        self.norm = nn.LayerNorm(partner_width, eps=NORM_EPS)
        self.query = nn.Linear(partner_width, partner_width)
        self.key = nn.Linear(partner_width, partner_width)
        self.key.bias.requires_grad_(False)
        self.value = nn.Linear(partner_width, partner_width)
        self.proj = nn.Linear(partner_width, partner_width)
        self.dropout = nn.Dropout(dropout)
        self.leave_norm = nn.LayerNorm(partner_width, eps=NORM_EPS)
        self.leave = nn.Linear(partner_width, width)

    def forward(self, class_B1D: Tensor, patches_BPE: Tensor) -> Tensor:
        """The new class token (B, 1, D)."""
        class_B1E, x_BLE, weight_BHL = self.attend(class_B1D, patches_BPE)
        seen_BHE = weight_BHL @ x_BLE
        value_HdE = self.value.weight.unflatten(0, (self.heads, -1))
        seen_BE = torch.einsum("bhe,hde->bhd", seen_BHE, value_HdE).flatten(1) + self.value.bias
        class_B1E = class_B1E + self.dropout(self.proj(seen_BE))[:, None]
        return self.leave(F.gelu(self.leave_norm(class_B1E)))

    def attend(self, class_B1D: Tensor, patches_BPE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The class token at width E, the tokens (B, L, E) it attends over, itself first, and its weights (B, H, L)."""
        class_B1E = self.enter(F.gelu(self.enter_norm(class_B1D)))
        x_BLE = self.norm(torch.cat([class_B1E, patches_BPE], dim=1))
        q_BHd = self.query(self.norm(class_B1E)).squeeze(1).unflatten(-1, (self.heads, -1))
        key_HdE = self.key.weight.unflatten(0, (self.heads, -1))
        query_BHE = torch.einsum("bhd,hde->bhe", q_BHd, key_HdE) * q_BHd.shape[-1] ** -0.5
        return class_B1E, x_BLE, (query_BHE @ x_BLE.mT).softmax(-1)


class DropPath(nn.Module):
    """In training, drops a residual for whole clips at random and scales up the others, so that the mean stays."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x_BLD: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x_BLD
        keep = 1 - self.rate
        return x_BLD * (x_BLD.new_empty(len(x_BLD), 1, 1).bernoulli_(keep) / keep)
