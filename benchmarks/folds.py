"""What a fold costs beside its training: 30 folds of a tiny model on two slots, in each executor and in the naive form.

The naive form is what one writes first: a Ray Tune trial a fold, each in a fresh process, which starts a `TorchTrainer` of its
own. All forms train the same folds with the same function, in one run, on one local Ray. Overhead is the wall time of all folds,
less the sum of their pure training seconds over the slots, a fold; training with Ray's own start is given too. With ``--s3``
the prepared set lies on a real S3 server (Ceph, see benchmarks/servers.py), and the bytes read from it are counted on the way.

    .venv/bin/python -m benchmarks.folds --folds 30 --naive 10 --s3 --json folds.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.clip_sets import multiply
from benchmarks.servers import ROOT, FaultProxy, S3Server, client_environment
from hsta import storage
from hsta.datasets import synthetic
from workflows import engine, folds, prepare
from workflows.config import Config, load
from workflows.fold import FoldPlan, FoldSettings, learn
from workflows.prepared import PreparedSet, load_parts, open_set

TINY = (
    "vision.size=64",
    "vision.stabilise=none",
    "model.image_size=64",
    "train.epochs=3",
    "train.batch_size=8",
    "train.warmup_epochs=1",
    "folds.checkpoint_every=2",
)
GOALS = {"inline": 0.5, "trainer": 5.0}


def plans_of(prepared: PreparedSet, count: int) -> list[FoldPlan]:
    """Leave one subject out, the first ``count`` folds."""
    by_subject: dict[str, list] = {}
    for clip in prepared.clips:
        by_subject.setdefault(clip.subject, []).append((clip.dataset, clip.clip_id))
    everyone = {key for keys in by_subject.values() for key in keys}
    return [
        FoldPlan(fold=f"loso-{subject}", seed=0, train=tuple(sorted(everyone - set(keys))), test=tuple(keys))
        for subject, keys in sorted(by_subject.items())[:count]
    ]


def measure(name: str, config: Config, plans: Sequence[FoldPlan], run: Callable[[FoldSettings], None]) -> dict:
    """Run the folds; what they took."""
    shared = folds.fold_settings(config, [open_set(config.data.prepared)])
    began = time.monotonic()
    with engine.ray_session():
        joined = time.monotonic()
        run(shared)
        done = time.monotonic()
        import ray

        slots = int(ray.cluster_resources()["CPU"])
    receipts = [storage.read_json(shared.place(plan, "done.json")) for plan in plans]
    training = sum(receipt["train_seconds"] for receipt in receipts)
    ideal = training / slots
    found = {
        "form": name,
        "folds": len(plans),
        "slots": slots,
        "wall": done - joined,
        "ray_start": joined - began,
        "training": training,
        "overhead_per_fold": (done - joined - ideal) / len(plans),
        "overhead_per_fold_with_ray": (done - began - ideal) / len(plans),
    }
    print(json.dumps(found), flush=True)
    return found


def naive(config: Config, prepared: PreparedSet, plans: Sequence[FoldPlan]) -> Callable[[FoldSettings], None]:
    """A trial and a `TorchTrainer` for every fold, nothing kept."""

    def run(shared: FoldSettings) -> None:
        from ray import tune

        data = load_parts([prepared], image_size=config.model.image_size, label_set=config.data.label_set)
        trainable = tune.with_parameters(_naive_fold, settings=shared, plans={p.name: p for p in plans}, data=data)
        with tempfile.TemporaryDirectory() as folder:
            tune.Tuner(
                tune.with_resources(trainable, {"node:__internal_head__": 0.001}),
                param_space={"fold": tune.grid_search([plan.name for plan in plans])},
                tune_config=tune.TuneConfig(max_concurrent_trials=2),
                run_config=tune.RunConfig(name="naive", storage_path=folder, verbose=0),
            ).fit()

    return run


def _naive_fold(config: dict, *, settings: FoldSettings, plans: dict, data: dict) -> None:
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _naive_worker,
        train_loop_config={"settings": settings, "plan": plans[config["fold"]], "parts": list(data.values())},
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(
            name=f"naive-{config['fold']}", storage_path=tempfile.gettempdir(), callbacks=[TuneReportCallback()]
        ),
    ).fit()
    tune.report({"epoch": settings.epochs})


def _naive_worker(config: dict) -> None:
    from ray import train

    from workflows.executors import _fetcher

    learn(config["settings"], config["plan"], _fetcher(config["parts"]), train.report)


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=30)
    parser.add_argument(
        "--naive", type=int, default=10, help="folds of the naive form, which takes long; 0 leaves it out"
    )
    parser.add_argument("--s3", action="store_true", help="read the prepared set from an S3 server started here")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    rows: list[Sequence[object]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        few = synthetic.make_demo(folder / "few", subjects=3, clips_per_class=1)
        manifest = multiply(few, folder / "many", clips=2 * options.folds, subjects=options.folds)
        where, counters = str(folder / "prepared"), None
        if options.s3:
            where, counters = _counted_store(stack, folder)
        base = [f"data.manifest={manifest}", f"data.prepared={where}", f"run.storage={folder}/runs", *TINY]
        config = load(str(ROOT / "configs/demo.yaml"), base)
        if prepare.run(config):
            raise SystemExit("the clips could not be prepared")
        prepared = open_set(config.data.prepared)
        size = sum(shard["bytes"] for shard in prepared.card["shards"])
        plans = plans_of(prepared, options.folds)
        found = []
        forms = [("inline", plans), ("trainer", plans), ("naive", plans[: options.naive])]
        for name, some in forms:
            if not some:
                continue
            one = replace(
                config,
                run=replace(config.run, name=name),
                folds=replace(config.folds, executor=name if name in GOALS else "trainer"),
            )
            run = (
                naive(one, prepared, some)
                if name == "naive"
                else lambda shared: folds.run_folds(one, shared, [prepared], some)
            )
            before = counters() if counters else 0
            found.append(measure(name, one, some, run))
            goal = f"<= {GOALS[name]}" if name in GOALS else ""
            rows.append((f"{name}, seconds a fold beside training", f"{found[-1]['overhead_per_fold']:.2f}", goal))
            rows.append((f"{name}, with the start of Ray", f"{found[-1]['overhead_per_fold_with_ray']:.2f}", ""))
            if counters:
                found[-1]["read"] = (counters() - before) / size
                rows.append((f"{name}, bytes read / bytes of the set", f"{found[-1]['read']:.2f}", "1, not the folds"))
    for row in rows:
        print(f"{row[0]:45} {row[1]:>8}  {row[2]}")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _counted_store(stack: ExitStack, folder: Path) -> tuple[str, Callable[[], int]]:
    """A bucket behind a proxy, and what counts the bytes that were read through it."""
    server = stack.enter_context(S3Server(folder / "s3", "bench"))
    proxy = stack.enter_context(FaultProxy(server.environment["AWS_ENDPOINT_URL_S3"]))
    os.environ |= client_environment(proxy.endpoint)
    return f"{server.url}/prepared", lambda: proxy.counters.get("bytes", 0)


if __name__ == "__main__":
    raise SystemExit(main())
