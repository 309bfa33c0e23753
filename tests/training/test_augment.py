"""Augmentation. If these fail, frames and motion no longer belong together, and the model learns from motion that never
was."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import hsta.datasets
from hsta.training.arrays import build_arrays
from hsta.training.augment import OPERATIONS, Changes, draw_changes, draw_operations
from hsta.training.augment import mirror, move_flow, resample, strain
from hsta.training.light import NEUTRAL_LIGHT, relight
from hsta.training.recipe import Augmentation
from hsta.training.rectangles import draw_rectangles, inside
from hsta.training.resident import ResidentClips
from hsta.vision.flow import optical_flow, optical_strain
from tests.training.conftest import CLASSES, CONFIG, RECIPE, make_prepared, trainer, weights

PORTRAIT = Path(hsta.datasets.__file__).parent / "assets/astronaut.png"
SIZE = 224
MOVES = {
    "flip": Augmentation(flip=1.0),
    "rotation": Augmentation(rotation=30.0),
    "scale": Augmentation(scale=0.25),
    "translation": Augmentation(translation=0.1),
    "crop": Augmentation(crop=(0.3, 0.6)),
    "randaugment": Augmentation(randaugment=(11, 3.0)),
    "everything": Augmentation(
        flip=0.5, rotation=20, scale=0.1, translation=0.05, crop=(0.5, 1.0), randaugment=(2, 5.0)
    ),
}


def drawn(settings, count=1, seed=0):
    return draw_changes(settings, count, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def moving_face():
    """Two grey frames (2, H, W) of a real face that moves by a smooth field of 1 to 2 pixels."""
    grey = cv2.resize(cv2.imread(str(PORTRAIT), cv2.IMREAD_GRAYSCALE), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    u, v = 1.5 * np.cos(x / 40) * np.sin(y / 55 + 1), 1.5 * np.sin(x / 50 + 2) * np.cos(y / 45)
    # the picture is smooth at a pixel's scale, so the second frame shows the field to the second order
    return np.stack([grey, cv2.remap(grey, x - u, y - v, cv2.INTER_CUBIC)])


def moved(frames_IHW, changes):
    """Frames under a clip's moves, as uint8."""
    x = torch.from_numpy(frames_IHW.astype(np.float32))[None, :, None]
    if changes.mirror_B is not None:
        x = mirror(x, changes.mirror_B, vectors=False)
    if changes.sampling_B33 is not None:
        x = resample(x, changes.sampling_B33)
    return x[0, :, 0].round().clamp(0, 255).byte().numpy()


def moved_flow(flow_2HW, changes):
    motion = np.concatenate([flow_2HW, optical_strain(flow_2HW)[None]])
    x = torch.from_numpy(motion)[None, None]
    if changes.mirror_B is not None:
        x = mirror(x, changes.mirror_B, vectors=True)
    if changes.sampling_B33 is not None:
        x = move_flow(x, changes.sampling_B33)
    return x[0, 0].numpy()


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("seed", [1, 2])
def test_flow_that_is_moved_is_the_flow_of_the_moved_frames(moving_face, name, seed):
    changes = drawn(MOVES[name], seed=seed)
    flow = optical_flow(*moving_face)
    measured = optical_flow(*moved(moving_face, changes))
    seen = _within_the_original(changes)
    assert seen.mean() > 0.3

    def error(field):
        return np.median(np.hypot(*(field - measured))[seen]) / np.median(np.hypot(*measured)[seen])

    assert error(moved_flow(flow, changes)[:2]) < 0.12
    if name != "translation":  # vectors that only change their places are wrong, and this test sees it
        assert error(_picture(flow, changes)) > 1.5 * error(moved_flow(flow, changes)[:2])


def _picture(flow_2HW, changes):
    """A field that is moved as a picture is, its vectors as they were."""
    x = torch.from_numpy(flow_2HW)[None, None]
    x = x if changes.mirror_B is None else mirror(x, changes.mirror_B, vectors=False)
    x = x if changes.sampling_B33 is None else resample(x, changes.sampling_B33)
    return x[0, 0].numpy()


def _within_the_original(changes):
    """Pixels whose content comes from well inside the original picture."""
    inner = np.zeros((1, SIZE, SIZE), np.uint8)
    inner[:, 16:-16, 16:-16] = 255
    mask = moved(inner, changes)[0] == 255
    mask[:16], mask[-16:], mask[:, :16], mask[:, -16:] = False, False, False, False
    return mask


