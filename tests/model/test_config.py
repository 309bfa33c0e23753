"""If this fails, settings that make no sense train something else than their user believes, without a word."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hsta.errors import InputError
from hsta.model.config import PRESETS, HSTAConfig
from hsta.model.special import SPECIAL


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames": 5}, "T = 5 is odd"),
        ({"frames": 0}, "frames"),
        ({"frames": 2.0}, "frames"),
        ({"blocks": 0}, "blocks"),
        ({"blocks": True}, "blocks"),
        ({"classes": 1}, "classes"),
        ({"special_layers": -1}, "special_layers"),
        ({"heads": (12, 7)}, "width 768 cannot be divided among 7 heads"),
        ({"widths": (384,)}, "not a pair"),
        ({"widths": 384}, "not a pair"),
        ({"patch_sizes": (12, 225)}, "patches of 225 px do not fit"),
        ({"head": "max"}, "'max' is not known"),
        ({"special": "onset"}, "'onset' is not known"),
        ({"fusion": "sum"}, "'sum' is not known"),
        ({"branches": "left"}, "'left' is not known"),
        ({"dropout": 1.0}, "dropout"),
        ({"drop_path": -0.1}, "drop_path"),
        ({"drop_path": 0.1, "blocks": 1, "special_layers": 1, "video_layers": 1}, "has no effect"),
        ({"drop_path": 0.1, "special_layers": 0, "video_layers": 0}, "has no effect"),
        ({"branches": "video"}, "no patches for CSTA"),
        ({"branches": "video", "fusion": "none", "video_layers": 0}, "video_layers"),
        ({"fusion": "none", "special_layers": 0}, "without CSTA"),
    ],
)
def test_senseless_settings_are_refused_with_setting_and_cure(settings, says):
    with pytest.raises(InputError, match="model.*") as caught:
        HSTAConfig(**settings)
    assert says in str(caught.value)
    assert caught.value.cure


def test_lists_from_yaml_become_tuples():
    assert HSTAConfig(widths=[96, 192], heads=[3, 3]) == HSTAConfig(widths=(96, 192), heads=(3, 3))


def test_published_geometry_loses_eight_rows_and_the_lossless_presets_none():
    assert PRESETS["base"] == HSTAConfig()
    special, video = PRESETS["base"].geometry("special"), PRESETS["base"].geometry("video")
    assert (special.grid, special.lost, video.grid, video.lost) == ((1, 18, 18), 8, (3, 14, 14), 0)
    for name in ("base_lossless", "base_lossless_240", "demo"):
        assert [PRESETS[name].geometry(branch).lost for branch in ("special", "video")] == [0, 0]


@pytest.mark.parametrize("name", SPECIAL)
def test_special_data_fills_tubelets(name):
    geometry = HSTAConfig(special=name).geometry("special")
    assert (geometry.items, geometry.channels) == (SPECIAL[name].items, SPECIAL[name].channels)
    assert geometry.grid[0] == 1


def rates(config: HSTAConfig, layers: int) -> list[float]:
    return [config.drop_path_rate(block, layer) for block in range(config.blocks) for layer in range(layers)]


def test_drop_path_rises_over_the_video_branch_as_published():
    config = HSTAConfig(blocks=4, special_layers=1, video_layers=2, drop_path=0.2)
    assert rates(config, 2) == pytest.approx([0.2 * place / 7 for place in range(8)])
    assert rates(config, 1) == pytest.approx([0.2 * place / 7 for place in (0, 2, 4, 6)])


def test_drop_path_is_not_lost_when_the_special_branch_is_deeper():
    config = HSTAConfig(blocks=2, special_layers=3, video_layers=1, drop_path=0.2)
    assert rates(config, 3) == pytest.approx([0.2 * place / 5 for place in range(6)])
    assert rates(config, 1) == pytest.approx([0.0, 0.2 * 3 / 5])


def test_drop_path_of_a_single_branch_spans_that_branch():
    config = HSTAConfig(blocks=2, special_layers=1, video_layers=4, branches="special", fusion="none", drop_path=0.2)
    assert rates(config, 1) == pytest.approx([0.0, 0.2])


def test_configurations_are_checked_without_torch():
    code = (
        "import sys; from hsta.model import ABLATIONS, PRESETS, SPECIAL, describe; "
        "describe(PRESETS['base']); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
