"""One loop for every fold: train, then score once. No Ray, no files.

The training clips, and inner validation clips of other subjects where there are any, are all that `Trainer` ever sees;
the held-out clips go to `predict`, after the last epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsta.errors import InputError
from hsta.model import HSTA, HSTAConfig
from hsta.training.arrays import ClipArrays
from hsta.training.augment import draw_changes
from hsta.training.distributed import ALONE, Ranks
from hsta.training.ema import Ema
from hsta.training.fit import check_fits
from hsta.training.loss import labels_of, mean_loss, soft_targets, weight_tensor
from hsta.training.mix import draw_mix, join
from hsta.training.optimizer import freeze, parameter_groups, scheduled_rate
from hsta.training.recipe import Recipe
from hsta.training.resident import ResidentClips
from hsta.training.selection import BestEpoch, validation_scores
from hsta.training.stream import ClipStream
from hsta.training.transfer import to_device

SCORING_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch did: mean loss and accuracy over its training clips, last learning rate, seconds, and the ``time``
    of its end (seconds since 1970); and, with inner validation, UF1 and loss of what would be scored were this the last
    epoch, else None."""

    epoch: int
    loss: float
    accuracy: float
    lr: float
    seconds: float
    time: float
    validation_uf1: float | None = None
    validation_loss: float | None = None


