"""Train and score every fold, then assemble the report: Ray Tune runs the folds side by side.

Divides the prepared clips of data.prepared by the protocol (leave one subject out by default), audits the division for
leakage, and trains one model a fold. A held-out subject's clips never reach the training function; they are scored once, after
the last epoch. Everything is kept in <run.storage>/<run.name>; the same command again goes on where it stopped.

examples:
  python -m workflows.loso --config configs/demo.yaml
  python -m workflows.loso --config configs/demo.yaml --set run.name=shuffled --set protocol.shuffle_labels=true
  ray job submit --working-dir . -- python -m workflows.loso --config my.yaml

exit status: 0 all folds are complete; 1 some are not (no headline is reported); 2 bad input, with the cure
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence

from hsta import storage
from hsta.datasets.megc2019 import organisers_keys
from hsta.errors import InputError
from hsta.evaluation import audit as auditing
from hsta.evaluation import splits
from workflows import command, engine, evaluate, report
from workflows import config as configuration
from workflows.config import Config
from workflows.fold import FoldPlan, FoldSettings, done, run_fold
from workflows.gather import gather
from workflows.prepared import PreparedSet, load_parts, open_set


def run(config: Config) -> int:
    """Run the folds that are not done, then evaluate and report. Returns the exit status."""
    prepared = open_set(config.data.prepared)
    extra = open_set(config.pretrain.prepared) if config.pretrain else None
    storage.ensure_writable(config.folder)
    _claim(config)
    split = _split(config, prepared, extra)
    plans = [
        FoldPlan(
            fold=fold.name, seed=seed, train=fold.train, test=fold.test, validation=fold.validation, extra=fold.extra
        )
        for seed in config.protocol.seeds
        for fold in split.folds
    ]
    sets = [prepared, extra] if extra else [prepared]
    shared = FoldSettings(
        folder=config.folder,
        science_hash=_science_hash(config, sets),
        model=config.model,
        recipe=config.train,
        pretrain=config.pretrain_recipe,
        classes=config.classes,
        shuffle_labels=config.protocol.shuffle_labels,
        checkpoint_every=config.folds.checkpoint_every,
        cpus=config.folds.cpus,
        gpus=config.folds.gpus,
    )
    pending = [plan for plan in plans if done(shared, plan) is None]
    pending.sort(key=lambda plan: -len(plan.learnt_from))
    print(f"folds: {len(plans)} in all, {len(plans) - len(pending)} done -> {config.folder}", flush=True)
    failures: dict[str, str] = {}
    if pending:
        with engine.ray_session():
            failures = _train(config, shared, sets, pending)
    gather(config, shared, plans, card=prepared.card, failures=failures)
    status = evaluate.run(config)
    report.run(config)
    return status


def _split(config: Config, prepared: PreparedSet, extra: PreparedSet | None) -> splits.Split:
    """Divide the clips and audit the division. Raises InputError, naming the clips, on any leak."""
    protocol, more = config.protocol, extra.clips if extra else ()
    split = splits.make_split(
        prepared.clips,
        protocol.name,
        label_set=config.data.label_set,
        test_subjects=protocol.test_subjects,
        organisers_list=organisers_keys(protocol.organisers_list) if protocol.organisers_list else (),
        validation_subjects=protocol.validation_subjects,
        extra=more,
    )
    content = {**prepared.content, **(extra.content if extra else {})}
    leakage = auditing.audit(split, prepared.clips, content_hashes=content, extra=more)
    print(leakage.summary(), flush=True)
    leakage.raise_on_failure()
    split.save(storage.join(config.folder, "split.json"))
    storage.write_json(storage.join(config.folder, "audit.json"), leakage.to_dict())
    return split


def _science_hash(config: Config, sets: Sequence[PreparedSet]) -> str:
    """Hash of all that a fold's numbers follow from: the settings and the content of the prepared shards."""
    content = [config.science_hash(), *([shard["sha256"] for shard in prepared.card["shards"]] for prepared in sets)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _claim(config: Config) -> None:
    """Save the resolved configuration, or refuse a run folder that holds another one's results."""
    url = storage.join(config.folder, "config.yaml")
    if storage.exists(url):
        before, now = configuration.load(url).science(), config.science()
        changed = _differences(before, now)
        if changed:
            raise InputError(
                f"the run '{config.run.name}' was started with other settings: {'; '.join(changed)}",
                where=url,
                cure="give this run a name of its own with --set run.name=..., or delete the folder",
            )
    configuration.save(config, url)


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


def _train(
    config: Config, shared: FoldSettings, sets: Sequence[PreparedSet], pending: Sequence[FoldPlan]
) -> dict[str, str]:
    """Run the pending folds. Returns the cause of each that failed, by fold name."""
    from ray import tune

    from workflows.fold_progress import FoldProgress

    executor = _executor(config)
    slots = _slots(config, executor)
    data = load_parts(sets, image_size=config.model.image_size, label_set=config.data.label_set)
    each = f"{config.folds.cpus} CPU and {config.folds.gpus:g} GPU each"
    print(f"folds: {len(pending)} to train, {slots} at a time ({executor}), {each}", flush=True)
    epochs = config.train.epochs + (config.pretrain.epochs if config.pretrain else 0)
    plans = {plan.name: plan for plan in pending}
    trainable = tune.with_parameters(run_fold, settings=shared, plans=plans, data=data, executor=executor)
    if executor == "inline":
        resources = {"cpu": config.folds.cpus, **({"gpu": config.folds.gpus} if config.folds.gpus else {})}
    else:
        resources = {"node:__internal_head__": 0.001}  # the trial only waits; its worker asks for the CPUs
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"fold": tune.grid_search(list(plans))},
        tune_config=tune.TuneConfig(max_concurrent_trials=slots, reuse_actors=executor == "inline"),
        run_config=tune.RunConfig(
            name=f"tune-{int(time.time())}",
            storage_path=storage.join(config.folder, ".tune"),
            callbacks=[FoldProgress(len(pending), epochs)],
            verbose=0,
        ),
    )
    results = tuner.fit()
    failures = {}
    for result in results:
        if result.error:
            cause = str(result.error).strip().splitlines()[-1]
            plan = plans[result.config["fold"]]
            failures[plan.fold] = cause
            print(f"failed: fold {plan.name}: {cause}", file=sys.stderr, flush=True)
    fs, path = storage.filesystem(storage.join(config.folder, ".tune"))
    fs.rm(path, recursive=True)
    return failures


def _executor(config: Config) -> str:
    """``auto`` is ``inline``: every fold has one worker, and a Ray Train run of its own would cost it ten seconds of start-up."""
    return "inline" if config.folds.executor == "auto" else config.folds.executor


def _slots(config: Config, executor: str) -> int:
    """Folds at a time. Raises InputError when not even one fits, which would wait for ever."""
    import ray

    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0), total.get("GPU", 0)
    fits = cpus // config.folds.cpus
    if config.folds.gpus:
        fits = min(fits, gpus // config.folds.gpus)
    if fits < 1:
        raise InputError(
            f"a fold asks for {config.folds.cpus} CPU and {config.folds.gpus:g} GPU; the cluster has {cpus:g} and {gpus:g}",
            where="folds.cpus, folds.gpus",
            cure="ask for less, or join a larger cluster",
        )
    return int(fits)


if __name__ == "__main__":
    raise SystemExit(command.main("loso", __doc__, run))
