"""What only a GPU can show. If these fail, it waits for the host, or the host for it."""

import dataclasses

import pytest
import torch

from hsta.training.resident import ResidentClips
from tests.training.conftest import CONFIG, RECIPE, trainer
from tests.training.test_options import EVERYTHING

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture
def waiting_is_an_error():
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("resident", ["device", "host"])
@pytest.mark.parametrize("recipe", [RECIPE, EVERYTHING], ids=["published", "everything"])
def test_a_step_does_not_wait(arrays, waiting_is_an_error, recipe, resident):
    run = trainer(arrays, dataclasses.replace(recipe, patience=0, resident=resident), CONFIG, device="cuda")
    run.run_epoch()  # whatever is set up once
    rows = next(iter(run._order()))
    waiting_is_an_error()
    run._step(rows)


@pytest.mark.parametrize("special", ["onset_apex", "flow_pair"])
def test_batches_are_the_same_wherever_the_clips_are(arrays, special):
    config, device = dataclasses.replace(CONFIG, special=special), torch.device("cuda")
    host, kept = (ResidentClips(arrays, config, device=device, resident=where) for where in ("host", "device"))
    rows = torch.tensor([3, 1, 3])
    for ours, theirs in zip(host.batch(rows), kept.batch(rows), strict=True):
        assert torch.equal(ours, theirs) and ours.device.type == "cuda"
    cpu = ResidentClips(arrays, config, device=torch.device("cpu")).batch(rows)
    for ours, theirs in zip(cpu, kept.batch(rows), strict=True):
        torch.testing.assert_close(ours, theirs.cpu())