def test_a_quarter_turn_is_exact():
    """Clockwise: right becomes down."""
    field = torch.zeros(1, 1, 3, 8, 8)
    field[0, 0, 0, 1, 2] = 1.0  # to the right, in row 1, column 2
    turn = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    out = move_flow(field, turn)
    assert out[0, 0, 1, 2, 6] == pytest.approx(1.0, abs=1e-5)
    assert out[0, 0, :2].abs().sum() == pytest.approx(1.0, abs=1e-4)


def test_strain_is_the_one_of_preparation(moving_face):
    flow = optical_flow(*moving_face)
    np.testing.assert_allclose(strain(torch.from_numpy(flow)[None, None])[0, 0, 0], optical_strain(flow), atol=1e-6)


def test_strain_does_not_change_by_a_turn(moving_face):
    flow = optical_flow(*moving_face)
    changes = drawn(Augmentation(rotation=25))
    inner = _within_the_original(changes)
    sampled = resample(torch.from_numpy(optical_strain(flow))[None, None, None], changes.sampling_B33)[0, 0, 0].numpy()
    difference = np.abs(moved_flow(flow, changes)[2] - sampled)[inner]
    assert np.median(difference) < 0.15 * np.median(sampled[inner])


@pytest.mark.parametrize("name", [name for name in MOVES if name != "flip"])
def test_clips_are_moved_differently_and_their_frames_alike(name):
    frames = torch.rand(1, 1, 3, 32, 32).expand(6, 4, 3, 32, 32)
    out = resample(frames.contiguous(), drawn(MOVES[name], count=6).sampling_B33)
    assert all(torch.equal(out[:, 0], out[:, item]) for item in range(4))
    assert all(not torch.equal(out[0], out[clip]) for clip in range(1, 6))


def test_moves_stay_within_their_limits():
    draws = drawn(Augmentation(rotation=20, scale=0.3, translation=0.1), count=500).sampling_B33
    size = 1 / (draws[:, 0, 0] ** 2 + draws[:, 1, 0] ** 2).sqrt()
    angle = torch.rad2deg(torch.atan2(draws[:, 0, 1], draws[:, 0, 0]))
    shift = -torch.linalg.solve(draws[:, :2, :2], draws[:, :2, 2]) / 2  # of the side
    for values, low, high in ((size, 0.7, 1.3), (angle, -20, 20), (shift, -0.1, 0.1)):
        assert low - 1e-4 <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high + 1e-4


def test_crops_have_the_area_asked_for_and_lie_inside():
    boxes = draw_rectangles(1000, area=(0.08, 0.5), aspect=(0.75, 4 / 3), generator=torch.Generator().manual_seed(0))
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = width * height, width / height
    assert 0.0799 < area.min() < 0.1 and 0.48 < area.max() < 0.5001
    assert 0.7499 < aspect.min() < 0.77 and 1.3 < aspect.max() < 1.3334
    assert boxes.min() >= 0 and boxes.max() <= 1 + 1e-6


def test_randaugment_takes_so_many_different_operations_a_clip():
    values = draw_operations(3, 6.0, 400, torch.Generator().manual_seed(0))
    neutral = {**NEUTRAL_LIGHT, **{name: 0.0 for name in OPERATIONS if name not in NEUTRAL_LIGHT}}
    chosen = torch.stack([values[name] != neutral[name] for name in OPERATIONS], dim=1)
    assert (chosen.sum(1) == 3).all()
    assert (chosen.float().mean(0) - 3 / 11).abs().max() < 0.1
    weak = draw_operations(11, 1.0, 4, torch.Generator().manual_seed(0))
    strong = draw_operations(11, 9.0, 4, torch.Generator().manual_seed(0))
    for name in ("brightness", "rotate", "translate_x", "posterise"):
        assert ((strong[name] - neutral[name]).abs() > (weak[name] - neutral[name]).abs()).all(), name


LIGHTS = {"brightness": 1.4, "contrast": 0.5, "saturation": 0.2, "sharpness": 1.8, "posterise": 32.0, "solarise": 100.0}


def relit(x, light_B6):
    out = x.clone()
    relight([out], light_B6)
    return out


def test_neutral_light_changes_nothing_and_each_operation_something():
    x = torch.randint(0, 256, (2, 3, 3, 16, 16)).float()
    light = torch.tensor([list(NEUTRAL_LIGHT.values())]).expand(2, 6)
    assert torch.equal(relit(x, light), x)
    for column, (name, value) in enumerate(LIGHTS.items()):
        changed = light.clone()
        changed[0, column] = value
        out = relit(x, changed)
        assert not torch.equal(out[0], x[0]) and torch.equal(out[1], x[1]), name
        assert out.min() >= 0 and out.max() <= 255


