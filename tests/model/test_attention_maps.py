"""If this fails, heat maps in a report point at places the model did not look at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hsta.model import ABLATIONS, HSTA, HSTAConfig, ablate, attention
from hsta.model.attention_maps import to_pixels

CONFIG = HSTAConfig(
    image_size=30,
    patch_sizes=(7, 10),
    widths=(16, 24),
    heads=(2, 3),
    blocks=2,
    frames=4,
    classes=3,
    special_layers=1,
    video_layers=2,
)


def model_and_clips(config: HSTAConfig, seed: int = 0) -> tuple[HSTA, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = HSTA(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    special = config.geometry("special")
    video = torch.randn(2, config.frames, 3, config.image_size, config.image_size).double()
    return model, video, torch.randn(2, special.items, special.channels, config.image_size, config.image_size).double()


def test_csta_maps_are_the_softmax_over_keys():
    model, video, special = model_and_clips(CONFIG)
    maps = attention(model, video, special)
    assert maps.csta["special"].shape == (2, 2, 2, 1, 4, 4) and maps.csta["video"].shape == (2, 2, 3, 2, 3, 3)
    block = model.blocks[0]
    tokens = {name: layers(x) for (name, layers), x in zip(block.usta.items(), model.embed(video, special).values())}
    csta = block.csta["special"]
    entered = csta.enter(torch.nn.functional.gelu(csta.enter_norm(tokens["special"][:, :1])))
    x = csta.norm(torch.cat([entered, tokens["video"][:, 1:]], dim=1))
    q, k = (m(part).unflatten(-1, (3, 8)).transpose(1, 2) for m, part in ((csta.query, x[:, :1]), (csta.key, x)))
    expected = (q @ k.mT / 8**0.5).softmax(-1)[:, :, 0]
    torch.testing.assert_close(maps.csta["video"][:, 0].flatten(2), expected[..., 1:])
    torch.testing.assert_close(maps.csta_self["video"][:, 0], expected[..., 0])


@pytest.mark.parametrize(
    "name", ["usta_only", "csta_only", "video_only", "special_only", "swapped", "head_mean", "head_cls_last"]
)
def test_shares_are_shares_in_every_variant(name):
    config = ablate(name, CONFIG)
    model, video, special = model_and_clips(config)
    maps = attention(model, video, special)
    assert set(maps.rollout) == set(config.branch_names)
    assert bool(maps.csta) == (config.fusion == "csta")
    total = 0
    for branch, pixels in maps.rollout.items():
        g = config.geometry(branch)
        assert pixels.shape == (2, g.grid[0], 30, 30) and float(pixels.min()) >= 0
        total = total + pixels.sum((1, 2, 3)) / g.patch**2
    assert bool((total > 0).all()) and bool((total < 1).all())
    for branch, weights in maps.csta.items():
        torch.testing.assert_close(
            weights.sum((-3, -2, -1)) + maps.csta_self[branch], torch.ones(weights.shape[:3]).double()
        )


def test_rollout_follows_the_attention_to_the_patch_it_singles_out():
    """A patch that draws all attention, and no other, lights up on its own pixels."""
    config = replace(CONFIG, branches="video", fusion="none", blocks=1, video_layers=1)
    model, video, _ = model_and_clips(config)
    layer = model.blocks[0].usta["video"][0]
    with torch.no_grad():
        layer.qkv.weight[:48] = 0  # queries and keys: uniform attention
        layer.q_bias.zero_()
    pixels = attention(model, video, None).rollout["video"]
    assert float(pixels.max()) == pytest.approx(0.5 / 19)
    marked = 1 + 1 * 9 + 2 * 3 + 0  # token of the second tubelet, third row, first column
    hidden = layer.attention_weights
    layer.attention_weights = lambda x: torch.zeros_like(hidden(x)).index_fill_(-1, torch.tensor([marked]), 1.0)
    pixels = attention(model, video, None).rollout["video"]
    assert float(pixels[0, 1, 20:30, 0:10].min()) == pytest.approx(0.5)
    assert float(pixels.sum()) == pytest.approx(2 * 0.5 * 100)


def test_patches_land_on_their_pixels_and_lost_pixels_stay_empty():
    g = CONFIG.geometry("special")
    pixels = to_pixels(torch.arange(16.0).view(1, 4, 4), g)
    assert pixels.shape == (1, 30, 30)
    assert set(pixels[0, 7:14, 21:28].flatten().tolist()) == {7.0}
    assert not pixels[0, 28:].any() and not pixels[0, :, 28:].any()


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training):
    config = replace(CONFIG, dropout=0.5, drop_path=0.5)
    model, video, special = model_and_clips(config)
    model.train(training)
    first, second = attention(model, video, special), attention(model, video, special)
    assert torch.equal(first.rollout["video"], second.rollout["video"])
    assert model.training == training and all(p.grad is None for p in model.parameters())


def test_every_ablation_can_be_looked_at():
    for name in ABLATIONS:
        config = ablate(name, replace(CONFIG, blocks=1, frames=2))
        assert attention(*model_and_clips(config)).rollout
