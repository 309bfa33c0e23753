"""How large a frame may claim to be, before memory is set aside for it."""

from __future__ import annotations

from hsta.vision.errors import ClipError

MAX_PIXELS = 40_000_000  # 8K video has 33 million


def check_size(name: str, width: int, height: int) -> None:
    """Raises ClipError: unreadable-frame for a size that is none, frame-too-large above `MAX_PIXELS`."""
    if width < 1 or height < 1:
        raise ClipError("unreadable-frame", f"{name} claims {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise ClipError(
            "frame-too-large", f"{name} has {width}x{height} pixels; the most is {MAX_PIXELS // 1_000_000} million"
        )
