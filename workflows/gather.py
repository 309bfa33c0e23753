"""From the folders of the folds to the run's prediction log and facts; from storage alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hsta import environment, storage
from hsta.evaluation.predictions import from_frame, read_predictions, write_predictions
from workflows import settings
from workflows.config import Config
from workflows.fold import FoldPlan, FoldSettings, done

PACKAGES = ("hsta-workflow", "torch", "ray", "numpy", "pyarrow", "pandas", "opencv-contrib-python-headless", "decord")


def gather(config: Config, shared: FoldSettings, plans: Sequence[FoldPlan], *, card: Mapping) -> None:
    """Write ``predictions.parquet`` of all finished folds and ``facts.json`` with what cannot be computed from it.

    Args:
        card: of the prepared set.
    """
    predictions, curves, seconds = [], {}, 0.0
    causes: dict[str, list[str]] = {}
    one_seed = len({plan.seed for plan in plans}) == 1
    for plan in plans:
        receipt = done(shared, plan)
        if receipt is None:
            url = shared.place(plan, "progress.json")
            progress = storage.read_json(url) if storage.exists(url) else {"state": "waiting"}
            if progress["state"] == "failed":
                cause = progress["cause"]
                causes.setdefault(plan.fold, []).append(cause if one_seed else f"seed {plan.seed}: {cause}")
            continue
        predictions += from_frame(read_predictions(shared.place(plan, "predictions.parquet")))
        history = storage.read_json(shared.place(plan, "history.json"))
        curves[plan.name] = {name: [epoch[name] for epoch in history] for name in ("epoch", "loss", "accuracy", "lr")}
        seconds += receipt["seconds"]
    write_predictions(
        storage.join(config.folder, "predictions.parquet"), predictions, config.classes, label_set=config.data.label_set
    )
    facts = {
        "data": {name: card[name] for name in ("manifest_sha256", "recipe", "recipe_hash", "versions")}
        | {"rejected": card["rejects"], "prepared": config.data.prepared, **_inspection(config.data.inspection)},
        "run": {
            "name": config.run.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": environment.commit(),
            "config_hash": config.science_hash(),
            "config": settings.plain(config),
            "wall_seconds": seconds,
            "gpu_hours": seconds * config.folds.gpus / 3600,
            "versions": environment.package_versions(*PACKAGES),
            "hardware": environment.hardware(),
            "prediction_log": storage.join(config.folder, "predictions.parquet"),
            "recompute": f"python -m workflows.evaluate --config {storage.join(config.folder, 'config.yaml')}",
            "determinism": "scoring takes the middle frame of each stretch and no dropout: the same model gives the same numbers",
        },
        "failures": {fold: "; ".join(found) for fold, found in causes.items()},
        "curves": curves,
    }
    storage.write_json(storage.join(config.folder, "facts.json"), facts)


def _inspection(url: str) -> dict:
    """What was left out of the manifest and what was corrected in it, where an inspection says so."""
    if not url:
        return {}
    inspection = storage.read_json(url)
    return {name: inspection[name] for name in ("exclusions", "corrections", "facts") if inspection.get(name)}
