"""A running mean of the weights, which often scores better than the weights of the last step."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """The exponential moving average of a model's weights after every step.

    The decay starts low, (1 + n) / (10 + n) after n steps, and rises to ``decay``: so the mean forgets the initial
    weights in a short training too.

    Args:
        model: its weights are where the mean starts.
        decay: how much of the mean remains in a step, below 1.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay, self._updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of a step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)

    def state_dict(self) -> dict:
        """For a checkpoint."""
        return {"weights": self.model.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`."""
        self.model.load_state_dict(state["weights"])
        self._updates = state["updates"]
