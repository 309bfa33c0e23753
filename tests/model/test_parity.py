"""If this fails, the model is no longer the authors' model: published weights give other answers."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from hsta.model import HSTA, HSTAConfig, authors_state_dict, load_authors_state_dict

PARITY = Path(__file__).parent / "parity"
CASES = sorted(path.stem for path in PARITY.glob("*.json"))


def rebuilt_weights(shapes: dict) -> dict[str, torch.Tensor]:
    """The weights are a function of name and shape."""
    weights = {}
    for name, shape in shapes.items():
        z = 0.05 * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        weights[name] = torch.from_numpy(1 + z if len(shape) == 1 and name.endswith(".weight") else z)
    return weights


def case_config(case: dict) -> HSTAConfig:
    config = case["config"]
    (special_layers, video_layers, _), *_ = config["depth"]
    return HSTAConfig(
        image_size=config["img"][0],
        patch_sizes=config["patch"],
        widths=config["emb"],
        heads=config["heads"],
        special_layers=special_layers,
        video_layers=video_layers,
        blocks=len(config["depth"]),
        frames=config["frames"],
        classes=config["ncls"],
    )


def close(actual: torch.Tensor, expected: np.ndarray, relative: float) -> bool:
    return float(np.abs(actual.numpy() - expected).max()) <= relative * float(np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_logits_and_class_tokens_are_the_authors(name):
    case = json.loads((PARITY / f"{name}.json").read_text())
    expected = np.load(PARITY / f"{name}.npz")
    config = case_config(case)
    model = HSTA(config).double().eval()
    weights = rebuilt_weights(case["state_dict_shapes"])
    load_authors_state_dict(model, weights)

    shape = case["input_shape"]
    pixels = torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)).transpose(1, 2)
    video, special = pixels[:, : config.frames], pixels[:, config.frames :]
    with torch.no_grad():
        logits = model(video, special)
        after = model.class_tokens(video[:1], special[:1])

    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    assert close(logits, expected["logits"], 1e-9)
    assert len(after) == config.blocks
    for block, tokens in enumerate(after):
        for branch in ("special", "video"):
            assert close(tokens[branch], expected[f"block{block}_{branch}_cls"][:1], 1e-9)

    back = authors_state_dict(model)
    assert {key: list(value.shape) for key, value in back.items()} == case["state_dict_shapes"]
    assert all(torch.equal(back[key], weights[key]) for key in weights)
