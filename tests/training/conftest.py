"""Small clips that a small model can learn from."""

import numpy as np
import pytest
import torch

from hsta.model import HSTAConfig
from hsta.records import Clip, PreparedClip, Quality
from hsta.training.arrays import build_arrays
from hsta.training.loop import Trainer
from hsta.training.recipe import Recipe

CLASSES = ("smile", "brow-raise", "frown")
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


def make_prepared(number: int, label: str, *, size: int = 64, length: int = 7) -> PreparedClip:
    """A clip whose flow points another way for each class, over noise."""
    random = np.random.default_rng(number)
    flow = random.normal(scale=0.05, size=(2, 2, size, size)).astype(np.float32)
    flow[:, CLASSES.index(label) % 2, 20:40, 20:40] += 1.0 if label != "frown" else -1.0
    return PreparedClip(
        clip=Clip(
            clip_id=f"c{number}",
            dataset="mine",
            subject=f"s{number % 4}",
            recording=f"r{number}",
            path="/nowhere",
            onset=10,
            apex=13,
            offset=9 + length,
            labels={"demo3": label},
        ),
        apex=13,
        frame_numbers=tuple(range(10, 10 + length)),
        frames=random.integers(0, 256, (length, size, size, 3), np.uint8),
        flow=flow,
        flow_pairs=("onset-apex", "apex-offset"),
        landmarks=np.zeros((468, 2), np.float32),
        transforms=np.zeros((length, 2, 3)),
        quality=Quality(face_score=1.0, interocular_px=30.0, residual_motion_px=0.0, sharpness=1.0),
    )


@pytest.fixture
def prepared():
    return [make_prepared(number, CLASSES[number % 3], length=5 + number % 4) for number in range(12)]


@pytest.fixture
def arrays(prepared):
    return build_arrays(prepared, image_size=64, label_set="demo3")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def labels_of(arrays):
    return [CLASSES.index(label) for label in arrays.labels]


def trainer(arrays, recipe=RECIPE, config=CONFIG, seed=0, **options):
    return Trainer(config, recipe, arrays, labels_of(arrays), seed=seed, **options)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
