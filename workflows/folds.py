"""Folds run side by side by Ray Tune, for `workflows.loso` and `workflows.train`. What is done stays done."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from hsta import storage
from hsta.errors import InputError
from workflows import config as configuration
from workflows import engine, preflight, tracking
from workflows.config import Config
from workflows.executors import run_fold
from workflows.fold import FoldPlan, FoldSettings, done
from workflows.keeper import write_failure
from workflows.prepared import PreparedSet, load_parts

DEATHS = 20  # of one fold's processes, after which Ray Tune gives it up; `workflows.fold` does so sooner where it gets nowhere


def fold_settings(config: Config, sets: Sequence[PreparedSet]) -> FoldSettings:
    """What the folds of a run share."""
    return FoldSettings(
        folder=config.folder,
        science_hash=_science_hash(config, sets),
        model=config.model,
        recipe=config.train,
        pretrain=config.pretrain_recipe,
        classes=config.classes,
        shuffle_labels=config.protocol.shuffle_labels,
        checkpoint_every=config.folds.checkpoint_every,
        workers=config.folds.workers,
        cpus=config.folds.cpus,
        gpus=config.folds.gpus,
        run=config.run.name,
        submission=str(time.time_ns()),
        tracking=config.tracking,
    )


def claim(config: Config) -> None:
    """Save the resolved configuration, or refuse a run folder that holds another one's results."""
    storage.ensure_writable(config.folder)
    url = storage.join(config.folder, "config.yaml")
    if storage.exists(url):
        changed = _differences(configuration.load(url).science(), config.science())
        if changed:
            raise InputError(
                f"the run '{config.run.name}' was started with other settings: {'; '.join(changed)}",
                where=url,
                cure="give this run a name of its own with --set run.name=..., or delete the folder",
            )
    configuration.save(config, url)


def run_folds(config: Config, shared: FoldSettings, sets: Sequence[PreparedSet], plans: Sequence[FoldPlan]) -> None:
    """Train and score the folds that are not done, the largest first. What becomes of each stands in its folder."""
    tracking.check(config.tracking)
    receipts = [done(shared, plan) for plan in plans]
    pending = [plan for plan, receipt in zip(plans, receipts) if receipt is None]
    print(f"folds: {len(plans)} in all, {len(plans) - len(pending)} done -> {config.folder}", flush=True)
    if not pending:
        return
    pending.sort(key=lambda plan: -len(plan.learnt_from))
    known = [receipt["train_seconds"] for receipt in receipts if receipt]
    with engine.ray_session():
        import ray

        freed = engine.free_what_the_dead_hold()
        if freed:
            print(f"folds: freed {freed} placement groups that dead jobs held", flush=True)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        how = preflight.check(config, sets, pending, nodes, sum(known) / len(known) if known else None)
        print("\n".join(how.lines), flush=True)
        facts = {
            "name": config.run.name,
            "folds": [plan.name for plan in plans],
            "epochs": shared.epochs,
            "slots": how.slots,
            "executor": how.executor,
            "workers": shared.workers,
            "submitted": time.time(),
            "config_hash": config.science_hash(),
        }
        storage.write_json(storage.join(config.folder, "run.json"), facts)
        with engine.checkpoints_on_sigterm():
            _tune(config, shared, sets, pending, how)


def _tune(
    config: Config,
    shared: FoldSettings,
    sets: Sequence[PreparedSet],
    pending: Sequence[FoldPlan],
    how: preflight.Preflight,
) -> None:
    from ray import tune

    from workflows.fold_progress import FoldProgress

    if how.streams:
        from workflows.streaming import stored_clips

        data = stored_clips(sets, image_size=config.model.image_size, label_set=config.data.label_set)
    else:
        data = load_parts(sets, image_size=config.model.image_size, label_set=config.data.label_set)
    plans = {plan.name: plan for plan in pending}
    trainable = tune.with_parameters(run_fold, settings=shared, plans=plans, data=data, executor=how.executor)
    if how.executor == "inline":
        resources = {"cpu": shared.cpus, **({"gpu": shared.gpus} if shared.gpus else {})}
    else:
        resources = {"node:__internal_head__": 0.001}  # the trial only waits; its workers ask for the CPUs
    # What Ray Tune writes is not needed to go on: folds keep their own checkpoints. So it stays on this machine.
    with tempfile.TemporaryDirectory(prefix="hsta-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={"fold": tune.grid_search(list(plans))},
            tune_config=tune.TuneConfig(max_concurrent_trials=how.slots, reuse_actors=True),
            run_config=tune.RunConfig(
                name="folds",
                storage_path=folder,
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                callbacks=[FoldProgress(len(pending), shared.epochs)],
                verbose=0,
            ),
        )
        results = tuner.fit()
    for result in results:
        plan = plans[result.config["fold"]]
        cause = (result.metrics or {}).get("cause")
        if result.error:
            cause = f"its process died: {str(result.error).strip().splitlines()[-1]}"
            facts = {"fold": plan.fold, "seed": plan.seed, "epoch": 0, "epochs": shared.epochs}
            facts |= {"submission": shared.submission, "began_at": 0, "attempt": 1, "fruitless": 0}
            write_failure(shared.place(plan, "progress.json"), facts, cause)
        if cause:
            print(f"failed: fold {plan.name}: {cause}", file=sys.stderr, flush=True)


def _science_hash(config: Config, sets: Sequence[PreparedSet]) -> str:
    """Hash of all that a fold's numbers follow from: the settings and the content of the prepared shards."""
    content = [config.science_hash(), *([shard["sha256"] for shard in prepared.card["shards"]] for prepared in sets)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _differences(before: Mapping, now: Mapping, path: str = "") -> list[str]:
    found = []
    for key in {**before, **now}:
        name = f"{path}{key}"
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, name + ".")
        elif old != new:
            found.append(f"{name}: {old} -> {new}")
    return found