class Trainer:
    """A model in training, and all the state that a checkpoint must hold to go on as if nothing had happened.

    Args:
        config: the model's.
        recipe: the training's.
        arrays: the training clips, or where they stream from when they are too many for memory.
        labels: the class of each clip, one for each of ``arrays``, as an index below ``config.classes``.
        seed: decides initial weights, order of clips, frames drawn, augmentation, dropout.
        device: where to train.
        validation: inner validation clips and their labels, of subjects that are neither trained on nor tested. With
            them the best epoch's weights are the ones to score.
        initial: weights to start from, as `scored_weights` of another training gives them; None for random ones.
        ranks: the processes that train together, each with the same arguments; every step's batch is shared out among
            them, and its gradients are those of the whole batch.

    Raises:
        InputError: labels that do not match, initial weights of another model, a recipe that does not fit the model, or
            fewer clips than processes.
    """

    def __init__(
        self,
        config: HSTAConfig,
        recipe: Recipe,
        arrays: ClipArrays | ClipStream,
        labels: Sequence[int],
        *,
        seed: int,
        device: str = "cpu",
        validation: tuple[ClipArrays, Sequence[int]] | None = None,
        initial: Mapping[str, Tensor] | None = None,
        ranks: Ranks = ALONE,
    ):
        for clips, classes in filter(None, [(arrays, labels), validation]):
            if len(classes) != len(clips):
                raise InputError(f"{len(classes)} labels for {len(clips)} clips")
        check_fits(recipe, config, validates=validation is not None)
        ranks.check(len(labels), recipe.batch_size)
        self.recipe, self.device, self.epoch = recipe, torch.device(device), 0
        self._seed, self._ranks, self._pass = seed, ranks, None
        torch.manual_seed(seed)
        self.model = HSTA(config).to(self.device)
        if initial is not None:
            _start_from(self.model, initial)
        freeze(self.model, recipe.freeze)
        self._parallel = ranks.wrap(self.model)
        self._forward = torch.compile(self._parallel, dynamic=False) if recipe.compile else self._parallel
        self._ema = Ema(self.model, recipe.ema) if recipe.ema else None
        self.clips = arrays if isinstance(arrays, ClipStream) else resident_clips(arrays, config, recipe, self.device)
        self._validation = None
        if validation is not None:
            self._validation = resident_clips(validation[0], config, recipe, self.device), list(validation[1])
        self._best = BestEpoch()
        self._targets = torch.tensor(labels)
        self._draw = torch.Generator().manual_seed(seed)
        self._mixes = recipe.mixup > 0 or recipe.cutmix > 0
        counts = np.bincount(labels, minlength=config.classes)
        self._weights = torch.tensor(1.0 / counts[np.asarray(labels)])
        self._class_weights = weight_tensor(labels, config.classes, self.device) if recipe.class_weights else None
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

    @property
    def finished(self) -> bool:
        """All epochs are done, or inner validation has waited for a better one as long as the recipe's patience."""
        waited = self.recipe.patience and self.epoch - self._best.epoch >= self.recipe.patience
        return bool(waited) or self.epoch >= self.recipe.epochs

    def run_epoch(self, pause: Callable[[], bool] | None = None) -> EpochResult | None:
        """Train one epoch, or what is left of it.

        Args:
            pause: asked after every step but the last; when it says yes, None is returned, and the next call goes on
                from there, in this process or, through `state_dict`, in another. Only for a training of one process.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        started = time.perf_counter()
        self.model.train()
        now = self._pass or _Pass(self._order(), torch.zeros(2, device=self.device))
        if now.step == 0:
            self._ranks.reseed(self._seed, self.epoch)
        supply = self._supply(now.order[now.step :])
        while now.step < len(now.order):
            lr = self._set_learning_rate(self.epoch * self.steps_per_epoch + now.step)
            now.figures += torch.stack(self._step(now.order[now.step], *next(supply)))
            now.step += 1
            if pause and now.step < len(now.order) and pause():
                now.seconds += time.perf_counter() - started
                self._pass = now
                return None
        self._pass = None
        self.epoch += 1
        loss, accuracy = (
            self._ranks.total(now.figures) / len(now.order)
        ).tolist()  # here the host waits for the device
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss of epoch {self.epoch} is {loss}")
        uf1, validation_loss = self._validate()
        return EpochResult(
            epoch=self.epoch,
            loss=loss,
            accuracy=accuracy,
            lr=lr,
            seconds=now.seconds + time.perf_counter() - started,
            time=time.time(),
            validation_uf1=uf1,
            validation_loss=validation_loss,
        )

    def state_dict(self) -> dict:
        """All that is needed to go on bit for bit: tensors and plain values, loadable with ``weights_only=True``."""
        return {
            "epoch": self.epoch,
            "pass": self._pass.state_dict() if self._pass else None,
            "model": self.model.state_dict(),
            "ema": self._ema.state_dict() if self._ema else None,
            "best": self._best.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "draw": self._draw.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.epoch = state["epoch"]
        self._pass = _Pass.load(state["pass"], self.device) if state["pass"] else None
        self.model.load_state_dict(state["model"])
        if self._ema:
            self._ema.load_state_dict(state["ema"])
        self._best.load_state_dict(state["best"], self.device)
        self._optimizer.load_state_dict(state["optimizer"])
        self._draw.set_state(state["draw"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)

    def _supply(self, steps: Sequence[Tensor]) -> Iterator[tuple[ResidentClips, Tensor]]:
        """For each step what to make this process's part of the batch from: clips, and the rows of them."""
        mine = [rows_B if self._mixes else rows_B[self._ranks.part(len(rows_B))] for rows_B in steps]
        if not isinstance(self.clips, ClipStream):
            yield from ((self.clips, rows_B) for rows_B in mine)
            return
        for arrays, rows in self.clips.batches([rows_B.tolist() for rows_B in mine]):
            yield resident_clips(arrays, self.model.config, self.recipe, self.device), torch.tensor(rows)

    def _step(self, rows_B: Tensor, clips: ResidentClips, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from a batch. Returns its mean loss and its share of right answers, as far as they are this process's,
        on the device: nobody waits."""
        video, special, target = self._batch(rows_B, clips, taken)
        self._optimizer.zero_grad(set_to_none=True)
        figures = []
        parts = _parts(len(target), self.recipe.accumulate)
        for part in parts:
            of_part = (x if x is None else x[part] for x in (video, special, target))
            share = (part.stop - part.start) / len(rows_B)
            with self._ranks.silent(self._parallel) if part is not parts[-1] else nullcontext():
                figures.append(self._gradients(*of_part, share=share))
        if self.recipe.clip_grad:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self._optimizer.step()
        if self._ema:
            self._ema.update(self.model)
        loss, right = (sum(values) for values in zip(*figures))
        return loss, right

    def _batch(
        self, rows_B: Tensor, clips: ResidentClips, taken: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Video, special data and targets of this process's part of a step, on the device. A seed fixes the order of
        the draws, which are made for the whole step whatever the part."""
        recipe, config = self.recipe, self.model.config
        places_BT = torch.rand(len(rows_B), config.frames, generator=self._draw)
        changes = draw_changes(recipe, len(rows_B), self._draw)
        pair_B2 = torch.rand(len(rows_B), 2, generator=self._draw) if config.special == "random_pair" else None
        mine = self._ranks.part(len(rows_B))
        if not self._mixes:  # a clip's partner may be anywhere in the batch
            rows_B, places_BT, changes = rows_B[mine], places_BT[mine], changes.part(mine)
            pair_B2 = None if pair_B2 is None else pair_B2[mine]
        video, special = clips.batch(taken, places_BT=places_BT, pair_B2=pair_B2, changes=changes)
        target = to_device(self._targets[rows_B], self.device)
        if self._mixes or recipe.label_smoothing or recipe.class_weights:
            target = soft_targets(target, config.classes, recipe.label_smoothing)
        if self._mixes:
            drawn = draw_mix(recipe.mixup, recipe.cutmix, len(rows_B), self._draw)
            joined = join(drawn, video, special, target)
            video, special, target = (x if x is None else x[mine] for x in joined)
        return video, special, target

    def _gradients(
        self, video: Tensor | None, special: Tensor | None, target: Tensor, *, share: float
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a part, a ``share`` of the batch. Returns what it adds to the step's figures."""
        with autocast(self.device, self.recipe.precision):
            logits_BK = self._forward(video, special)
            loss = mean_loss(logits_BK, target, self._class_weights) * share
        (loss * self._ranks.count).backward()  # processes' gradients are averaged
        right = (logits_BK.detach().argmax(1) == labels_of(target)).float().mean()
        return loss.detach(), right * share

    def _validate(self) -> tuple[float | None, float | None]:
        if self._validation is None:
            return None, None
        clips, labels = self._validation
        model = self._ema.model if self._ema else self.model
        uf1, loss = self._ranks.first(
            *validation_scores(_probabilities(model, clips, self.recipe.precision, SCORING_BATCH), labels)
        )
        self._best.consider(self.epoch, uf1, loss, model)
        return uf1, loss

    def _order(self) -> list[Tensor]:
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
        for group, scale in zip(self._optimizer.param_groups, self._scale.tolist(), strict=True):
            group["lr"] = lr * scale
        return lr


@dataclass(slots=True)
class _Pass:
    """An epoch that has begun: the rows of its steps, how many are done, sums of loss and accuracy, and seconds."""

    order: list[Tensor]
    figures: Tensor
    step: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict:
        sizes = [len(rows_B) for rows_B in self.order]
        return {
            "rows": torch.cat(self.order),
            "sizes": sizes,
            "figures": self.figures,
            "step": self.step,
            "seconds": self.seconds,
        }

    @classmethod
    def load(cls, state: Mapping, device: torch.device) -> _Pass:
        order = list(state["rows"].cpu().split(state["sizes"]))
        return cls(order, state["figures"].to(device), state["step"], state["seconds"])


def scored_weights(state: Mapping) -> dict[str, Tensor]:
    """The weights to score, of a `Trainer.state_dict`: the best epoch's where there was inner validation, else the
    running mean's where there is one, else the last step's."""
    if state["best"] is not None:
        return state["best"]["weights"]
    return state["ema"]["weights"] if state["ema"] is not None else state["model"]


def predict(model: HSTA, recipe: Recipe, arrays: ClipArrays, *, batch_size: int = SCORING_BATCH) -> np.ndarray:
    """Class probabilities of some clips, (N, classes) float64. Deterministic: middle frames, nothing is drawn."""
    device = next(model.parameters()).device
    return _probabilities(model, resident_clips(arrays, model.config, recipe, device), recipe.precision, batch_size)


def resident_clips(arrays: ClipArrays, config: HSTAConfig, recipe: Recipe, device: torch.device) -> ResidentClips:
    """Clips as the recipe wants them kept and shown."""
    return ResidentClips(
        arrays,
        config,
        motion_scale=recipe.motion_scale,
        device=device,
        padding=recipe.padding,
        resident=recipe.resident,
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass: bfloat16 where asked for ("auto": on a GPU), else nothing."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@torch.inference_mode()
def _probabilities(model: HSTA, clips: ResidentClips, precision: str, batch_size: int) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for rows_B in torch.arange(len(clips)).split(batch_size):
        with autocast(device, precision):
            logits_BK = model(*clips.batch(rows_B))
        parts.append(logits_BK.double().softmax(1).cpu())
    return torch.cat(parts).numpy()


def _parts(rows: int, count: int) -> list[slice]:
    """A batch of ``rows`` clips in ``count`` parts of equal size, the last one smaller where they do not divide."""
    size = -(-rows // count)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _start_from(model: HSTA, weights: Mapping[str, Tensor]) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in {**own, **given} if own.get(name) != given.get(name)]
    if wrong:
        named = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise InputError(
            f"the initial weights are of another model: {named} missing, unknown or of another shape",
            where="initial",
            cure="pre-train with the same model settings",
        )
    model.load_state_dict(weights)
