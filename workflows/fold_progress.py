"""Progress over all folds, from the epochs that Ray Tune's trials report."""

from __future__ import annotations

from ray.tune import Callback

from workflows.progress import Progress


class FoldProgress(Callback):
    """Prints how far the folds are.

    Args:
        folds: number of folds to train.
        epochs: epochs of each.
    """

    def __init__(self, folds: int, epochs: int):
        self._folds, self._epochs = folds, epochs
        self._progress = Progress("folds", folds * epochs, "epochs")
        self._at: dict[str, int] = {}
        self._complete = 0

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        """Count a trial's latest epoch."""
        fold = trial.config["fold"]
        self._at[fold] = result["epoch"]
        self._complete += result.get("complete", 0)
        note = f"{fold} loss {result['loss']:.3f}" if "loss" in result else f"{fold} scored"
        self._progress.update(sum(self._at.values()), f"{self._complete}/{self._folds} folds complete, {note}")

    def on_experiment_end(self, trials, **info) -> None:
        """End the line."""
        self._progress.close()
