"""The training recipe: all settings of a fold's training, by default the published ones (arXiv 2405.03202, CASME3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hsta.errors import InputError

PADDINGS = ("repeat", "zeros")
PRECISIONS = ("auto", "fp32", "bf16")
RESIDENCES = ("auto", "device", "host")
MOTION_SCALE = (1.0, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of training clips, each drawn once a clip and the same for all its frames and special data.

    None are made when scoring. Whatever moves pixels moves flow vectors with them. As published, all are off.

    Attributes:
        flip: chance of mirroring a clip left to right; u changes its sign.
        rotation: largest turn, degrees, either way.
        scale: largest change of size, as a part: 0.1 is 0.9 to 1.1 times.
        translation: largest shift, as a part of the side, either way.
        crop: smallest and largest area of a random crop that is brought back to full size, as a part of the picture,
            with an aspect ratio from 3/4 to 4/3; (0.08, 1) is the customary one, (1, 1) is none.
        randaugment: (operations a clip, magnitude 0 to 10): so many different ones of
            `hsta.training.augment.OPERATIONS`. Those of colour and light change frames alone, never flow or pictures of
            it. (0, 0) is none.
        erasing: chance that a random rectangle of a clip is emptied: the mean colour, no motion.
        mixup: alpha of the Beta distribution by which two clips and their labels are blended; 0 is none, 0.8 customary.
        cutmix: alpha of the Beta distribution of the area that another clip's rectangle covers; 0 is none, 1.0
            customary. With mixup and cutmix both on, each clip takes either with equal chance.
    """

    flip: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    translation: float = 0.0
    crop: tuple[float, float] = (1.0, 1.0)
    randaugment: tuple[int, float] = (0, 0.0)
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        operations, magnitude = self.randaugment
        rules = [
            ("flip", 0 <= self.flip <= 1, "from 0 to 1"),
            ("rotation", 0 <= self.rotation <= 180, "degrees from 0 to 180"),
            ("scale", 0 <= self.scale < 1, "from 0 to below 1"),
            ("translation", 0 <= self.translation < 1, "from 0 to below 1"),
            ("crop", 0 < self.crop[0] <= self.crop[1] <= 1, "two parts above 0, at most 1, the smaller first"),
            ("randaugment", 0 <= operations <= 11 and 0 <= magnitude <= 10, "(0 to 11 operations, magnitude 0 to 10)"),
            ("randaugment", (operations > 0) == (magnitude > 0), "both above 0, or both 0: else it has no effect"),
            ("erasing", 0 <= self.erasing <= 1, "from 0 to 1"),
            ("mixup", self.mixup >= 0, "0 (none) or more"),
            ("cutmix", self.cutmix >= 0, "0 (none) or more"),
        ]
        _require(self, rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Augmentation):
    """How a fold is trained. The settings of `Augmentation` are among these.

    Learning rates are given per 256 clips of batch, as the field does; the rate used is ``rate * batch_size / 256``.

    Attributes:
        epochs: passes over the training clips; the last one is scored, unless inner validation chooses another.
        patience: with inner validation: epochs without a better one after which training ends; 0 trains all epochs.
        batch_size: clips a step.
        accumulate: parts that a batch is divided into, to need less memory; the step is that of the whole batch.
        base_lr, min_lr: peak and final learning rate of the cosine schedule, per 256 clips.
        warmup_epochs: linear rise from 0.
        betas: AdamW's.
        weight_decay: none on one-dimensional tensors and class tokens.
        layer_decay: factor on the learning rate for each HSTA block further from the head.
        clip_grad: largest norm of all gradients together; 0 is no limit.
        ema: decay of the running mean of the weights, which is then what is scored; 0 is none. See `hsta.training.ema`.
        freeze: parts that do not learn, such as ``patch_embed``, ``blocks.0``; see `hsta.training.fit.freezable`.
        label_smoothing: part of a label that is spread over all classes.
        class_weights: weigh each clip's loss by how rare its class is in this fold's training clips.
        balanced: draw clips with replacement so that every class is as frequent as any other; else each clip once.
        padding: what a clip of fewer than T frames shows instead of the missing ones: "repeat" shows frames again where
            they are, "zeros" gives the frames in order and then nothing (zeros at the model's input).
        motion_scale: (flow, strain) values that count as 1 at the model's input, flow in pixels of the model's image;
            an arrow of a flow picture is as long as the arrows are apart when the flow is this long.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 on a GPU, fp32 on a CPU.
        compile: train through `torch.compile`.
        resident: where the training clips are kept: "device", "host" (each batch is gathered in pinned memory and
            copied while the device works), or "auto": on the device when they take at most half of its free memory. A
            CPU's memory is both.
    """

    epochs: int = 150
    patience: int = 0
    batch_size: int = 32
    accumulate: int = 1
    base_lr: float = 5e-4
    min_lr: float = 1e-6
    warmup_epochs: int = 5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    layer_decay: float = 0.9
    clip_grad: float = 0.0
    ema: float = 0.0
    freeze: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    class_weights: bool = False
    balanced: bool = True
    padding: str = "repeat"
    motion_scale: tuple[float, float] = MOTION_SCALE
    precision: str = "auto"
    compile: bool = False
    resident: str = "auto"

    def __post_init__(self) -> None:
        Augmentation.__post_init__(self)
        mixes, twice = self.mixup > 0 or self.cutmix > 0, self.class_weights and self.balanced
        rules = [
            ("epochs", self.epochs >= 1, "1 or more"),
            ("patience", 0 <= self.patience < self.epochs, "from 0 to below epochs: else it has no effect"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("batch_size", self.batch_size > 1 or not mixes, "2 or more: mixup and cutmix need another clip"),
            ("accumulate", self.accumulate >= 1 and self.batch_size % self.accumulate == 0, "a divisor of batch_size"),
            ("base_lr", self.base_lr > 0, "above 0"),
            ("min_lr", 0 <= self.min_lr <= self.base_lr, "from 0 to base_lr"),
            ("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, "from 0 to below epochs"),
            ("betas", len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "two from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0, at most 1"),
            ("clip_grad", self.clip_grad >= 0, "0 (no limit) or more"),
            ("ema", 0 <= self.ema < 1, "from 0 (none) to below 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("class_weights", not twice, "used with balanced: false; either makes up for rare classes"),
            ("padding", self.padding in PADDINGS, " or ".join(PADDINGS)),
            ("motion_scale", len(self.motion_scale) == 2 and min(self.motion_scale) > 0, "two numbers above 0"),
            ("precision", self.precision in PRECISIONS, ", ".join(PRECISIONS)),
            ("resident", self.resident in RESIDENCES, ", ".join(RESIDENCES)),
        ]
        _require(self, rules)


def _require(settings: Augmentation, rules: Iterable[tuple[str, bool, str]]) -> None:
    for name, holds, meaning in rules:
        if not holds:
            value = getattr(settings, name)
            raise InputError(f"{name} is {value}", where=f"train.{name}", cure=f"it must be {meaning}")
