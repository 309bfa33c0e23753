"""From the host to the device without waiting for it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A host tensor on the device. To a GPU it goes from pinned memory, in the stream's order, and nobody waits."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def fits_on_device(arrays: list[np.ndarray], device: torch.device, resident: str) -> bool:
    """Whether arrays are to be kept on the device: ``resident`` says so, or "auto" and they take at most half of its
    free memory.

    Host memory is a CPU's own: there they stay where they are, and are copied by nobody.
    """
    if device.type != "cuda" or resident == "host":
        return False
    return resident == "device" or sum(array.nbytes for array in arrays) <= torch.cuda.mem_get_info(device)[0] / 2


class Rows:
    """An array from which rows are taken onto a device.

    Args:
        array: (N, ...).
        device: where the rows are wanted.
        resident: keep all of the array there; else each taking gathers on the host.
    """

    def __init__(self, array: np.ndarray, device: torch.device, *, resident: bool):
        self._device = device
        self._host = None if resident else array
        self._resident = torch.tensor(array, device=device) if resident else None

    def take(self, index: Tensor) -> Tensor:
        """Rows (*index.shape, ...) by a host tensor of row numbers."""
        if self._resident is not None:
            return self._resident[to_device(index, self._device)]
        return to_device(torch.from_numpy(self._host[index.numpy()]), self._device)
