"""How clips are prepared: every choice that changes a prepared pixel, and the hash that keeps choices apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version

from hsta.errors import InputError
from hsta.vision.models import MODEL_SHA256

CODE_VERSION = "1"  # raised by every change to this package that changes what it computes
STABILISERS = ("flow", "none")
FLOW_METHODS = ("farneback", "dis", "tvl1")
FLOW_PAIRS = ("onset-apex", "apex-offset")
MISSING_APEX = ("midpoint", "reject")
FARNEBACK_WINDOW = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRecipe:
    """How a clip becomes aligned frames and flow.

    Attributes:
        size: side of the aligned square face, pixels.
        eye_distance: distance between the eye centres in the aligned face, as a part of ``size``. Less is
            a wider margin.
        eye_height: height of the eyes in the aligned face, as a part of ``size`` from the top.
        stabilise: how the head's drift within the clip is taken out. Every frame is warped once, from its source
            pixels, by one similarity transform: that of the onset frame's eyes, composed with the drift since then.
            "flow": a similarity fitted robustly to the dense flow of the still part of the face (`hsta.vision.drift`).
            "none": no drift is taken out; the onset frame's transform for all frames.
        flow: optical flow method: "farneback", "dis" (finest scale 0) or "tvl1" (as in the literature; slow).
        flow_window: Farneback's averaging window, pixels of the aligned face; None is 21. Only for "farneback".
        flow_pairs: which fields are made: "onset-apex", "apex-offset".
        missing_apex: what becomes of a clip without an annotated apex: "midpoint" takes the frame halfway from onset to
            offset and records it, "reject" rejects the clip.
    """

    size: int = 224
    eye_distance: float = 0.34
    eye_height: float = 0.36
    stabilise: str = "flow"
    flow: str = "farneback"
    flow_window: int | None = None
    flow_pairs: tuple[str, ...] = FLOW_PAIRS
    missing_apex: str = "midpoint"

    def __post_init__(self) -> None:
        object.__setattr__(self, "flow_pairs", tuple(self.flow_pairs))
        _require(32 <= self.size <= 1024, "size", f"{self.size} is not a usable face size", "32 to 1024 pixels")
        _require(
            0.15 <= self.eye_distance <= 0.6,
            "eye_distance",
            f"{self.eye_distance} is not usable",
            "a part of size, 0.15 to 0.6",
        )
        _require(
            0.2 <= self.eye_height <= 0.6,
            "eye_height",
            f"{self.eye_height} is not usable",
            "a part of size, 0.2 to 0.6",
        )
        _choice("stabilise", self.stabilise, STABILISERS)
        _choice("flow", self.flow, FLOW_METHODS)
        _choice("missing_apex", self.missing_apex, MISSING_APEX)
        for pair in self.flow_pairs:
            _choice("flow_pairs", pair, FLOW_PAIRS)
        _require(
            0 < len(self.flow_pairs) == len(set(self.flow_pairs)),
            "flow_pairs",
            "is empty or names a pair twice",
            "name each pair once",
        )
        if self.flow_window is not None:
            _require(
                self.flow == "farneback",
                "flow_window",
                f"has no effect with flow '{self.flow}'",
                "leave it out, or use farneback",
            )
            _require(
                5 <= self.flow_window <= self.size, "flow_window", f"{self.flow_window} is not usable", "5 to size"
            )


def recipe_hash(recipe: PrepareRecipe) -> str:
    """SHA-256 of all that a prepared clip follows from besides its source: settings, models, code and library versions.

    Equal recipes have equal hashes in every process and on every machine.
    """
    settings = asdict(recipe)
    if recipe.flow == "farneback":
        settings["flow_window"] = recipe.flow_window or FARNEBACK_WINDOW
    facts = {"settings": settings, "models": MODEL_SHA256, "code": CODE_VERSION, "libraries": library_versions()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of the packages whose code makes the pixels."""
    return {"opencv": version("opencv-contrib-python-headless"), "decord": version("decord")}


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, name, f"'{value}' is unknown", f"one of {', '.join(known)}")


def _require(holds: bool, name: str, problem: str, cure: str) -> None:
    if not holds:
        raise InputError(problem, where=f"vision.{name}", cure=cure)
