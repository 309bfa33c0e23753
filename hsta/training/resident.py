"""The data set on the device: all frames once, as uint8; batches are gathered, normalised and mirrored there.

Shape letters: B clips, T frames, S special items, P flow pairs, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch

from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.training.arrays import ClipArrays

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FRAME_PAIRS = {"onset_apex": ("onset", "apex"), "apex_offset": ("apex", "offset"), "onset_offset": ("onset", "offset")}
FLOWS = {"flow": 1, "flow_pair": 2}


class ResidentClips:
    """N clips on a device, from which batches are made without touching the host's disk or memory.

    Args:
        arrays: the clips.
        config: the model's, for the number of frames and the kind of special data.
        motion_scale: (flow, strain) values that become 1.
        device: where to keep them.

    Raises:
        InputError: special data that this loader cannot build, or a flow pair that was not prepared.
    """

    def __init__(self, arrays: ClipArrays, config: HSTAConfig, *, motion_scale: tuple[float, float], device: torch.device):
        if arrays.frames.shape[-1] != config.image_size:
            raise InputError(
                f"the arrays hold {arrays.frames.shape[-1]} px frames, the model takes {config.image_size} px",
                cure="load the arrays at the model's image_size",
            )
        if config.special not in FRAME_PAIRS and config.special not in FLOWS:
            raise InputError(
                f"special data '{config.special}' cannot be trained yet",
                where="model.special",
                cure=f"use one of {', '.join([*FRAME_PAIRS, *FLOWS])}",
            )
        if FLOWS.get(config.special, 0) > arrays.motion.shape[1]:
            raise InputError(
                f"special data '{config.special}' needs {FLOWS[config.special]} flow fields a clip; {arrays.motion.shape[1]} prepared",
                where="model.special",
                cure="prepare with vision.flow_pairs: [onset-apex, apex-offset]",
            )
        self.keys, self.labels = arrays.keys, arrays.labels
        self._special, self._frames_wanted = config.special, config.frames
        flow, strain = motion_scale
        self._device = device
        self._frames_FCHW = torch.tensor(arrays.frames, device=device)
        self._motion_NPCHW = torch.tensor(arrays.motion, device=device)
        self._starts_N = torch.tensor(arrays.starts[:-1], device=device)
        self._lengths_N = torch.tensor(np.diff(arrays.starts), device=device)
        self._apex_N = torch.tensor(arrays.apex, device=device)
        self._mean_C11 = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1) * 255
        self._std_C11 = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1) * 255
        self._motion_scale_C11 = torch.tensor((flow, flow, strain), device=device).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.keys)

    def batch(
        self, rows_B: torch.Tensor, *, places_BT: torch.Tensor | None = None, mirror_B: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's input for some clips.

        A clip is divided into T equal stretches and one frame is taken from each; a clip of fewer than T frames repeats some.

        Args:
            rows_B: which clips.
            places_BT: where in its stretch each frame is taken, from 0 to below 1; the middle, 0.5, when None (scoring).
            mirror_B: bool, which clips to mirror left to right; none when None.

        Returns:
            video (B, T, 3, H, W) and special (B, S, C, H, W), float32.
        """
        rows_B = rows_B.to(self._device, non_blocking=True)
        stretch_T = torch.arange(self._frames_wanted, device=self._device)
        places = 0.5 if places_BT is None else places_BT.to(self._device, non_blocking=True)
        length_B1 = self._lengths_N[rows_B, None]
        within_BT = ((stretch_T + places) * length_B1 / self._frames_wanted).long().clamp_max(length_B1 - 1)
        video = self._normalised(self._starts_N[rows_B, None] + within_BT)
        if self._special in FLOWS:
            special = self._motion_NPCHW[rows_B, : FLOWS[self._special]].float() / self._motion_scale_C11
        else:
            ends = {
                "onset": self._starts_N[rows_B],
                "apex": self._apex_N[rows_B],
                "offset": self._starts_N[rows_B] + self._lengths_N[rows_B] - 1,
            }
            special = self._normalised(torch.stack([ends[name] for name in FRAME_PAIRS[self._special]], dim=1))
        if mirror_B is not None:
            mirror = mirror_B.to(self._device, non_blocking=True).view(-1, 1, 1, 1, 1)
            video = torch.where(mirror, video.flip(-1), video)
            flipped = special.flip(-1)
            if self._special in FLOWS:
                flipped = flipped * flipped.new_tensor((-1.0, 1.0, 1.0)).view(3, 1, 1)  # u points the other way in a mirror
            special = torch.where(mirror, flipped, special)
        return video, special

    def _normalised(self, rows: torch.Tensor) -> torch.Tensor:
        return (self._frames_FCHW[rows].float() - self._mean_C11) / self._std_C11
