"""Several processes, one model. If these fail, more workers are another training, not a faster one."""

import dataclasses
import io
import multiprocessing

import pytest
import torch

from hsta.errors import InputError
from hsta.training.distributed import Ranks
from hsta.training.loop import Trainer
from hsta.training.recipe import Recipe
from tests.training.conftest import CLASSES, CONFIG

QUIET = dataclasses.replace(CONFIG, dropout=0.0, drop_path=0.0)  # each process draws its own dropout
RECIPES = {
    "plain": Recipe(epochs=3, batch_size=7, warmup_epochs=1, base_lr=0.01),
    "with everything": Recipe(
        epochs=3,
        batch_size=6,
        accumulate=2,
        warmup_epochs=1,
        base_lr=0.01,
        flip=0.5,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
        clip_grad=0.5,
        ema=0.9,
    ),
    "weighted": Recipe(
        epochs=3, batch_size=5, warmup_epochs=1, balanced=False, class_weights=True, rotation=10, erasing=0.5
    ),
}


def train(arrays, recipe, ranks, epochs, state=None):
    """Some epochs. Returns losses and accuracies, the gradients of the last step, and the state."""
    labels = [CLASSES.index(label) for label in arrays.labels]
    trainer = Trainer(QUIET, recipe, arrays, labels, seed=0, ranks=ranks, validation=(arrays, labels))
    if state is not None:
        trainer.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
    results = [trainer.run_epoch() for _ in range(epochs)]
    gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    figures = [(r.loss, r.accuracy, r.validation_uf1, r.validation_loss) for r in results]
    return figures, gradients.tolist(), file.getvalue()


def _rank(rank, count, address, connection, *work):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=count)
    try:
        connection.send(train(work[0], work[1], Ranks(rank, count), *work[2:]))
    finally:
        torch.distributed.destroy_process_group()


def train_together(tmp_path, count, *work):
    """The same in ``count`` processes; what each of them returns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(count):
        here, there = context.Pipe(duplex=False)
        address = f"file://{tmp_path}/meeting"
        process = context.Process(target=_rank, args=(rank, count, address, there, *work))
        process.start()
        pipes.append(here)
        processes.append(process)
    found = []
    for pipe, process in zip(pipes, processes):
        assert pipe.poll(120), "no result from a process"
        found.append(pipe.recv())
        process.join(30)
        assert process.exitcode == 0
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_those_of_one_process_on_the_same_batch(arrays, tmp_path, name):
    alone, gradients, _ = train(arrays, RECIPES[name], Ranks(), 1)
    for figures, of_rank, _ in train_together(tmp_path, 2, arrays, RECIPES[name], 1):
        assert figures[0] == pytest.approx(alone[0], abs=1e-6)
        torch.testing.assert_close(torch.tensor(of_rank), torch.tensor(gradients), rtol=1e-4, atol=1e-6)


def test_a_training_of_two_goes_on_as_one_of_one_and_back(arrays, tmp_path):
    recipe = RECIPES["with everything"]
    whole, _, _ = train(arrays, recipe, Ranks(), 3)
    (first, _, state), _ = train_together(tmp_path, 2, arrays, recipe, 2)
    last, _, _ = train(arrays, recipe, Ranks(), 1, state)
    for found, expected in zip([*first, *last], whole, strict=True):
        assert found == pytest.approx(expected, abs=2e-3)


def test_every_clip_is_some_process_s_and_only_its():
    for clips in range(3, 9):
        parts = [Ranks(rank, 3).part(clips) for rank in range(3)]
        assert [row for part in parts for row in range(clips)[part]] == list(range(clips))
        assert all(part.stop > part.start for part in parts)


def test_more_processes_than_clips_of_a_step_are_refused():
    with pytest.raises(InputError, match="4 processes cannot share steps of 3 clips"):
        Ranks(0, 4).check(100, 3)
