"""One loop for every fold: train for a fixed number of epochs, then score once. No Ray, no files.

The training set is all that `Trainer` ever sees; the held-out clips go to `predict`, after the last epoch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from hsta.errors import InputError
from hsta.model import HSTA, HSTAConfig
from hsta.training.arrays import ClipArrays
from hsta.training.optimizer import scheduled_rate, parameter_groups
from hsta.training.recipe import Recipe
from hsta.training.resident import ResidentClips


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch did: mean loss and accuracy over its training clips, last learning rate, seconds."""

    epoch: int
    loss: float
    accuracy: float
    lr: float
    seconds: float


class Trainer:
    """A model in training, and all the state that a checkpoint must hold to go on as if nothing had happened.

    Args:
        config: the model's.
        recipe: the training's.
        arrays: the training clips.
        labels: the class of each clip, one for each of ``arrays``, as an index below ``config.classes``.
        seed: decides initial weights, order of clips, frames drawn, dropout.
        device: where to train.
    """

    def __init__(
        self, config: HSTAConfig, recipe: Recipe, arrays: ClipArrays, labels: Sequence[int], *, seed: int, device: str = "cpu"
    ):
        if len(labels) != len(arrays):
            raise InputError(f"{len(labels)} labels for {len(arrays)} clips")
        self.recipe, self.device, self.epoch = recipe, torch.device(device), 0
        torch.manual_seed(seed)
        self.model = HSTA(config).to(self.device)
        self.clips = ResidentClips(arrays, config, motion_scale=recipe.motion_scale, device=self.device)
        self._targets = torch.tensor(labels, device=self.device)
        self._draw = torch.Generator().manual_seed(seed)
        counts = np.bincount(labels, minlength=config.classes)
        self._weights = torch.tensor(1.0 / counts[np.asarray(labels)])
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self.model, weight_decay=recipe.weight_decay, layer_decay=recipe.layer_decay),
            lr=recipe.base_lr * recipe.batch_size / 256,
            betas=recipe.betas,
            fused=True,
        )
        self._scale = torch.tensor([group.pop("lr_scale") for group in self._optimizer.param_groups])

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training set, one at least."""
        return max(1, len(self.clips) // self.recipe.batch_size)

    def run_epoch(self) -> EpochResult:
        """Train one epoch. Raises FloatingPointError when the loss is no longer finite."""
        started = time.perf_counter()
        self.model.train()
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        order = self._order()
        for step, rows_B in enumerate(order):
            lr = self._set_learning_rate(self.epoch * self.steps_per_epoch + step)
            places_BT = torch.rand(len(rows_B), self.model.config.frames, generator=self._draw)
            mirror_B = torch.rand(len(rows_B), generator=self._draw) < self.recipe.flip if self.recipe.flip else None
            video, special = self.clips.batch(rows_B, places_BT=places_BT, mirror_B=mirror_B)
            target_B = self._targets[rows_B.to(self.device, non_blocking=True)]
            with autocast(self.device, self.recipe.precision):
                logits_BK = self.model(video, special)
                loss = F.cross_entropy(logits_BK.float(), target_B)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            loss_sum += loss.detach()
            correct += (logits_BK.detach().argmax(1) == target_B).float().mean()
        self.epoch += 1
        mean_loss = loss_sum.item() / len(order)  # the one point where the host waits for the device
        if not np.isfinite(mean_loss):
            raise FloatingPointError(f"the loss of epoch {self.epoch} is {mean_loss}")
        return EpochResult(
            epoch=self.epoch,
            loss=mean_loss,
            accuracy=correct.item() / len(order),
            lr=lr,
            seconds=time.perf_counter() - started,
        )

    def state_dict(self) -> dict:
        """All that is needed to go on bit for bit: tensors and plain values, loadable with ``weights_only=True``."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "draw": self._draw.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._draw.set_state(state["draw"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)

    def _order(self) -> list[torch.Tensor]:
        wanted = self.steps_per_epoch * self.recipe.batch_size
        if self.recipe.balanced:
            rows = torch.multinomial(self._weights, wanted, replacement=True, generator=self._draw)
        else:
            rows = torch.randperm(len(self.clips), generator=self._draw)[:wanted]
        return list(rows.split(self.recipe.batch_size))

    def _set_learning_rate(self, step: int) -> float:
        recipe = self.recipe
        per_clip = recipe.batch_size / 256
        lr = per_clip * scheduled_rate(
            step,
            total=recipe.epochs * self.steps_per_epoch,
            warmup=recipe.warmup_epochs * self.steps_per_epoch,
            peak=recipe.base_lr,
            final=recipe.min_lr,
        )
        for group, scale in zip(self._optimizer.param_groups, self._scale.tolist()):
            group["lr"] = lr * scale
        return lr


@torch.inference_mode()
def predict(model: HSTA, recipe: Recipe, arrays: ClipArrays, *, batch_size: int = 32) -> np.ndarray:
    """Class probabilities of some clips, (N, classes) float64. Deterministic: the middle frame of each stretch, no dropout."""
    model.eval()
    device = next(model.parameters()).device
    clips = ResidentClips(arrays, model.config, motion_scale=recipe.motion_scale, device=device)
    parts = []
    for rows_B in torch.arange(len(clips)).split(batch_size):
        with autocast(device, recipe.precision):
            logits_BK = model(*clips.batch(rows_B))
        parts.append(logits_BK.double().softmax(1).cpu())
    return torch.cat(parts).numpy()


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass: bfloat16 where asked for ("auto": on a GPU), else nothing."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
