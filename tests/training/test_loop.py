"""The training loop. If these fail, results cannot be repeated, resumed or believed."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from hsta.training.arrays import build_arrays
from hsta.training.loop import predict
from hsta.training.optimizer import parameter_groups, scheduled_rate
from tests.training.conftest import CLASSES, CONFIG, RECIPE, trainer, weights


def test_the_same_seed_gives_the_same_weights_bit_for_bit(arrays):
    ends = []
    for seed in (0, 0, 1):
        run = trainer(arrays, seed=seed)
        run.run_epoch()
        run.run_epoch()
        ends.append(weights(run.model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_resumed_run_ends_where_an_undisturbed_one_does(arrays):
    whole = trainer(arrays)
    losses = [whole.run_epoch().loss for _ in range(4)]
    first = trainer(arrays)
    for _ in range(2):
        first.run_epoch()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    torch.manual_seed(99)  # another process has other random states
    second = trainer(arrays, seed=0)
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert [second.run_epoch().loss for _ in range(2)] == losses[2:]
    assert torch.equal(weights(whole.model), weights(second.model))


def test_a_small_model_learns_the_training_clips(arrays):
    recipe = dataclasses.replace(RECIPE, epochs=40, flip=0.0, warmup_epochs=4)
    run = trainer(arrays, recipe, dataclasses.replace(CONFIG, dropout=0.0, drop_path=0.0))
    for _ in range(recipe.epochs):
        run.run_epoch()
    chosen = predict(run.model, recipe, arrays).argmax(1)
    assert [CLASSES[index] for index in chosen] == list(arrays.labels)


def test_scoring_is_deterministic_and_does_not_depend_on_the_batch(arrays):
    model = trainer(arrays).model
    first = predict(model, RECIPE, arrays)
    np.testing.assert_array_equal(first, predict(model, RECIPE, arrays))
    np.testing.assert_allclose(first, predict(model, RECIPE, arrays, batch_size=5), atol=1e-6)
    np.testing.assert_allclose(first.sum(1), 1)


def test_a_loss_that_is_not_finite_ends_the_fold(arrays):
    run = trainer(arrays, dataclasses.replace(RECIPE, base_lr=1e30, warmup_epochs=0))
    with pytest.raises(FloatingPointError, match="epoch"):
        for _ in range(4):
            run.run_epoch()


def test_balanced_drawing_shows_every_class_equally(prepared):
    arrays = build_arrays([prepared[0], prepared[1], prepared[2], *prepared[3::3]], image_size=64, label_set="demo3")
    assert arrays.labels.count("smile") > 2 * arrays.labels.count("frown")
    run = trainer(arrays, dataclasses.replace(RECIPE, batch_size=2))
    drawn = [arrays.labels[row] for _ in range(400) for rows in run._order() for row in rows.tolist()]
    assert drawn.count("frown") / len(drawn) == pytest.approx(1 / 3, abs=0.05)


def test_the_schedule_is_the_published_one():
    rate = [scheduled_rate(step, total=150, warmup=5, peak=6.25e-5, final=1.25e-7) for step in range(150)]
    assert rate[0] == 0 and rate[5] == pytest.approx(6.25e-5) and rate[149] == pytest.approx(1.25e-7)
    assert all(later < earlier for earlier, later in zip(rate[5:], rate[6:]))


def test_depth_decides_the_learning_rate_and_shape_the_weight_decay(arrays):
    config = dataclasses.replace(CONFIG, blocks=4)
    model = trainer(arrays, config=config).model
    groups = parameter_groups(model, weight_decay=0.05, layer_decay=0.9)
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found.keys() == {id(parameter) for parameter in trained.values()}
    for name, parameter in trained.items():
        group = found[id(parameter)]
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 and "class_token" not in name else 0.0), name
        expected = {"blocks.0": 0.9**4, "blocks.3": 0.9, "patch": 0.9**5, "class": 0.9**5, "norm": 1.0, "head": 1.0}
        for start, scale in expected.items():
            if name.startswith(start):
                assert group["lr_scale"] == pytest.approx(scale), name


def test_an_epoch_that_was_cut_goes_on_at_the_same_step(arrays):
    recipe = dataclasses.replace(RECIPE, batch_size=2, balanced=False)
    whole = trainer(arrays, recipe)
    results = [whole.run_epoch() for _ in range(2)]
    assert whole.steps_per_epoch > 2
    first = trainer(arrays, recipe)
    steps = iter([False, True])
    assert first.run_epoch(lambda: next(steps)) is None  # after the second step
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    torch.manual_seed(99)
    second = trainer(arrays, recipe)
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    found = [second.run_epoch() for _ in range(2)]
    assert [(r.epoch, r.loss, r.accuracy) for r in found] == [(r.epoch, r.loss, r.accuracy) for r in results]
    assert torch.equal(weights(whole.model), weights(second.model))
