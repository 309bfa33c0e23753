"""What the vision stage measures on the demo clips, against their planted truth.

Alignment, landmarks and optical flow of every demo clip are compared with the truth saved beside it. Figures are in
pixels of the aligned face unless said otherwise.

examples:
  python -m benchmarks.vision                                    renders the demo clips into a temporary folder first
  python -m benchmarks.vision --clips data/demo --json vision.json
  python -m benchmarks.vision --stabilise none --flow dis
  python -m benchmarks.vision --magnify 3                        flow is compared with 4 times the planted motion

exit status: 0 all goals are met; 1 a goal is missed; 2 bad input
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from hsta.datasets.manifest import read_manifest
from hsta.datasets.synthetic import CLASSES, make_demo
from hsta.errors import InputError
from hsta.records import Clip, PreparedClip, RejectedClip
from hsta.vision.align import transform_points
from hsta.vision.clip import STAGES, prepare_clip
from hsta.vision.faces import FaceFinder
from hsta.vision.recipe import ALIGNMENTS, FLOW_METHODS, GLOBAL_MOTIONS, STABILISERS, PrepareRecipe
from hsta.vision.regions import face_mask

GOALS = {
    "flow_epe_median": (0.0, 0.35),
    "gain_at_1px": (0.85, 1.10),
    "drift_removed": (0.90, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFigures:
    """One clip against its truth.

    Attributes:
        epe: (N,) flow end-point error at each moving pixel.
        true_length, along: (N,) length of the true motion there, and the measured motion along it.
        false_motion: mean length of the flow where the face does not move.
        drift_planted, drift_left: mean displacement of the face's mesh by the head's drift before and after alignment.
        landmark_error: mean distance of the found mesh from the true one, part of the eye distance.
        eye_error: the same of the eye centres.
    """

    epe: np.ndarray
    true_length: np.ndarray
    along: np.ndarray
    false_motion: float
    drift_planted: float
    drift_left: float
    landmark_error: float
    eye_error: float


def compare(prepared: PreparedClip, truth_path: Path, *, magnify: float = 0.0) -> ClipFigures:
    """A prepared demo clip against ``truth/<clip_id>.npz`` (see `hsta.datasets.synthetic.render_clip`).

    ``magnify`` is the recipe's: the true motion is taken ``1 + magnify`` times.
    """
    with np.load(truth_path) as stored:
        truth = {name: stored[name] for name in ("field", "moving", "numbers", "drift", "landmarks")}
    onset, size = prepared.transforms[0], prepared.frames.shape[1]
    place = cv2.invertAffineTransform(onset)
    maps = (
        truth["field"][0].astype(np.float32),
        truth["field"][1].astype(np.float32),
        truth["moving"].astype(np.float32),
    )
    field_x, field_y, moving = (cv2.warpAffine(part, onset, (size, size), flags=cv2.INTER_LINEAR) for part in maps)
    field = (1 + magnify) * np.tensordot(onset[:, :2], np.stack([field_x, field_y]), axes=1)
    flow = prepared.flow[prepared.flow_pairs.index("onset-apex")]
    moving = moving > 0.5
    length = np.hypot(*field)
    landmarks = transform_points(onset, truth["landmarks"])
    still = face_mask(landmarks, (size, size)) & (length == 0)
    mesh = truth["landmarks"]
    planted, left = [], []
    for number, transform in zip(prepared.frame_numbers[1:], prepared.transforms[1:]):
        drift = truth["drift"][np.flatnonzero(truth["numbers"] == number)[0]]
        drifted = transform_points(drift, mesh)
        planted.append(np.hypot(*(transform_points(onset, drifted) - landmarks).T).mean())
        left.append(np.hypot(*(transform_points(transform, drifted) - landmarks).T).mean())
    found = transform_points(place, prepared.landmarks.astype(np.float64))
    eyes = [points[[33, 133, 362, 263]].reshape(2, 2, 2).mean(axis=1) for points in (found, mesh)]
    eye_distance = np.hypot(*(eyes[1][1] - eyes[1][0]))
    return ClipFigures(
        epe=np.hypot(*(flow - field))[moving],
        true_length=length[moving],
        along=((flow * field).sum(axis=0) / np.maximum(length, 1e-6))[moving],
        false_motion=float(np.hypot(*flow)[still].mean()),
        drift_planted=float(np.mean(planted)),
        drift_left=float(np.mean(left)),
        landmark_error=float(np.hypot(*(found - mesh).T).mean() / eye_distance),
        eye_error=float(np.hypot(*(eyes[0] - eyes[1]).T).mean() / eye_distance),
    )


def summarise(figures: Sequence[ClipFigures]) -> dict[str, float]:
    """Figures over clips: flow error and gain over all moving pixels; drift removed over all clips and in the worst."""
    epe, length, along = (
        np.concatenate([getattr(f, name) for f in figures]) for name in ("epe", "true_length", "along")
    )
    near = (length > 0.75) & (length < 1.25)
    removed = [1 - f.drift_left / f.drift_planted for f in figures]
    return {
        "clips": len(figures),
        "flow_epe_median": float(np.median(epe)),
        "flow_epe_p95": float(np.percentile(epe, 95)),
        "flow_epe_worst_clip": float(max(np.median(f.epe) for f in figures)),
        "gain": float((along * length).sum() / (length**2).sum()),
        "gain_at_1px": float((along * length)[near].sum() / (length**2)[near].sum()),
        "false_motion": float(np.mean([f.false_motion for f in figures])),
        "drift_planted": float(np.mean([f.drift_planted for f in figures])),
        "drift_left": float(np.mean([f.drift_left for f in figures])),
        "drift_removed": 1 - sum(f.drift_left for f in figures) / sum(f.drift_planted for f in figures),
        "drift_removed_worst_clip": float(min(removed)),
        "landmark_error": float(np.mean([f.landmark_error for f in figures])),
        "eye_error": float(np.mean([f.eye_error for f in figures])),
    }


MEANING = {
    "clips": "clips",
    "flow_epe_median": "flow: end-point error where the face moves, median, px",
    "flow_epe_p95": "flow: the same, 95th percentile, px",
    "flow_epe_worst_clip": "flow: the same, median of the worst clip, px",
    "gain": "flow: measured / true motion, all lengths",
    "gain_at_1px": "flow: measured / true motion where it is 0.75 to 1.25 px",
    "false_motion": "flow: mean length where the face is still, px",
    "drift_planted": "head drift planted, mean over frames, px",
    "drift_left": "head drift left after alignment, px",
    "drift_removed": "head drift removed, all clips",
    "drift_removed_worst_clip": "head drift removed, worst clip",
    "landmark_error": "face mesh error / eye distance",
    "eye_error": "eye centre error / eye distance",
}


def table(summary: dict[str, float], seconds: dict[str, float]) -> str:
    """The summary and the time of each stage as text."""
    lines = []
    for name, value in summary.items():
        shown = f"{value:d}" if isinstance(value, int) else f"{value:.3f}"
        goal = ""
        if name in GOALS:
            low, high = GOALS[name]
            goal = f"   goal {low:g} to {high:g}: {'met' if low <= value <= high else 'MISSED'}"
        lines.append(f"{MEANING[name]:<62}{shown:>9}{goal}")
    lines.append("milliseconds of one clip, wall time of one process:")
    for stage in (*STAGES, "whole"):
        lines.append(f"  {stage:<60}{1000 * seconds.get(stage, 0.0) / summary['clips']:>9.1f}")
    return "\n".join(lines)


def measure(clips: Sequence[Clip], truth: Path, recipe: PrepareRecipe) -> tuple[list[ClipFigures], dict[str, float]]:
    """Prepare and compare ``clips``; also the seconds by stage. Raises InputError when a clip is rejected."""
    finder, seconds, figures = FaceFinder(), {}, []
    for clip in clips:
        start = time.perf_counter()
        prepared = prepare_clip(clip, recipe, finder, seconds=seconds)
        seconds["whole"] = seconds.get("whole", 0.0) + time.perf_counter() - start
        if isinstance(prepared, RejectedClip):
            raise InputError(
                f"was rejected: {prepared.reason}: {prepared.detail}", where=clip.clip_id, cure="render the clips again"
            )
        figures.append(compare(prepared, truth / f"{clip.clip_id}.npz", magnify=recipe.magnify))
    return figures, seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of demo clips with their truth; default: render them")
    choices = {
        "alignment": ALIGNMENTS,
        "stabilise": STABILISERS,
        "flow": FLOW_METHODS,
        "global_motion": GLOBAL_MOTIONS,
    }
    for name, values in choices.items():
        parser.add_argument(f"--{name.replace('_', '-')}", choices=values, default=getattr(PrepareRecipe(), name))
    parser.add_argument("--magnify", type=float, default=PrepareRecipe().magnify, metavar="FACTOR")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures as JSON")
    options = parser.parse_args(arguments)
    recipe = PrepareRecipe(magnify=options.magnify, **{name: getattr(options, name) for name in choices})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.clips or Path(temporary)
        if options.clips is None:
            print("rendering the demo clips ...", file=sys.stderr)
            make_demo(root)
        clips = read_manifest(str(root / "clips.csv"), dataset="demo", label_set="demo3", classes=CLASSES)
        figures, seconds = measure(clips, root / "truth", recipe)
    summary = summarise(figures)
    print(table(summary, seconds))
    if options.json:
        result = {
            "recipe": asdict(recipe),
            "figures": summary,
            "seconds_per_clip": {k: v / len(clips) for k, v in seconds.items()},
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(low <= summary[name] <= high for name, (low, high) in GOALS.items()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
