"""If this fails, the model computes something else than HSTA: results and published weights lose their meaning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hsta.errors import InputError
from hsta.model import HSTA, PRESETS, HSTAConfig
from hsta.model.hsta import CSTA, DropPath, sinusoid

SMALL = HSTAConfig(
    image_size=30,
    patch_sizes=(7, 10),
    widths=(16, 24),
    heads=(2, 3),
    blocks=2,
    frames=4,
    classes=5,
    special_layers=2,
    video_layers=1,
)


def clips(config: HSTAConfig, batch: int = 2, seed: int = 0, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    special, size = config.geometry("special"), config.image_size
    video = torch.randn(batch, config.frames, 3, size, size, generator=draw, dtype=torch.float64)
    pictures = torch.randn(batch, special.items, special.channels, size, size, generator=draw, dtype=torch.float64)
    return video.to(dtype), pictures.to(dtype)


def build(config: HSTAConfig, seed: int = 0) -> HSTA:
    torch.manual_seed(seed)
    return HSTA(config)


def test_csta_without_keys_and_values_is_attention_with_them():
    torch.manual_seed(0)
    csta = CSTA(16, 24, 3, dropout=0.0).double()
    torch.nn.init.normal_(csta.key.bias)
    class_token, patches = torch.randn(2, 1, 16).double(), torch.randn(2, 9, 24).double()
    entered = csta.enter(F.gelu(csta.enter_norm(class_token)))
    x = csta.norm(torch.cat([entered, patches], dim=1))
    q, k, v = (
        m(part).unflatten(-1, (3, 8)).transpose(1, 2)
        for m, part in ((csta.query, x[:, :1]), (csta.key, x), (csta.value, x))
    )
    seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    expected = csta.leave(F.gelu(csta.leave_norm(entered + csta.proj(seen))))
    torch.testing.assert_close(csta(class_token, patches), expected, rtol=1e-12, atol=1e-12)


def test_patch_embedding_is_a_strided_convolution():
    model = build(SMALL).double()
    video, _ = clips(SMALL, dtype=torch.float64)
    embed, g = model.patch_embed["video"], SMALL.geometry("video")
    kernel = embed.proj.weight.view(g.width, g.channels, g.depth, g.patch, g.patch)
    expected = F.conv3d(video.transpose(1, 2), kernel, embed.proj.bias, stride=kernel.shape[2:]).flatten(2).mT
    torch.testing.assert_close(embed.proj(embed.tubelets(video)), expected, rtol=1e-12, atol=1e-12)


def test_positions_are_the_classical_sinusoid():
    table = sinusoid(7, 6).numpy()
    assert table[0] == pytest.approx([0, 1, 0, 1, 0, 1])
    assert table[5, 2] == pytest.approx(np.sin(5 / 10000 ** (2 / 6)), abs=1e-7)
    assert table[5, 3] == pytest.approx(np.cos(5 / 10000 ** (2 / 6)), abs=1e-7)
    assert not any("position" in name for name in build(SMALL).state_dict())


def test_initialisation_is_the_published_one():
    model = build(PRESETS["tiny"])
    block = model.blocks[0]
    for weight in (
        block.usta["video"][0].qkv.weight,
        block.csta["special"].value.weight,
        block.usta["video"][1].fc2.weight,
    ):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert model.class_token["video"].any()
    assert model.patch_embed["video"].proj.weight.abs().max() <= 1 / (3 * 2 * 16 * 16) ** 0.5
    zeros = [value for name, value in model.named_parameters() if name.endswith("bias") and "patch_embed" not in name]
    assert zeros and not any(value.any() for value in zeros)


@pytest.mark.parametrize("head", ["cls", "cls_last", "mean"])
def test_heads_read_what_they_say(head):
    model = build(replace(SMALL, head=head)).eval()
    video, special = clips(SMALL)
    tokens = model.embed(video, special)
    for block in model.blocks:
        tokens = block(tokens)
    normed = [model.norm[name](tokens[name]) for name in ("special", "video")]
    read = {
        "cls": [x[:, 0] for x in normed],
        "cls_last": [x[:, 0] for x in normed] + [x[:, -1] for x in normed],
        "mean": [x.mean(1) for x in normed],
    }[head]
    torch.testing.assert_close(model(video, special), model.head(torch.cat(read, dim=1)))


@pytest.mark.parametrize("branch", ["special", "video"])
def test_a_single_branch_needs_no_other_input(branch):
    model = build(replace(SMALL, branches=branch, fusion="none")).eval()
    inputs = dict(zip(("video", "special"), clips(SMALL)))
    alone = {name: value if name == branch else None for name, value in inputs.items()}
    torch.testing.assert_close(model(**alone), model(**inputs))


@pytest.mark.parametrize("wrong", ["frames", "pixels", "items", "nothing"])
def test_inputs_of_another_shape_are_refused(wrong):
    video, special = clips(SMALL)
    video, special = {
        "frames": (video[:, :2], special),
        "pixels": (video[..., :-1], special),
        "items": (video, special[:, :1]),
        "nothing": (video, None),
    }[wrong]
    with pytest.raises(InputError, match="branch got an input of shape .*\\n.*it takes"):
        build(SMALL)(video, special)


def test_pixels_that_are_said_to_be_lost_are_the_only_ones_lost():
    model = build(SMALL).double().eval()
    video, special = (x.requires_grad_() for x in clips(SMALL, dtype=torch.float64))
    (model(video, special) * torch.randn(5).double()).sum().backward()
    assert SMALL.geometry("special").lost == 2
    assert not special.grad[..., -2:, :].any() and not special.grad[..., -2:].any()
    assert special.grad[..., :-2, :-2].abs().min() > 0
    assert video.grad.abs().min() > 0


@pytest.mark.parametrize("preset", ["demo", "tiny"])
def test_float32_and_bfloat16_stay_within_documented_tolerances_of_float64(preset):
    config = PRESETS[preset]
    model = build(config).eval()
    video, special = clips(config)
    with torch.no_grad():
        single = model(video, special)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(video, special).float()
        exact = model.double()(video.double(), special.double())
    scale = exact.abs().max()
    assert (single - exact).abs().max() <= 1e-5 * scale
    assert (half - exact).abs().max() <= 0.08 * scale


def test_one_seed_gives_one_result_bit_for_bit():
    config = replace(PRESETS["demo"], dropout=0.2, drop_path=0.2)
    video, special = clips(config)
    results = []
    for _ in range(2):
        model = build(config, seed=3)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
        for _ in range(2):
            loss = F.cross_entropy(model(video, special), torch.tensor([0, 1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*results)


def test_dropout_and_drop_path_act_in_training_only():
    video, special = clips(SMALL)
    for change in ({"dropout": 0.3}, {"drop_path": 0.6}):
        model = build(replace(SMALL, **change))
        with torch.no_grad():
            trained = [model(video, special) for _ in range(4)]
            model.eval()
            evaluated = [model(video, special) for _ in range(2)]
        assert any(not torch.equal(trained[0], other) for other in trained[1:])
        assert torch.equal(*evaluated)
        torch.testing.assert_close(evaluated[0], build(SMALL).eval()(video, special))


def test_drop_path_drops_whole_clips_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25)(torch.ones(4000, 3, 2))
    kept = out.flatten(1)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert bool((kept == kept[:, :1]).all())
    assert float(out.mean()) == pytest.approx(1, abs=0.03)


def test_torch_compile_sees_one_graph():
    """A graph break would cost most of the speed on a GPU."""
    config = replace(PRESETS["demo"], dropout=0.1, drop_path=0.1)
    model = build(config)
    explained = torch._dynamo.explain(model)(*clips(config))
    assert explained.graph_count == 1 and explained.graph_break_count == 0
