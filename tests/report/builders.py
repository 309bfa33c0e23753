"""Results made by the real evaluation from constructed predictions, and samples with real pixels and planted motion."""

from __future__ import annotations

import math

import numpy as np

from hsta.evaluation.audit import audit
from hsta.evaluation.predictions import to_frame
from hsta.evaluation.results import evaluate
from hsta.evaluation.splits import make_split
from hsta.report import Sample
from tests.evaluation.builders import CLASSES, LABEL_SET, make_clips, predict_split

RUN = {
    "name": "demo",
    "created": "2026-01-02T03:04:05+00:00",
    "commit": "0123abc",
    "config_hash": "9f" * 16,
    "config": {"model": {"preset": "demo", "widths": [96, 192]}, "train": {"epochs": 12, "learning_rate": 0.0005}},
    "wall_seconds": 372.4,
    "versions": {"torch": "2.13.0", "ray": "2.60.0"},
    "hardware": {"cpu": "2 cores", "gpu": None},
    "prediction_log": "runs/demo/predictions.parquet",
    "recompute": "python -m workflows.evaluate --config runs/demo/config.yaml",
}
DATA = {
    "manifest_sha256": "ab" * 32,
    "recipe": {"alignment": "similarity", "flow": {"method": "farneback", "window": 21}},
    "rejected": [{"clip_id": "s03-smile-9", "reason": "no-face", "detail": "no face in onset frame 000001.jpg"}],
}


def make_results(
    *, subjects: int = 8, seeds=(0,), datasets=("demo",), drop: str = "", protocol: str = "loso", **changes
) -> dict:
    """Results of a run; predictions of fold ``drop`` are left out."""
    clips = [clip for dataset in datasets for clip in make_clips(subjects, 4, dataset=dataset)]
    split = make_split(clips, protocol, label_set=LABEL_SET)
    log = [prediction for seed in seeds for prediction in predict_split(split, clips, seed=seed, skill=0.86)]
    facts = {
        "epoch_rule": "12 epochs, fixed",
        "audit": audit(split, clips).to_dict(),
        "data": DATA,
        "run": RUN,
        "failures": {drop: "the loss of epoch 3 is nan"} if drop else {},
        "curves": {fold.name: curve(k) for k, fold in enumerate(split.folds)},
    }
    kept = [prediction for prediction in log if prediction.fold != drop]
    return evaluate(
        to_frame(kept, CLASSES), split=split, classes=CLASSES, seeds=seeds, resamples=500, **(facts | changes)
    )


def curve(number: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(number)
    epochs = list(range(1, 13))
    loss = [1.1 * math.exp(-epoch / (4 + rng.random())) + 0.05 * rng.random() for epoch in epochs]
    return {
        "epoch": epochs,
        "loss": loss,
        "accuracy": [1 - value / 1.7 for value in loss],
        "lr": [5e-4 / k for k in epochs],
    }


def make_sample(
    clip_id: str = "s01-smile-0", *, prediction: str = "smile", size: int = 112, face: np.ndarray | None = None
) -> Sample:
    """A clip whose right mouth corner goes up and out by one pixel."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    bump = np.exp(-((x - 0.68 * size) ** 2 + (y - 0.72 * size) ** 2) / (0.09 * size) ** 2)
    flow = np.stack([0.8 * bump, -0.7 * bump])
    if face is None:
        face = np.stack([x * 2, y * 2, 255 - x - y], axis=-1).clip(0, 255).astype(np.uint8)
    frames = np.stack([face] * 6)
    return Sample(
        clip_id=clip_id, label="smile", prediction=prediction, onset=face, apex=face, flow=flow, frames=frames
    )
