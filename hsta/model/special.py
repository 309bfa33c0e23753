"""Special data: what the special branch of HSTA is shown of a clip besides its sampled frames.

The model only needs the shape (S items of C channels); the training code builds the tensors. Nothing here imports
torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialData:
    """One kind of special data, a tensor (B, S, C, H, W).

    Attributes:
        items: S, pictures or fields a clip. Two items share one tubelet (depth 2), a single item has tubelets of depth
            1.
        channels: C.
        holds: what the items are, in order.
    """

    items: int
    channels: int
    holds: str


SPECIAL: dict[str, SpecialData] = {
    "onset_apex": SpecialData(items=2, channels=3, holds="onset frame, apex frame (published)"),
    "apex_offset": SpecialData(items=2, channels=3, holds="apex frame, offset frame"),
    "onset_offset": SpecialData(items=2, channels=3, holds="onset frame, offset frame"),
    "random_pair": SpecialData(items=2, channels=3, holds="two frames drawn at random, in time order"),
    "flow": SpecialData(items=1, channels=3, holds="u, v and strain of onset to apex"),
    "flow_pair": SpecialData(items=2, channels=3, holds="u, v and strain of onset to apex, then of apex to offset"),
    "flow_picture_black": SpecialData(items=2, channels=3, holds="motion to apex and to offset, drawn on black"),
    "flow_picture_frame": SpecialData(items=2, channels=3, holds="motion to apex and to offset, drawn on those frames"),
    "flow_picture_mixed": SpecialData(items=2, channels=3, holds="motion to apex on black, to offset on that frame"),
    "frame_difference": SpecialData(items=2, channels=3, holds="apex minus onset, offset minus apex"),
}
