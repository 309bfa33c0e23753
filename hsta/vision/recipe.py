"""How clips are prepared: every choice that changes a prepared pixel, and the hash that keeps choices apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version

from hsta.errors import InputError
from hsta.vision.models import MODEL_SHA256

CODE_VERSION = "1"  # raised by every change to this package that changes what it computes
ALIGNMENTS = ("similarity", "affine", "none")
STABILISERS = ("flow", "ecc", "none")
FLOW_METHODS = ("farneback", "dis", "tvl1")
FLOW_PAIRS = ("onset-apex", "apex-offset")
SEQUENCE = "sequence"
GLOBAL_MOTIONS = ("none", "nose", "ecc")
MISSING_APEX = ("midpoint", "first-motion", "flow-maximum", "reject")
INTERPOLATIONS = ("tim", "linear")

EYE_DISTANCE, EYE_HEIGHT = 0.34, 0.36
MOUTH_BELOW_EYES = 1.1  # part of the eye distance; 1.08 to 1.12 in two videos of people at rest, 0.88 in a smile
FARNEBACK_WINDOW = 21
FLOW_STEPS = 8
MAGNIFY_BAND = (0.5, 6.0)
MAGNIFY_LEVEL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRecipe:
    """How a clip becomes aligned frames and flow. A setting that would have no effect is refused.

    Attributes:
        size: side of the aligned square face, pixels.
        alignment: which transform puts the onset frame's face at its place; it holds for the whole clip.
            "similarity": eyes at the template's places. "affine": eyes and the mouth's centre at the template's places;
            it changes the face's proportions. "none": the frames as they are, their widest centred square scaled to
            ``size``, for data sets that come cropped. A face is still looked for, with a margin added around the
            frame: landmarks, stabilising and the figures of quality need it, and a clip without one is rejected.
        eye_distance: distance between the eye centres in the aligned face, as a part of ``size``. Less is
            a wider margin. Not with alignment "none".
        eye_height: height of the eyes in the aligned face, as a part of ``size`` from the top. Not with "none".
        mouth_height: height of the mouth's centre, the same way; None is 1.1 eye distances below the eyes. Only with
            "affine".
        stabilise: how the head's drift within the clip is taken out. Every frame is warped once, from its source
            pixels, by one transform: that of the onset frame, composed with the drift since then.
            "flow": a similarity fitted robustly to the dense flow of the still part of the face (`hsta.vision.drift`).
            "ecc": rotation and shift by OpenCV's findTransformECC; leaves more drift (docs/vision.md).
            "none": no drift is taken out; the onset frame's transform for all frames.
        flow: optical flow method: "farneback", "dis" (finest scale 0) or "tvl1" (as in the literature; slow).
        flow_window: Farneback's averaging window, pixels of the aligned face; None is 21. Only for "farneback".
        flow_pairs: which fields are made: "onset-apex", "apex-offset", and "sequence", which stands for ``flow_steps``
            fields from the onset to frames spaced evenly up to the offset (see `flow_names`).
        flow_steps: how many, 2 to 32; None is 8. Only with "sequence".
        global_motion: what is subtracted from each flow field: "none"; "nose", the mean flow of a patch on the nose;
            "ecc", the rigid motion that findTransformECC finds in the face.
        missing_apex: what becomes of a clip without an annotated apex: "midpoint" takes the frame halfway from onset to
            offset, "flow-maximum" the one that has moved most, "first-motion" the first that has moved half as far
            (`hsta.vision.apex`), each recorded with the clip; "reject" rejects the clip.
        max_missing: the largest part of a clip's frames that its data set may lack between onset and offset, both of
            which, and an annotated apex, must be there. 0 rejects any such clip. The frames that there are then count
            as evenly spaced. Not with ``magnify`` or ``interpolate``, which need time.
        magnify: 0, or how much linear Eulerian magnification adds to the motion since the onset in the aligned frames
            (`hsta.vision.magnify`). Flow is made of the magnified frames. Needs the clip's frames per second.
        magnify_band: lowest and highest frequency that is magnified, Hz; None is 0.5 to 6. Only with ``magnify``.
        magnify_level: level of the Gaussian pyramid whose changes are magnified; 0 is the picture itself, None is 1.
            Only with ``magnify``.
        interpolate: 0, or to how many frames a clip is brought (`hsta.vision.interpolate`). Onset, apex and offset
            stay as they are, and flow is made of them before.
        interpolation: "tim" or "linear"; None is "tim". Only with ``interpolate``.
    """

    size: int = 224
    alignment: str = "similarity"
    eye_distance: float = EYE_DISTANCE
    eye_height: float = EYE_HEIGHT
    mouth_height: float | None = None
    stabilise: str = "flow"
    flow: str = "farneback"
    flow_window: int | None = None
    flow_pairs: tuple[str, ...] = FLOW_PAIRS
    flow_steps: int | None = None
    global_motion: str = "none"
    missing_apex: str = "midpoint"
    max_missing: float = 0.0
    magnify: float = 0.0
    magnify_band: tuple[float, float] | None = None
    magnify_level: int | None = None
    interpolate: int = 0
    interpolation: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "flow_pairs", tuple(self.flow_pairs))
        if self.magnify_band is not None:
            object.__setattr__(self, "magnify_band", tuple(self.magnify_band))
        self._check_alignment()
        self._check_flow()
        self._check_frames()

    def _check_alignment(self) -> None:
        _require(32 <= self.size <= 1024, "size", f"{self.size} is not a usable face size", "32 to 1024 pixels")
        _choice("alignment", self.alignment, ALIGNMENTS)
        for name, low, usual in (("eye_distance", 0.15, EYE_DISTANCE), ("eye_height", 0.2, EYE_HEIGHT)):
            value = getattr(self, name)
            _require(low <= value <= 0.6, name, f"{value} is not usable", f"a part of size, {low} to 0.6")
            _live(name, None if value == usual else value, self.alignment != "none", "with alignment 'none'")
        _live("mouth_height", self.mouth_height, self.alignment == "affine", f"with alignment '{self.alignment}'")
        if self.alignment == "affine":
            lowest = self.eye_height + 0.5 * self.eye_distance
            _require(
                lowest <= self.mouth_place <= 0.95,
                "mouth_height",
                f"{self.mouth_place:.2f} is not usable",
                f"a part of size, {lowest:.2f} (half an eye distance below the eyes) to 0.95",
            )
        _choice("stabilise", self.stabilise, STABILISERS)

    def _check_flow(self) -> None:
        _choice("flow", self.flow, FLOW_METHODS)
        _choice("global_motion", self.global_motion, GLOBAL_MOTIONS)
        for pair in self.flow_pairs:
            _choice("flow_pairs", pair, (*FLOW_PAIRS, SEQUENCE))
        _require(
            0 < len(self.flow_pairs) == len(set(self.flow_pairs)),
            "flow_pairs",
            "is empty or names a pair twice",
            "name each pair once",
        )
        _live("flow_window", self.flow_window, self.flow == "farneback", f"with flow '{self.flow}'")
        _range("flow_window", self.flow_window, 5, self.size)
        _live("flow_steps", self.flow_steps, SEQUENCE in self.flow_pairs, f"without '{SEQUENCE}' in flow_pairs")
        _range("flow_steps", self.flow_steps, 2, 32)
        _choice("missing_apex", self.missing_apex, MISSING_APEX)

    def _check_frames(self) -> None:
        _range("max_missing", self.max_missing, 0, 0.5)
        _require(
            not self.max_missing or not (self.magnify or self.interpolate),
            "max_missing",
            "clips with gaps cannot be magnified or interpolated",
            "0, or neither magnify nor interpolate",
        )
        _range("magnify", self.magnify, 0, 50)
        _live("magnify_band", self.magnify_band, self.magnify > 0, "without magnify")
        if self.magnify_band is not None:
            low, high = self.magnify_band
            _require(
                0 < low < high,
                "magnify_band",
                f"{low} to {high} is no band",
                "two frequencies above 0, the lower first",
            )
        _live("magnify_level", self.magnify_level, self.magnify > 0, "without magnify")
        _range("magnify_level", self.magnify_level, 0, (self.size // 8).bit_length() - 1)
        _require(
            self.interpolate == 0 or 3 <= self.interpolate <= 256,
            "interpolate",
            f"{self.interpolate} is not usable",
            "0 for none, or 3 to 256 frames",
        )
        _live("interpolation", self.interpolation, self.interpolate > 0, "without interpolate")
        if self.interpolation is not None:
            _choice("interpolation", self.interpolation, INTERPOLATIONS)

    @property
    def mouth_place(self) -> float:
        """``mouth_height``, or what None stands for."""
        if self.mouth_height is not None:
            return self.mouth_height
        return self.eye_height + MOUTH_BELOW_EYES * self.eye_distance

    @property
    def flow_names(self) -> tuple[str, ...]:
        """The flow fields of a prepared clip, in order: ``flow_pairs`` with "sequence" written out.

        "onset-3/8" goes from the onset to the frame nearest to 3/8 of the way to the offset. Clips with fewer frames
        than steps have that frame more than once, or the onset itself (a field of zeros).
        """
        steps = self.flow_steps or FLOW_STEPS
        sequence = [f"onset-{step}/{steps}" for step in range(1, steps + 1)]
        return tuple(name for pair in self.flow_pairs for name in (sequence if pair == SEQUENCE else [pair]))

    def effective(self) -> dict:
        """The settings with what None stands for, where it has an effect."""
        settings = asdict(self)
        if self.alignment == "affine":
            settings["mouth_height"] = self.mouth_place
        if self.flow == "farneback":
            settings["flow_window"] = self.flow_window or FARNEBACK_WINDOW
        if SEQUENCE in self.flow_pairs:
            settings["flow_steps"] = self.flow_steps or FLOW_STEPS
        if self.magnify > 0:
            settings["magnify_band"] = self.magnify_band or MAGNIFY_BAND
            settings["magnify_level"] = MAGNIFY_LEVEL if self.magnify_level is None else self.magnify_level
        if self.interpolate > 0:
            settings["interpolation"] = self.interpolation or INTERPOLATIONS[0]
        return settings


def recipe_hash(recipe: PrepareRecipe) -> str:
    """SHA-256 of all that a prepared clip follows from besides its source: settings, models, code and library versions.

    Equal recipes have equal hashes in every process and on every machine.
    """
    facts = {
        "settings": recipe.effective(),
        "models": MODEL_SHA256,
        "code": CODE_VERSION,
        "libraries": library_versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of the packages whose code makes the pixels."""
    return {"opencv": version("opencv-contrib-python-headless"), "decord": version("decord")}


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, name, f"'{value}' is unknown", f"one of {', '.join(known)}")


def _range(name: str, value: float | None, low: float, high: float) -> None:
    _require(value is None or low <= value <= high, name, f"{value} is not usable", f"{low} to {high}")


def _live(name: str, value: object, effective: bool, when: str) -> None:
    """Refuse a value that is given where it has no effect."""
    _require(value is None or effective, name, f"has no effect {when}", "leave it out")


def _require(holds: bool, name: str, problem: str, cure: str) -> None:
    if not holds:
        raise InputError(problem, where=f"vision.{name}", cure=cure)
