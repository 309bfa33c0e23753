"""What the driver does while Ray Tune runs the folds: progress over all of them, and order after deaths."""

from __future__ import annotations

import sys
import time

from ray.tune import Callback

from workflows import engine
from workflows.progress import Progress

LOOK_SECONDS = 5.0


class FoldProgress(Callback):
    """Prints how far the folds are, and frees what dead trials hold.

    Args:
        folds: number of folds to train.
        epochs: epochs of each.
    """

    def __init__(self, folds: int, epochs: int):
        self._folds, self._epochs = folds, epochs
        self._progress = Progress("folds", folds * epochs, "epochs")
        self._at: dict[str, int] = {}
        self._complete = 0
        self._looked = time.monotonic()

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        """Count a trial's latest epoch."""
        fold = trial.config["fold"]
        self._at[fold] = result["epoch"]
        self._complete += result.get("complete", 0)
        if result.get("cause"):
            return
        note = f"{fold} loss {result['loss']:.3f}" if "loss" in result else f"{fold} scored"
        self._progress.update(sum(self._at.values()), f"{self._complete}/{self._folds} folds complete, {note}")

    def on_step_end(self, iteration, trials, **info) -> None:
        """Leave, where that is asked; free what a dead trial's Ray Train run holds, or its successor would wait for ever."""
        engine.leave_when_stored()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            engine.free_what_the_dead_hold()

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        """Say that a trial's process died. It is started again, and its fold goes on."""
        cause = str(trial.get_pickled_error() or "").strip().splitlines()[-1:]
        print(f"folds: the process of {trial.config['fold']} died: {' '.join(cause)}", file=sys.stderr, flush=True)

    def on_experiment_end(self, trials, **info) -> None:
        """End the line."""
        self._progress.close()
