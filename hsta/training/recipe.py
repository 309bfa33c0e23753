"""The training recipe: every setting of optimisation, with the published values as defaults (arXiv 2405.03202, CASME3)."""

from __future__ import annotations

from dataclasses import dataclass

from hsta.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a fold is trained.

    Learning rates are given per 256 clips of batch, as the field does; the rate used is ``rate * batch_size / 256``.

    Attributes:
        epochs: passes over the training clips; the last one is scored, whatever the losses say.
        batch_size: clips a step.
        base_lr, min_lr: peak and final learning rate of the cosine schedule, per 256 clips.
        warmup_epochs: linear rise from 0.
        betas: AdamW's.
        weight_decay: none on one-dimensional tensors and class tokens.
        layer_decay: factor on the learning rate for each HSTA block further from the head.
        balanced: draw clips with replacement so that every class is as frequent as any other; else each clip once.
        flip: probability of mirroring a clip, frames and motion alike (u changes its sign).
        motion_scale: (flow, strain) values that count as 1 at the model's input; flow in pixels of the model's image.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 on a GPU, fp32 on a CPU.
    """

    epochs: int = 150
    batch_size: int = 32
    base_lr: float = 5e-4
    min_lr: float = 1e-6
    warmup_epochs: int = 5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    layer_decay: float = 0.9
    balanced: bool = True
    flip: float = 0.0
    motion_scale: tuple[float, float] = (1.0, 0.1)
    precision: str = "auto"

    def __post_init__(self) -> None:
        rules = [
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("base_lr", self.base_lr > 0, "above 0"),
            ("min_lr", 0 <= self.min_lr <= self.base_lr, "from 0 to base_lr"),
            ("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, "from 0 to below epochs"),
            ("betas", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0, at most 1"),
            ("flip", 0 <= self.flip <= 1, "from 0 to 1"),
            ("motion_scale", len(self.motion_scale) == 2 and min(self.motion_scale) > 0, "two numbers above 0"),
            ("precision", self.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
        ]
        for name, holds, meaning in rules:
            if not holds:
                raise InputError(f"{name} is {getattr(self, name)}", where=f"train.{name}", cure=f"it must be {meaning}")
