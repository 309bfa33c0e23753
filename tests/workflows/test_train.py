"""The model for use. If these fail, a model was trained on fewer clips than it says, or its weights cannot be loaded."""

import json

import pytest

from hsta.errors import InputError
from hsta.model import HSTA
from tests.workflows.conftest import load
from workflows import train
from workflows.keeper import load_tensors


def test_one_model_of_all_clips(demo_set, capsys):
    config = load(demo_set[1], "run.name=final", "train.epochs=2")
    assert train.run(config) == 0
    folder = f"{config.folder}/folds/all-seed0"
    assert f"model: {folder}/model.pt" in capsys.readouterr().out
    receipt = json.load(open(f"{folder}/done.json"))
    assert (receipt["train_clips"], receipt["test_clips"], receipt["epochs"]) == (9, 0, 2)
    HSTA(config.model).load_state_dict(load_tensors(f"{folder}/model.pt")["model"])
    assert train.run(config) == 0
    assert "1 in all, 1 done" in capsys.readouterr().out


def test_inner_validation_is_refused(demo_set):
    with pytest.raises(InputError, match="here there are no folds"):
        train.run(load(demo_set[1], "run.name=final2", "protocol.validation_subjects=1"))
