"""Clips and prediction logs made for tests."""

from __future__ import annotations

import numpy as np

from hsta.records import Clip, Prediction

CLASSES = ("smile", "brow-raise", "frown")
LABEL_SET = "demo3"


def make_clip(clip_id: str, *, subject: str = "s01", dataset: str = "demo", label: str = "smile", **changes) -> Clip:
    facts = {"recording": clip_id, "path": f"/clips/{dataset}/{clip_id}", "onset": 1, "apex": 5, "offset": 9}
    return Clip(clip_id=clip_id, dataset=dataset, subject=subject, labels={LABEL_SET: label}, **(facts | changes))


def make_clips(subjects: int = 4, each: int = 3, *, dataset: str = "demo") -> list[Clip]:
    """``each`` clips of every class for each subject."""
    return [
        make_clip(f"{dataset}-s{s:02d}-{label}-{k}", subject=f"s{s:02d}", dataset=dataset, label=label)
        for s in range(1, subjects + 1)
        for label in CLASSES
        for k in range(each)
    ]


def make_prediction(
    clip_id: str,
    truth: str,
    prediction: str,
    *,
    subject: str = "s01",
    dataset: str = "demo",
    seed: int = 0,
    fold: str = "",
    classes=CLASSES,
) -> Prediction:
    rest = 0.4 / (len(classes) - 1)
    return Prediction(
        clip_id=clip_id,
        dataset=dataset,
        subject=subject,
        fold=fold or f"loso-{dataset}-{subject}",
        seed=seed,
        truth=truth,
        prediction=prediction,
        probabilities=tuple(0.6 if name == prediction else rest for name in classes),
    )


def predict_split(split, clips, *, seed: int = 0, skill: float = 0.8) -> list[Prediction]:
    """A prediction for every test clip of a split, right with probability ``skill``."""
    known = {(clip.dataset, clip.clip_id): clip for clip in clips}
    rng = np.random.default_rng(seed)
    log = []
    for fold in split.folds:
        for key in fold.test:
            clip = known[key]
            truth = clip.labels[LABEL_SET]
            wrong = [name for name in CLASSES if name != truth]
            prediction = truth if rng.random() < skill else wrong[rng.integers(len(wrong))]
            log.append(
                make_prediction(
                    clip.clip_id,
                    truth,
                    prediction,
                    subject=clip.subject,
                    dataset=clip.dataset,
                    seed=seed,
                    fold=fold.name,
                )
            )
    return log


def worked_example() -> list[Prediction]:
    """The protocol's example: subject A 0,0,1 | 0,0,1; B 0,0,2 | 0,2,2; C 1,0 | 0,0 over classes 0, 1, 2."""
    answers = {"A": ("001", "001"), "B": ("002", "022"), "C": ("10", "00")}
    return [
        make_prediction(f"{subject}{k}", truth, prediction, subject=subject, classes=("0", "1", "2"))
        for subject, (truths, predictions) in answers.items()
        for k, (truth, prediction) in enumerate(zip(truths, predictions, strict=True))
    ]
