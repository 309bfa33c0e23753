"""The training loop. If these fail, results cannot be repeated, resumed or believed."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from hsta.errors import InputError
from hsta.model import HSTAConfig
from hsta.training.arrays import build_arrays
from hsta.training.loop import Trainer, predict
from hsta.training.optimizer import parameter_groups, scheduled_rate
from hsta.training.recipe import Recipe
from hsta.training.resident import ResidentClips
from tests.training.conftest import CLASSES

CONFIG = HSTAConfig(
    image_size=64,
    patch_sizes=(16, 16),
    widths=(32, 48),
    heads=(2, 2),
    special_layers=1,
    video_layers=1,
    blocks=2,
    frames=4,
    classes=3,
    special="flow",
    dropout=0.1,
    drop_path=0.1,
)
RECIPE = Recipe(epochs=4, batch_size=4, base_lr=0.05, warmup_epochs=1, flip=0.5)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def arrays(prepared):
    return build_arrays(prepared, image_size=64, label_set="demo3")


def trainer(arrays, recipe=RECIPE, config=CONFIG, seed=0):
    return Trainer(config, recipe, arrays, [CLASSES.index(label) for label in arrays.labels], seed=seed)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


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


def batch(arrays, config=CONFIG, **options):
    clips = ResidentClips(arrays, config, motion_scale=(1.0, 0.1), device=torch.device("cpu"))
    return clips.batch(torch.arange(len(arrays)), **options)


def test_frames_are_the_middles_of_equal_stretches(prepared, arrays):
    video, _ = batch(arrays)
    item = prepared[3]  # 8 frames, 4 stretches of 2
    assert len(item.frames) == 8
    expected = item.frames[[1, 3, 5, 7]].transpose(0, 3, 1, 2) / 255.0
    mean, std = np.array([0.485, 0.456, 0.406])[:, None, None], np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(video[3].numpy(), (expected - mean) / std, atol=1e-5)


def test_drawn_frames_stay_in_their_stretch(arrays):
    early, _ = batch(arrays, places_BT=torch.zeros(12, 4))
    late, _ = batch(arrays, places_BT=torch.full((12, 4), 1 - 1e-6))
    full = arrays.frames[arrays.starts[3] : arrays.starts[4]]
    for video, rows in ((early, [0, 2, 4, 6]), (late, [1, 3, 5, 7])):
        pixels = video[3] * torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1) + torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        np.testing.assert_allclose((pixels * 255).round().numpy(), full[rows], atol=0.5)


def test_special_data_are_the_frames_or_fields_named(prepared, arrays):
    _, special = batch(arrays, dataclasses.replace(CONFIG, special="apex_offset"))
    video, _ = batch(arrays, dataclasses.replace(CONFIG, special="apex_offset", frames=8), places_BT=torch.zeros(12, 8))
    assert torch.equal(special[3], video[3, [3, 7]])  # clip 3 has 8 frames, its apex is the fourth
    _, flow = batch(arrays)
    assert flow.shape == (12, 1, 3, 64, 64)
    np.testing.assert_allclose(flow[0, 0, :2].numpy(), prepared[0].flow[0], atol=2e-3)


def test_a_mirror_image_moves_the_other_way(arrays):
    plain_video, plain = batch(arrays)
    video, mirrored = batch(arrays, mirror_B=torch.ones(12, dtype=torch.bool))
    assert torch.equal(video, plain_video.flip(-1))
    assert torch.equal(mirrored[:, :, 0], -plain[:, :, 0].flip(-1))
    assert torch.equal(mirrored[:, :, 1:], plain[:, :, 1:].flip(-1))


def test_special_data_that_were_not_prepared_are_refused(arrays):
    one = dataclasses.replace(arrays, motion=arrays.motion[:, :1])
    with pytest.raises(InputError, match="2 flow fields"):
        batch(one, dataclasses.replace(CONFIG, special="flow_pair"))


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


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("betas", (0.9, 1.0)), ("flip", 2), ("precision", "fp8")])
def test_a_recipe_that_cannot_be_meant_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        Recipe(**{"warmup_epochs": 0, name: value})
