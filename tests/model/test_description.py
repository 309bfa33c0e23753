"""If this fails, the sizes a user plans a machine by are wrong, or no longer those published."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hsta.model import ABLATIONS, HSTA, PRESETS, HSTAConfig, ablate, describe


@pytest.mark.parametrize(
    ("settings", "millions", "giga"),
    [
        ({}, 81.887623, 44.2),
        ({"blocks": 3, "video_layers": 4}, 104.319367, 61.6),
        ({"blocks": 3}, 61.8, 33.4),
        ({"frames": 2}, 81.887623, 15.9),
        ({"frames": 4}, 81.887623, 29.6),
        ({"frames": 8}, 81.887623, 59.8),
        ({"frames": 16}, 81.887623, 131.5),
    ],
)
def test_published_sizes(settings, millions, giga):
    description = describe(HSTAConfig(**settings))
    assert description.parameters / 1e6 == pytest.approx(millions, abs=0.05 if millions == 61.8 else 1e-9)
    assert round(description.published_macs / 1e9, 1) == giga


def test_published_parameters_by_stage():
    by_name = {stage.name: stage.parameters for stage in describe(HSTAConfig()).stages}

    def total(part):
        return sum(parameters for name, parameters in by_name.items() if name.startswith(part))

    assert total("patches") == 1_512_576
    assert total("class token") == 1_152
    assert total("USTA, special") == 4 * 1_774_080
    assert total("USTA, video") == 4 * 14_174_208
    assert total("CSTA") == 4 * 4_142_592
    assert total("norms") == 2_304
    assert total("head") == 8_071


@pytest.mark.parametrize("name", [*PRESETS, *ABLATIONS])
def test_parameters_are_those_of_the_model(name):
    config = PRESETS[name] if name in PRESETS else ablate(name, HSTAConfig(widths=(24, 48), heads=(2, 3), frames=4))
    with torch.device("meta"):
        model = HSTA(config)
    assert describe(config).parameters == sum(p.numel() for p in model.parameters())
    assert describe(config).tokens == {
        branch: embed.position_LD.shape[0] for branch, embed in model.patch_embed.items()
    }


def test_own_macs_are_those_that_pytorch_counts():
    config = replace(PRESETS["demo"], heads=(2, 4), video_layers=2)
    model = HSTA(config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.zeros(1, 4, 3, 112, 112), torch.zeros(1, 1, 3, 112, 112))
    assert counter.get_total_flops() == pytest.approx(2 * describe(config).macs, rel=1e-3)


def test_the_table_says_what_the_geometry_loses_and_what_never_learns():
    text = str(describe(HSTAConfig()))
    assert "81,887,623" in text and "44.218 G" in text and "41.112 G" in text
    assert "does not see the last 8 rows and columns" in text
    assert "4,608 are CSTA key biases" in text
    assert "does not see" not in str(describe(PRESETS["base_lossless"]))
