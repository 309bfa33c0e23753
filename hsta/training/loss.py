"""What a clip's label asks of the model: targets over the classes, and what each class weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def class_weights(labels: Sequence[int], classes: int) -> np.ndarray:
    """(classes,) weights by which every class weighs the same in the clips' mean loss, and the mean clip 1.

    A class without clips weighs 0: there is nothing to learn it from.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.divide(len(labels), present * counts, out=np.zeros(classes), where=counts > 0)


def soft_targets(target_B: Tensor, classes: int, smoothing: float) -> Tensor:
    """(B, classes): 1 - smoothing at the label, and ``smoothing`` spread evenly over all classes."""
    return F.one_hot(target_B, classes).float() * (1 - smoothing) + smoothing / classes


def mean_loss(logits_BK: Tensor, target: Tensor, weight_K: Tensor | None) -> Tensor:
    """Cross-entropy, in float32, divided by the number of clips whatever they weigh: so parts of a batch add up.

    Args:
        target: labels (B,), or shares of the classes (B, K) where ``weight_K`` is given.
    """
    return F.cross_entropy(logits_BK.float(), target, weight=weight_K)


def labels_of(target: Tensor) -> Tensor:
    """(B,) the label that a clip has the largest share of."""
    return target if target.ndim == 1 else target.argmax(1)


def mean_log_loss(probabilities: np.ndarray, labels: Sequence[int]) -> float:
    """Mean of -log p(label), finite for a probability of 0."""
    chosen = probabilities[np.arange(len(labels)), np.asarray(labels)]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def weight_tensor(labels: Sequence[int], classes: int, device: torch.device) -> Tensor:
    """`class_weights` on a device."""
    return torch.tensor(class_weights(labels, classes), dtype=torch.float32, device=device)
