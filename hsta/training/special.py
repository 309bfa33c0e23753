"""How each kind of special data (`hsta.model.special`) is made from a clip. Nothing here imports torch.

Of frames, of flow fields, or of pictures drawn of flow fields. ``random_pair`` draws two different frames a clip and
step in training; when scoring it takes the middle frames of the clip's two halves, so that a model gives a clip one
answer.
"""

from __future__ import annotations

from hsta.vision.recipe import FLOW_PAIRS

FRAMES: dict[str, tuple[str, ...]] = {
    "onset_apex": ("onset", "apex"),
    "apex_offset": ("apex", "offset"),
    "onset_offset": ("onset", "offset"),
    "random_pair": ("earlier", "later"),
    "frame_difference": ("onset", "apex", "offset"),  # later minus earlier
}
MOTION: dict[str, tuple[str, ...]] = {"flow": FLOW_PAIRS[:1], "flow_pair": FLOW_PAIRS}
PICTURES: dict[str, tuple[str | None, str | None]] = {  # the frame below the arrows of each flow field, None for black
    "flow_picture_black": (None, None),
    "flow_picture_frame": ("apex", "offset"),
    "flow_picture_mixed": (None, "offset"),
}


def flow_pairs_of(special: str) -> tuple[str, ...]:
    """The flow fields that a kind of special data is made from."""
    return FLOW_PAIRS if special in PICTURES else MOTION.get(special, ())
