"""If this fails, the authors' checkpoints load wrongly, or a damaged or dangerous file is taken for a good one."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from benchmarks.eager_hsta import EagerHSTA
from hsta.errors import InputError
from hsta.model import HSTA, HSTAConfig, authors_state_dict, load_authors_checkpoint, load_authors_state_dict

SMALL = HSTAConfig(image_size=30, patch_sizes=(7, 10), widths=(16, 24), heads=(2, 3), blocks=2, frames=4, classes=5)
NARROW = {"widths": (24, 36), "heads": (2, 3), "blocks": 2}


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, special_layers=3, video_layers=1),
        replace(SMALL, heads=(4, 6), blocks=3),
        replace(SMALL, frames=8, classes=3),
        replace(SMALL, special="flow"),
        HSTAConfig(**NARROW, frames=4, special_layers=2, video_layers=2),
        HSTAConfig(**NARROW, frames=8, image_size=448, patch_sizes=(24, 32)),
    ],
    ids=["N>M", "heads", "T8", "flow", "T4", "448px"],
)
def test_other_configurations_agree_with_an_independent_implementation(config):
    torch.manual_seed(0)
    plain, model = EagerHSTA(config).double().eval(), HSTA(config).double().eval()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    load_authors_state_dict(model, plain.state_dict())
    special = config.geometry("special")
    video = torch.randn(2, config.frames, 3, config.image_size, config.image_size).double()
    pictures = torch.randn(2, special.items, special.channels, config.image_size, config.image_size).double()
    with torch.no_grad():
        expected = plain(video, pictures)
        assert (model(video, pictures) - expected).abs().max() <= 1e-10 * expected.abs().max()
    back = authors_state_dict(model)
    assert back.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in back.items())


def test_everything_wrong_is_listed_at_once_and_nothing_is_loaded():
    model = HSTA(SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value.clone() + 1 for name, value in authors_state_dict(model).items()}
    del state["head.bias"]
    state["blocks.9.extra"] = torch.zeros(1)
    state["cls_token.0"] = torch.zeros(1, 1, 17)
    state["norm.0.weight"] = "text"
    with pytest.raises(InputError) as caught:
        load_authors_state_dict(model, state)
    message = str(caught.value)
    assert "4 tensors do not fit" in message
    for part in (
        "missing: head.bias (5,)",
        "unexpected: blocks.9.extra",
        "cls_token.0 is (1, 1, 17), expected (1, 1, 16)",
        "norm.0.weight is a str",
    ):
        assert part in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"module": s}], ids=["bare", "model", "module"]
)
def test_checkpoint_files_in_the_authors_formats_load(tmp_path, wrap):
    source, model = HSTA(SMALL), HSTA(SMALL)
    torch.save(wrap(authors_state_dict(source)), tmp_path / "a.pth")
    load_authors_checkpoint(model, tmp_path / "a.pth")
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())


class Payload:
    """Unpickling an instance would run `opened`."""

    opened: list[str] = []

    def __reduce__(self):
        return (Payload.opened.append, ("unpickled",))


def test_a_file_that_needs_unpickling_is_refused_and_not_run(tmp_path):
    path = tmp_path / "dangerous.pth"
    torch.save({"model": authors_state_dict(HSTA(SMALL)), "args": Payload()}, path)
    with pytest.raises(InputError, match="could run code"):
        load_authors_checkpoint(HSTA(SMALL), path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match="dangerous.pth"):
        load_authors_checkpoint(HSTA(SMALL), path)
    assert Payload.opened == []


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    with pytest.raises(InputError, match="missing.pth"):
        load_authors_checkpoint(HSTA(SMALL), tmp_path / "missing.pth")
    for name, content in {"empty.pth": b"", "text.pth": b"not a checkpoint", "cut.pth": b"PK\x03\x04cut"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_authors_checkpoint(HSTA(SMALL), tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds a list"):
        load_authors_checkpoint(HSTA(SMALL), tmp_path / "list.pth")
