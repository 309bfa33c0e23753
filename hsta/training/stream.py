"""Clips that are too many for memory: they come batch by batch, in the order that training asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsta.training.arrays import ClipArrays


class ClipStream(ABC):
    """N clips that lie elsewhere. Training on them gives the same numbers as on the same clips in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """How many clips there are."""

    @abstractmethod
    def batches(self, steps: Sequence[Sequence[int]]) -> Iterator[tuple[ClipArrays, Sequence[int]]]:
        """The clips of each step, in the order of the steps.

        Args:
            steps: rows of the clips of each step; a row may stand there more than once.

        Returns:
            for each step, some clips, and for each row asked for which of them it is.
        """
