"""A clip to show in a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsta.errors import InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A clip as the model saw it, and what the model made of it.

    Attributes:
        clip_id, label, prediction: what is written beside the pictures.
        onset, apex: (H, W, 3) uint8 RGB, aligned.
        flow: (2, H, W) displacement from onset to apex (u right, v down), pixels of the aligned face.
        frames: (T, H, W, 3) uint8 RGB to show as a strip, or None.
    """

    clip_id: str
    label: str
    prediction: str
    onset: np.ndarray
    apex: np.ndarray
    flow: np.ndarray
    frames: np.ndarray | None = None

    def __post_init__(self) -> None:
        height, width = self.onset.shape[:2]
        strip = self.frames if self.frames is not None else self.onset[None]
        pictures_fit = all(
            picture.dtype.name == "uint8" and picture.shape[-3:] == (height, width, 3)
            for picture in (self.onset, self.apex, strip)
        )
        if not pictures_fit or self.flow.shape != (2, height, width) or strip.ndim != 4:
            raise InputError(
                f"onset {self.onset.shape}, apex {self.apex.shape}, flow {self.flow.shape} and frames {strip.shape} "
                "do not belong together",
                where=f"sample {self.clip_id}",
                cure="give uint8 pictures (H, W, 3) and flow (2, H, W) of one size",
            )
