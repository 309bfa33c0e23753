"""Changes of light and colour, the same for all frames of a clip: RandAugment's operations that move nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hsta.training.transfer import to_device

NEUTRAL_LIGHT = {
    "brightness": 1.0,  # factor
    "contrast": 1.0,  # factor on the difference from the clip's mean grey
    "saturation": 1.0,  # factor on the difference from each pixel's grey
    "sharpness": 1.0,  # factor on the difference from the blurred picture
    "posterise": 1.0,  # grey levels in a step
    "solarise": 256.0,  # levels from here on are inverted
}
"""The operations in the order they are done, and the value with which each does nothing."""


def relight(pictures: Sequence[Tensor], light_B6: Tensor) -> None:
    """Change the light of pictures (B, I, 3, H, W), levels 0 to 255, in place.

    Each operation is done to the clips that it changes alone; which they are is known on the host.

    Args:
        pictures: of the same clips, such as their video and their special frames. The mean grey that contrast refers to
            is that of the first.
        light_B6: values of `NEUTRAL_LIGHT`, on the host.
    """
    device = pictures[0].device
    for column, (name, neutral) in enumerate(NEUTRAL_LIGHT.items()):
        rows = (light_B6[:, column] != neutral).nonzero()[:, 0]
        if not len(rows):
            continue
        value = to_device(light_B6[rows, column], device).view(-1, 1, 1, 1, 1)
        rows = to_device(rows, device)
        mean_grey = _grey(pictures[0][rows]).mean(dim=(1, 2, 3, 4), keepdim=True) if name == "contrast" else None
        for x in pictures:
            x[rows] = _OPERATIONS[name](x[rows], value, mean_grey).clamp(0, 255)


_OPERATIONS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "brightness": lambda x, value, _: x * value,
    "contrast": lambda x, value, mean_grey: torch.lerp(mean_grey, x, value),
    "saturation": lambda x, value, _: torch.lerp(_grey(x), x, value),
    "sharpness": lambda x, value, _: torch.lerp(_blurred(x), x, value),
    "posterise": lambda x, value, _: (x / value).floor() * value,
    "solarise": lambda x, value, _: torch.where(x >= value, 255 - x, x),
}


def _grey(x_BICHW: Tensor) -> Tensor:
    red, green, blue = x_BICHW.split(1, dim=2)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blurred(x_BICHW: Tensor) -> Tensor:
    """Each pixel's mean with its eight neighbours, itself counted five times."""
    around = F.avg_pool2d(F.pad(x_BICHW.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (9 * around.view_as(x_BICHW) + 4 * x_BICHW) / 13
