"""Why a clip cannot be prepared."""

from __future__ import annotations


class ClipError(Exception):
    """A clip cannot be prepared. `hsta.vision.prepare_clip` turns it into a `hsta.records.RejectedClip`.

    Args:
        reason: a short stable code, one of `REASONS`.
        detail: a sentence that names the file or the figure.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


REASONS: dict[str, str] = {
    "missing-folder": "the folder or the video is not there, or the folder holds no image",
    "missing-frame": "frames of onset..offset are not there",
    "unreadable-frame": "a frame is empty, truncated, damaged or of no known format",
    "unreadable-video": "the video cannot be opened or decoded",
    "unreadable-archive": "the zip or tar cannot be opened or is damaged",
    "wrong-frame-order": "two files claim one number, the head jumps about, or the annotation is disordered",
    "frame-size-changed": "the frames are not all of one size",
    "frame-too-large": "a frame has more pixels than any camera this is meant for",
    "unsupported-bit-depth": "a frame has more than 8 bits a channel",
    "no-apex": "no apex is annotated and the recipe does not choose one",
    "no-face": "no face in the onset frame",
    "two-faces": "two faces of similar size in the onset frame",
    "lost-face": "the face cannot be followed through the clip",
    "unknown-frame-rate": "the recipe magnifies a band of frequencies and the clip's frames per second are not known",
    "too-short": "the clip has no frequency within the band that the recipe magnifies",
    "crashed": "preparing it ended its process, or failed in a way that is no known reason",
}