def test_light_does_what_its_names_say():
    x = torch.randint(40, 200, (1, 2, 3, 16, 16)).float()

    def lit(**values):
        return relit(x, torch.tensor([[values.get(name, neutral) for name, neutral in NEUTRAL_LIGHT.items()]]))

    grey = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close(lit(brightness=1.2), x * 1.2)
    assert lit(contrast=0.5).std() < 0.6 * x.std()
    torch.testing.assert_close((lit(contrast=0.5) * grey).sum(2).mean(), (x * grey).sum(2).mean())
    assert lit(saturation=0.0).std(dim=2).max() < 1e-3
    soft, plain, sharp = (y.diff(dim=-1).abs().mean() for y in (lit(sharpness=0.1), x, lit(sharpness=1.9)))
    assert soft < plain < sharp
    assert set(lit(posterise=64.0).unique().tolist()) <= {0.0, 64.0, 128.0, 192.0}
    assert torch.equal(lit(solarise=100.0), torch.where(x >= 100, 255 - x, x))


def test_light_changes_all_frames_of_a_clip_alike_and_no_motion():
    same = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    item = make_prepared(0, "smile")
    item = dataclasses.replace(item, frames=np.stack([same] * len(item.frames)))
    arrays = build_arrays([item], image_size=64, label_set="demo3")
    light = torch.tensor([list(LIGHTS.values())])
    light[0, -1] = 256.0
    for special in ("onset_apex", "flow", "flow_picture_black", "frame_difference"):
        clips = ResidentClips(arrays, dataclasses.replace(CONFIG, special=special), device=torch.device("cpu"))
        video, data = clips.batch(torch.arange(1), changes=Changes(light_B6=light))
        plain_video, plain = clips.batch(torch.arange(1))
        assert not torch.equal(video, plain_video)
        for frame in range(1, 4):
            torch.testing.assert_close(video[:, frame], video[:, 0])
        if special == "onset_apex":
            torch.testing.assert_close(data, video[:, :2])
        else:
            assert torch.equal(data, plain), special


def test_erasing_empties_one_rectangle_of_frames_and_special_data(arrays):
    clips = ResidentClips(arrays, CONFIG, device=torch.device("cpu"))
    changes = drawn(Augmentation(erasing=0.5), count=12)
    video, special = clips.batch(torch.arange(12), changes=changes)
    plain_video, plain = clips.batch(torch.arange(12))
    emptied = inside(changes.erased_B4, 64)
    share = emptied.flatten(1).float().mean(1)
    assert 0 < (share > 0).sum() < 12 and share.max() < 0.36
    assert torch.equal(video, plain_video.masked_fill(emptied, 0))
    assert torch.equal(special, plain.masked_fill(emptied, 0))


def test_erasing_happens_as_often_as_asked():
    boxes = drawn(Augmentation(erasing=0.2), count=2000).erased_B4
    assert ((boxes[:, 2] > 0).float().mean() - 0.2).abs() < 0.03


def test_what_is_off_is_not_drawn():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_changes(Augmentation(), 8, generator) == Changes()
    assert torch.equal(generator.get_state(), before)


SETTINGS = {
    "flip": 0.5,
    "rotation": 10.0,
    "scale": 0.1,
    "translation": 0.1,
    "crop": (0.5, 1.0),
    "randaugment": (2, 5.0),
    "erasing": 1.0,
    "mixup": 0.8,
    "cutmix": 1.0,
}


@pytest.fixture(scope="module")
def after_an_epoch():
    """The weights after an epoch with one augmentation setting, from the same start."""
    clips = [make_prepared(number, CLASSES[number % 3]) for number in range(8)]
    arrays = build_arrays(clips, image_size=64, label_set="demo3")
    config = dataclasses.replace(CONFIG, dropout=0.0, drop_path=0.0, blocks=1)

    def train(**setting):
        run = trainer(arrays, dataclasses.replace(RECIPE, warmup_epochs=0, **{"flip": 0.0, **setting}), config)
        run.run_epoch()
        return weights(run.model)

    return train


def test_there_is_a_test_for_every_setting():
    assert set(SETTINGS) == {field.name for field in dataclasses.fields(Augmentation)}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_changes_the_training_and_repeats_with_the_seed(after_an_epoch, name):
    """A switch that does nothing is found here."""
    changed = after_an_epoch(**{name: SETTINGS[name]})
    assert changed.isfinite().all() and not torch.equal(changed, after_an_epoch())
    assert torch.equal(changed, after_an_epoch(**{name: SETTINGS[name]}))
