"""The training clips, all in memory once, as uint8; batches are made on the device, and nothing is read from disk.

A batch is gathered, relit, normalised, moved, scaled and emptied in places there, in this order. What is done to each
clip (`hsta.training.augment.Changes`) comes from the host, as do the rows: nobody waits for the device.

Shape letters: B clips, T frames, S special items, I items before they are put together, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.training.arrays import ClipArrays
from hsta.training.augment import Changes, mirror, move_flow, resample
from hsta.training.light import relight
from hsta.training.pictures import flow_pictures
from hsta.training.recipe import MOTION_SCALE
from hsta.training.rectangles import inside
from hsta.training.special import FRAMES, MOTION, PICTURES, flow_pairs_of
from hsta.training.transfer import Rows, fits_on_device, to_device

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResidentClips:
    """N clips, from which batches are made without touching the disk.

    Args:
        arrays: the clips.
        config: the model's, for its branches, the number of frames and the kind of special data.
        motion_scale: (flow, strain) values that become 1.
        device: where batches are wanted.
        padding: of clips with fewer than T frames, "repeat" or "zeros"; see `hsta.training.recipe.Recipe`.
        resident: where to keep the clips, "auto", "device" or "host"; see there.

    Raises:
        InputError: frames of another size, or special data of flow that was not prepared.
    """

    def __init__(
        self,
        arrays: ClipArrays,
        config: HSTAConfig,
        *,
        motion_scale: tuple[float, float] = MOTION_SCALE,
        device: torch.device,
        padding: str = "repeat",
        resident: str = "auto",
    ):
        if arrays.frames.shape[-1] != config.image_size:
            raise InputError(
                f"the arrays hold {arrays.frames.shape[-1]} px frames, the model takes {config.image_size} px",
                cure="load the arrays at the model's image_size",
            )
        self._branches, self._frames_wanted = config.branch_names, config.frames
        self._size, self._padding, self._device = config.image_size, padding, device
        self._special = config.special if "special" in config.branch_names else None
        self._starts_N = torch.from_numpy(arrays.starts[:-1].copy())
        self._lengths_N = torch.from_numpy(np.diff(arrays.starts))
        self._apex_N = torch.from_numpy(arrays.apex.copy())
        fields = self._flow_fields(arrays, motion_scale[0])
        kept = [arrays.frames] if fields is None else [arrays.frames, fields]
        on_device = fits_on_device(kept, device, resident)
        self._frames = Rows(arrays.frames, device, resident=on_device)
        self._fields = None if fields is None else Rows(fields, device, resident=on_device)
        self._mean_C11 = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1) * 255
        self._std_C11 = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1) * 255
        flow, strain = motion_scale
        self._motion_scale_C11 = torch.tensor((flow, flow, strain), device=device).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self._starts_N)

    def batch(
        self,
        rows_B: Tensor,
        *,
        places_BT: Tensor | None = None,
        pair_B2: Tensor | None = None,
        changes: Changes | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """The model's input for some clips.

        A clip is divided into T equal stretches and one frame is taken from each.

        Args:
            rows_B: which clips. This and the other arguments are host tensors.
            places_BT: where in its stretch each frame is taken, from 0 to below 1; the middle, 0.5, when None
                (scoring).
            pair_B2: for ``random_pair``: which two frames, as two numbers from 0 to below 1; the middles of the clip's
                two halves when None (scoring).
            changes: what augmentation does to each clip; nothing when None (scoring).

        Returns:
            video (B, T, 3, H, W) and special (B, S, C, H, W), float32; None for a branch that the model does not have.
        """
        changes = changes or Changes()
        video = special = present_BT = None
        if "video" in self._branches:
            rows_BT, present_BT = self._video_rows(rows_B, places_BT)
            video = self._frames.take(rows_BT).float()
        if self._special in FRAMES:
            special = self._frames.take(self._special_rows(rows_B, pair_B2)).float()
        elif self._fields is not None:
            special = self._fields.take(rows_B).float()
        frames = [x for x, lit in ((video, True), (special, self._special in FRAMES)) if x is not None and lit]
        if changes.light_B6 is not None and frames:
            relight(frames, changes.light_B6)
        video = None if video is None else self._moved(self._normalised(video), changes, vectors=False)
        special = None if special is None else self._finished(special, changes)
        if present_BT is not None:
            video = video * to_device(present_BT, self._device)[:, :, None, None, None]
        if changes.erased_B4 is not None:
            erased_B = inside(to_device(changes.erased_B4, self._device), self._size)
            video, special = (None if x is None else x.masked_fill(erased_B, 0.0) for x in (video, special))
        return video, special

    def _flow_fields(self, arrays: ClipArrays, full_length: float) -> np.ndarray | None:
        """The flow, or the pictures of it, that the special branch sees: (N, S, 3, H, W)."""
        wanted = flow_pairs_of(self._special) if self._special else ()
        missing = [pair for pair in wanted if pair not in arrays.flow_pairs[: arrays.motion.shape[1]]]
        if missing:
            raise InputError(
                f"special data '{self._special}' needs {len(wanted)} flow fields a clip; "
                f"{', '.join(missing)} was not prepared",
                where="model.special",
                cure=f"prepare with vision.flow_pairs: [{', '.join(wanted)}]",
            )
        if not wanted:
            return None
        order = [arrays.flow_pairs.index(pair) for pair in wanted]
        if self._special in MOTION:
            as_they_are = order == list(range(len(order)))
            return arrays.motion[:, : len(order)] if as_they_are else arrays.motion[:, order]
        return flow_pictures(arrays, order, PICTURES[self._special], full_length=full_length)

    def _video_rows(self, rows_B: Tensor, places_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Frame numbers (B, T), and which of them there are, None for all."""
        length_B1, stretch_T = self._lengths_N[rows_B, None], torch.arange(self._frames_wanted)
        places = 0.5 if places_BT is None else places_BT
        within_BT = ((stretch_T + places) * length_B1 / self._frames_wanted).long().clamp_max(length_B1 - 1)
        present_BT = None
        if self._padding == "zeros":
            in_order_BT = stretch_T.expand_as(within_BT)
            short_B1 = length_B1 < self._frames_wanted
            within_BT = torch.where(short_B1, in_order_BT.clamp_max(length_B1 - 1), within_BT)
            present_BT = (in_order_BT < length_B1) | ~short_B1
        return self._starts_N[rows_B, None] + within_BT, present_BT

    def _special_rows(self, rows_B: Tensor, pair_B2: Tensor | None) -> Tensor:
        """Frame numbers (B, I) of the special data."""
        start_B, length_B = self._starts_N[rows_B], self._lengths_N[rows_B]
        named = {"onset": start_B, "apex": self._apex_N[rows_B], "offset": start_B + length_B - 1}
        if self._special == "random_pair":
            if pair_B2 is None:
                first_B, second_B = length_B // 4, length_B * 3 // 4
            else:
                first_B = (pair_B2[:, 0] * length_B).long().clamp_max(length_B - 1)
                second_B = (pair_B2[:, 1] * (length_B - 1)).long()
                second_B = torch.minimum(second_B + (second_B >= first_B), length_B - 1)  # any frame but the first
            named["earlier"] = start_B + torch.minimum(first_B, second_B)
            named["later"] = start_B + torch.maximum(first_B, second_B)
        return torch.stack([named[name] for name in FRAMES[self._special]], dim=1)

    def _normalised(self, x: Tensor) -> Tensor:
        return (x - self._mean_C11) / self._std_C11

    def _moved(self, x: Tensor, changes: Changes, *, vectors: bool) -> Tensor:
        if changes.mirror_B is not None:
            x = mirror(x, to_device(changes.mirror_B, self._device), vectors=vectors)
        if changes.sampling_B33 is not None:
            sampling_B33 = to_device(changes.sampling_B33, self._device)
            x = move_flow(x, sampling_B33) if vectors else resample(x, sampling_B33)
        return x

    def _finished(self, special: Tensor, changes: Changes) -> Tensor:
        """Special data (B, S, C, H, W) of its items."""
        if self._special in MOTION:
            return self._moved(special, changes, vectors=True) / self._motion_scale_C11
        special = self._moved(self._normalised(special), changes, vectors=False)
        return special.diff(dim=1) if self._special == "frame_difference" else special
