"""What the published recipe leaves off. If these fail, a setting does nothing, or something else than its name says."""

import dataclasses
import io
import math
import shutil

import numpy as np
import pytest
import torch

from hsta.errors import InputError
from hsta.model import HSTA
from hsta.training.arrays import select
from hsta.training.ema import Ema
from hsta.training.loop import Trainer, predict, scored_weights
from hsta.training.selection import BestEpoch, validation_scores
from tests.training.conftest import CONFIG, RECIPE, labels_of, trainer, weights

STILL = dataclasses.replace(CONFIG, dropout=0.0, drop_path=0.0)  # nothing random in the model
EVERYTHING = dataclasses.replace(
    RECIPE,
    rotation=10.0,
    crop=(0.5, 1.0),
    randaugment=(2, 5.0),
    erasing=0.2,
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
    clip_grad=1.0,
    ema=0.9,
    accumulate=2,
    patience=3,
)


def changed(**settings):
    return dataclasses.replace(RECIPE, **settings)


def after(arrays, recipe, config=STILL, epochs=1, **options):
    run = trainer(arrays, recipe, config, **options)
    for _ in range(epochs):
        run.run_epoch()
    return run


def parts(arrays):
    """Training clips of three subjects, and inner validation clips of the fourth with their labels."""
    inner = [key for key, subject in zip(arrays.keys, arrays.subjects) if subject == "s3"]
    validation = select(arrays, inner)
    return select(arrays, set(arrays.keys) - set(inner)), (validation, labels_of(validation))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


