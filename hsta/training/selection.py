"""Inner validation: which epoch's weights to score, decided on training subjects that the weights never learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from hsta.evaluation.metrics import scores
from hsta.training.loss import mean_log_loss


def validation_scores(probabilities: np.ndarray, labels: Sequence[int]) -> tuple[float, float]:
    """UF1 and mean log loss of some clips. UF1 counts the classes that these clips have or are taken for."""
    classes = probabilities.shape[1]
    cells = np.asarray(labels) * classes + probabilities.argmax(1)
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    seen = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    return float(scores(confusion[np.ix_(seen, seen)]).uf1), mean_log_loss(probabilities, labels)


class BestEpoch:
    """The weights of the epoch with the highest UF1 on the inner validation clips; of equals, with the lowest loss."""

    def __init__(self) -> None:
        self.epoch, self._rank, self.weights = 0, None, None

    def consider(self, epoch: int, uf1: float, loss: float, model: nn.Module) -> None:
        """Keep a copy of the model's weights if its epoch is the best so far."""
        if self._rank is None or (uf1, -loss) > self._rank:
            self.epoch, self._rank = epoch, (uf1, -loss)
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def state_dict(self) -> dict | None:
        """For a checkpoint; None before the first epoch."""
        if self._rank is None:
            return None
        return {"epoch": self.epoch, "rank": list(self._rank), "weights": self.weights}

    def load_state_dict(self, state: dict | None, device: torch.device) -> None:
        """Go on from a `state_dict`."""
        if state is not None:
            self.epoch, self._rank = state["epoch"], tuple(state["rank"])
            self.weights = {name: value.to(device) for name, value in state["weights"].items()}
