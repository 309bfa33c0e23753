"""Several processes that train one model: each learns from a part of every batch, and all take the same step.

Processes find one another through `torch.distributed`, whose default group whoever starts them has set up.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsta.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """``count`` processes, of which this is number ``rank``."""

    rank: int = 0
    count: int = 1

    def check(self, clips: int, batch_size: int) -> None:
        """Raises InputError where a step cannot be shared out, a clip at least for everyone."""
        if min(clips, batch_size) < self.count:
            raise InputError(
                f"{self.count} processes cannot share steps of {min(clips, batch_size)} clips",
                where="folds.workers",
                cure="use fewer workers, or a larger train.batch_size",
            )

    def part(self, clips: int) -> slice:
        """This process's clips of a batch."""
        return slice(self.rank * clips // self.count, (self.rank + 1) * clips // self.count)

    def wrap(self, model: nn.Module) -> nn.Module:
        """A model whose gradients are averaged over the processes while they are computed."""
        if self.count == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def silent(self, wrapped: nn.Module) -> AbstractContextManager:
        """Gradients computed within are not averaged yet."""
        return wrapped.no_sync() if self.count > 1 else nullcontext()

    def reseed(self, seed: int, epoch: int) -> None:
        """Give this process's dropout draws of its own, which follow from the epoch: a checkpoint of any process will
        do to go on. A process alone goes on with its own draws."""
        if self.count > 1:
            import torch

            torch.manual_seed((seed * 100_003 + epoch) * 1_009 + self.rank)

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.count > 1:
            import torch

            torch.distributed.all_reduce(values)
        return values

    def first(self, *values: float) -> tuple[float, ...]:
        """The numbers that process 0 has, for all: what follows from them is then the same everywhere."""
        if self.count == 1:
            return values
        import torch

        shared = list(values)
        torch.distributed.broadcast_object_list(shared, src=0)
        return tuple(shared)


ALONE = Ranks()