@pytest.mark.parametrize("special", ["flow_pair", "random_pair"])
def test_a_resumed_run_with_everything_on_ends_where_an_undisturbed_one_does(arrays, special):
    train, validation = parts(arrays)
    config = dataclasses.replace(CONFIG, special=special)
    whole = trainer(train, EVERYTHING, config, validation=validation)
    results = [whole.run_epoch() for _ in range(4)]
    first = trainer(train, EVERYTHING, config, validation=validation)
    for _ in range(2):
        first.run_epoch()
    state = through_a_file(first.state_dict())
    torch.manual_seed(99)
    second = trainer(train, EVERYTHING, config, validation=validation)
    second.load_state_dict(state)
    for expected in results[2:]:
        found = second.run_epoch()
        assert dataclasses.replace(found, seconds=expected.seconds, time=expected.time) == expected
    ours, theirs = through_a_file(whole.state_dict()), through_a_file(second.state_dict())
    assert ours["best"]["epoch"] == theirs["best"]["epoch"]
    for get in (scored_weights, lambda state: state["model"], lambda state: state["ema"]["weights"]):
        assert all(torch.equal(value, get(theirs)[name]) for name, value in get(ours).items())


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("extra", [{}, {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}])
def test_accumulated_gradients_are_those_of_the_whole_batch(arrays, parts, extra):
    recipe = changed(batch_size=12, epochs=2, warmup_epochs=0, **extra)
    whole, divided = (after(arrays, dataclasses.replace(recipe, accumulate=count), epochs=0) for count in (1, parts))
    first, second = whole.run_epoch(), divided.run_epoch()
    assert first.loss == pytest.approx(second.loss, rel=1e-5) and first.accuracy == pytest.approx(second.accuracy)
    for ours, theirs in zip(divided.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_fewer_clips_than_a_batch_accumulate_too(arrays):
    few = select(arrays, arrays.keys[:5])
    recipe = changed(batch_size=8, balanced=False, warmup_epochs=0)
    whole, divided = (trainer(few, dataclasses.replace(recipe, accumulate=count), STILL) for count in (1, 4))
    assert whole.run_epoch().loss == pytest.approx(divided.run_epoch().loss, rel=1e-5)


def test_gradients_are_clipped_to_the_norm(arrays):
    free, clipped = (after(arrays, changed(clip_grad=limit, warmup_epochs=0)) for limit in (0.0, 0.01))

    def norm(run):
        return math.sqrt(sum(float(p.grad.square().sum()) for p in run.model.parameters() if p.grad is not None))

    assert norm(clipped) <= 0.0101 < norm(free)


def test_the_running_mean_follows_the_weights():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    mean, ema = weights(model), Ema(model, 0.5)
    for step in range(1, 8):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        ema.update(model)
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weights(model)
    torch.testing.assert_close(weights(ema.model), mean)


def test_the_running_mean_is_what_is_scored(arrays):
    plain, averaged = (after(arrays, changed(ema=decay), epochs=2) for decay in (0.0, 0.9))
    assert torch.equal(weights(plain.model), weights(averaged.model))  # it watches, and does not steer
    scored = scored_weights(averaged.state_dict())
    assert not torch.equal(scored["head.weight"], averaged.model.state_dict()["head.weight"])
    assert torch.equal(scored_weights(plain.state_dict())["head.weight"], plain.model.state_dict()["head.weight"])


@pytest.mark.parametrize("part", ["patch_embed", "class_token.video", "blocks.0", "norm", "head"])
def test_frozen_parts_stay_and_the_others_learn(arrays, part):
    run = trainer(arrays, changed(freeze=(part,)), STILL)
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    run.run_epoch()
    run.run_epoch()
    for name, value in run.model.named_parameters():
        frozen = name.startswith(part) or name.endswith("key.bias")  # CSTA's key bias never learns
        assert torch.equal(value, before[name]) == frozen, name


def test_the_best_epoch_has_the_highest_uf1_then_the_lowest_loss():
    model, best = torch.nn.Linear(1, 1), BestEpoch()
    for epoch, (uf1, loss) in enumerate([(0.2, 1.0), (0.5, 2.0), (0.4, 0.1), (0.5, 1.5), (0.5, 1.6)], start=1):
        torch.nn.init.constant_(model.weight, epoch)
        best.consider(epoch, uf1, loss, model)
    assert best.epoch == 4 and best.weights["weight"].item() == 4


def test_validation_scores_count_the_classes_at_hand():
    right = np.eye(4)[[0, 1, 0]] * 0.9 + 0.025
    assert validation_scores(right, [0, 1, 0])[0] == 1.0  # two classes have no clips here, and cost nothing
    assert validation_scores(right, [0, 1, 1])[0] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_inner_validation_keeps_the_best_epoch_and_stops_in_time(arrays):
    train, validation = parts(arrays)
    recipe = changed(epochs=30, patience=3, warmup_epochs=1)
    run = trainer(train, recipe, STILL, validation=validation)
    results = []
    while not run.finished:
        results.append(run.run_epoch())
    ranks = [(result.validation_uf1, -result.validation_loss) for result in results]
    best = max(range(len(ranks)), key=ranks.__getitem__)
    assert len(results) == best + 1 + 3 < 30
    model = HSTA(STILL)
    model.load_state_dict(scored_weights(run.state_dict()))
    probabilities = predict(model, recipe, validation[0])
    expected = results[best].validation_uf1, results[best].validation_loss
    assert validation_scores(probabilities, validation[1]) == pytest.approx(expected)


def test_inner_validation_does_not_touch_the_training(arrays):
    train, validation = parts(arrays)
    plain, watched = after(train, RECIPE, CONFIG, 2), after(train, RECIPE, CONFIG, 2, validation=validation)
    assert torch.equal(weights(plain.model), weights(watched.model))
    poisoned = dataclasses.replace(validation[0], frames=255 - validation[0].frames)
    other = after(train, RECIPE, CONFIG, 2, validation=(poisoned, validation[1]))
    assert torch.equal(weights(plain.model), weights(other.model))


def test_the_mean_weights_are_validated_where_they_are_scored(arrays):
    train, validation = parts(arrays)
    raw, mean = (after(train, changed(ema=decay), validation=validation) for decay in (0.0, 0.9))
    best = scored_weights(mean.state_dict())
    assert torch.equal(best["head.weight"], mean.state_dict()["ema"]["weights"]["head.weight"])
    assert not torch.equal(best["head.weight"], scored_weights(raw.state_dict())["head.weight"])


def test_training_goes_on_from_the_weights_of_another(arrays):
    train, (others, other_labels) = parts(arrays)
    first = Trainer(STILL, changed(warmup_epochs=0), others, other_labels, seed=0)
    first.run_epoch()
    initial = scored_weights(first.state_dict())
    run = trainer(train, RECIPE, STILL, initial=initial)
    assert all(torch.equal(value, initial[name]) for name, value in run.model.state_dict().items())
    run.run_epoch()
    assert not torch.equal(weights(run.model), weights(after(train, RECIPE).model))


def test_initial_weights_of_another_model_are_refused(arrays):
    other = HSTA(dataclasses.replace(STILL, blocks=1)).state_dict()
    with pytest.raises(InputError, match="(?s)blocks.1.*another model|another model.*blocks.1"):
        trainer(arrays, RECIPE, STILL, initial=other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_what_it_says(arrays, precision):
    plain, chosen = after(arrays, changed(precision="auto")), after(arrays, changed(precision=precision))
    assert torch.equal(weights(plain.model), weights(chosen.model)) == (precision == "fp32")
    assert all(parameter.dtype == torch.float32 for parameter in chosen.model.parameters())


def test_padding_changes_what_short_clips_show(arrays):
    long = dataclasses.replace(STILL, frames=8)
    repeated, padded = (after(arrays, changed(padding=padding), long) for padding in ("repeat", "zeros"))
    assert not torch.equal(weights(repeated.model), weights(padded.model))
    by_zeros = predict(repeated.model, changed(padding="zeros"), arrays)
    assert not np.allclose(by_zeros, predict(repeated.model, RECIPE, arrays))


@pytest.mark.parametrize("branch", ["video", "special"])
def test_a_single_branch_trains_with_everything_on(arrays, branch):
    train, validation = parts(arrays)
    alone = dataclasses.replace(CONFIG, branches=branch, fusion="none")
    run = after(train, EVERYTHING, alone, 2, validation=validation)
    assert weights(run.model).isfinite().all()


def test_the_whole_model_compiles_as_one_graph(arrays):
    run = trainer(arrays, RECIPE, CONFIG)
    found = torch._dynamo.explain(run.model)(*run.clips.batch(torch.arange(4)))
    assert (found.graph_count, found.graph_break_count) == (1, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # torch's own, when its compiler is imported
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_model_learns_the_same(arrays):
    """One branch of one layer: compiling takes a second an operation."""
    config = dataclasses.replace(STILL, blocks=1, branches="video", fusion="none")
    plain = after(arrays, changed(warmup_epochs=0), config)
    torch._dynamo.utils.counters.clear()
    run = after(arrays, changed(warmup_epochs=0, compile=True), config)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert run.model.state_dict().keys() == plain.model.state_dict().keys()
    torch.testing.assert_close(weights(run.model), weights(plain.model), rtol=1e-3, atol=1e-4)
