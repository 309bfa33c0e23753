"""Folds under fire: the driver, a trial, a worker or the controller of Ray Train, a raylet or the object store is killed at
random moments, and the result is compared.

Each round kills one of them with SIGKILL while `workflows.loso` runs, runs the same command again where it ended, and compares
the predictions, byte for byte, with those of an undisturbed run. Rounds take turns at the executors: inline, trainer with one
worker, trainer with two. Where the raylet dies, and in every other round of what is not the store, Ray is a cluster of
two nodes that goes on from round to round; else each command starts its own. The store is Ceph's object gateway
(`make test-s3` installs it), killed whole and started again. At last the command is a job of that cluster, whose driver is
killed, then a job that is told to stop.

    .venv/bin/python -m benchmarks.fold_faults --rounds 20 --seed 0 --output results.json
    .venv/bin/python -m benchmarks.fold_faults --rounds 3 --victims driver trial worker
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch

from benchmarks import prepare_faults
from benchmarks.servers import ROOT, S3Server, TwoNodes, descendants, wait_until
from hsta import storage
from hsta.datasets import synthetic

VICTIMS = ("driver", "trial", "worker", "controller", "raylet", "store")
MARKS = {"trial": "ray::ImplicitFunc", "worker": "ray::RayTrainWorker", "controller": "ray::TrainController"}
EXECUTORS = (("inline", 1), ("trainer", 1), ("trainer", 2))
EPOCHS, EVERY = 40, 1
STARTS = 5  # times the command is given in a round, at most
TRAINING = (f"train.epochs={EPOCHS}", "train.batch_size=3", "train.warmup_epochs=1", f"folds.checkpoint_every={EVERY}")


def command(assignments: Sequence[str]) -> list[str]:
    """The command with settings, without the interpreter."""
    arguments = ["-m", "workflows.loso", "--config", "configs/demo.yaml"]
    for assignment in assignments:
        arguments += ["--set", assignment]
    return arguments


def settings(runs: str, name: str, prepared: Path | str, executor: str, workers: int, *more: str) -> list[str]:
    """Assignments for the command."""
    where = [f"data.prepared={prepared}", f"run.storage={runs}", f"run.name={name}"]
    return [*where, f"folds.executor={executor}", f"folds.workers={workers}", *TRAINING, *more]


def surroundings(log: Path) -> dict[str, str]:
    """The environment without what would lead Ray elsewhere; epochs are logged to ``log``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    ours = {"PYTHONPATH": str(ROOT / "benchmarks/epoch_log"), "HSTA_EPOCH_LOG": str(log), "OMP_NUM_THREADS": "1"}
    return inherited | ours | {"PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


def start(assignments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, *command(assignments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trained(log: Path, run: str) -> Counter[str]:
    """Epochs that every fold of a run has trained so far, all attempts together."""
    whole, _, _ = log.read_text().rpartition("\n") if log.exists() else ("", "", "")  # a line may be half written
    return Counter(fold for name, fold, _ in map(str.split, whole.splitlines()) if name == run)


def kill_during(
    process: subprocess.Popen,
    find: Callable[[], Sequence[int]],
    epochs: Callable[[], int],
    after: int,
    delay: float,
    chance: random.Random,
) -> int:
    """Kill one of the processes that ``find`` gives, ``delay`` seconds after ``epochs`` says ``after``.

    Returns:
        The epochs that had been trained then; -1 if the command ended first.
    """
    while process.poll() is None:
        if epochs() >= after and find():
            time.sleep(delay)
            if victims := sorted(find()):
                before = epochs()
                os.kill(chance.choice(victims), signal.SIGKILL)
                return before
        time.sleep(0.05)
    return -1


def verdict(folder: str, log: Path, run: str, wanted: bytes) -> dict:
    """What a run came to.

    Returns:
        ``complete``: every fold is; ``once_each``: there is one prediction for every clip; ``identical``: the predictions
        are ``wanted``; ``epochs_more``: what the fold that trained most did beyond its epochs, None where nothing was logged;
        ``attempts``: of each fold.
    """
    predictions = storage.read_bytes(f"{folder}/predictions.parquet")
    with tempfile.TemporaryFile() as file:
        file.write(predictions)
        clips = pq.read_table(file)["clip_id"].to_pylist()
    split, results = (storage.read_json(f"{folder}/{name}.json") for name in ("split", "results"))
    tested = [clip_id for fold in split["folds"] for _, clip_id in fold["test"]]
    names = sorted(f"{fold['name']}-seed0" for fold in split["folds"])
    counts = trained(log, run)
    return {
        "complete": results["folds"]["complete"] == results["folds"]["total"] == len(names),
        "once_each": sorted(clips) == sorted(tested) and len(set(clips)) == len(clips),
        "identical": predictions == wanted,
        "epochs_more": max((counts[name] - EPOCHS for name in names), default=None),
        "attempts": [storage.read_json(f"{folder}/folds/{name}/progress.json")["attempt"] for name in names],
    }


class Fire:
    """What the rounds share: clips, places, the log of epochs, a cluster and a store, both begun when first needed."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.log, self.chance = folder, folder / "epochs.log", random.Random(seed)
        self.prepared, self.environment = folder / "prepared", surroundings(folder / "epochs.log")
        self.cluster: TwoNodes | None = None
        self.store: S3Server | None = None
        self._wanted: dict[int, bytes] = {}

    def prepare(self, *, clips_per_class: int = 2) -> None:
        """Make and prepare three subjects' clips."""
        manifest = synthetic.make_demo(self.folder / "clips", subjects=3, clips_per_class=clips_per_class)
        prepare_faults.undisturbed(manifest, self.prepared)

    def wanted(self, workers: int) -> bytes:
        """The predictions of an undisturbed run. Several workers draw other random numbers than one."""
        if workers not in self._wanted:
            executor = "inline" if workers == 1 else "trainer"
            name = f"undisturbed-{workers}"
            process = start(
                settings(str(self.folder / "runs"), name, self.prepared, executor, workers), self.environment
            )
            output, _ = process.communicate(timeout=900)
            if process.returncode:
                raise SystemExit(f"the undisturbed run failed:\n{output}")
            self._wanted[workers] = (self.folder / "runs" / name / "predictions.parquet").read_bytes()
        return self._wanted[workers]

    def standing(self) -> TwoNodes:
        """The cluster."""
        if self.cluster is None:
            place = self.folder / "cluster"
            place.mkdir()
            self.cluster = TwoNodes(self.environment, place)
        return self.cluster

    def round(
        self, name: int | str, victim: str, executor: str, workers: int, *, standing: bool, share: float | None = None
    ) -> dict:
        """One kill, and what came of it. ``share`` of the epochs is trained before; below 0 the victim dies while it starts;
        None draws it."""
        wanted, run = self.wanted(workers), f"round-{name}"
        share = self.chance.uniform(-0.3, 0.95) if share is None else share
        delay = self.chance.uniform(0, 1) + (0 if victim in MARKS else max(0.0, -share) * 30)  # a start takes seconds
        runs, environment, cluster = str(self.folder / "runs"), self.environment, None
        if victim == "raylet" or standing:
            cluster = self.standing()
            environment = {**environment, "RAY_ADDRESS": cluster.address}
        if victim == "store":
            if self.store is None:
                self.store = S3Server(Path(tempfile.mkdtemp(dir=self.folder, prefix="s3-")), "runs")
                os.environ |= self.store.environment
            runs, environment = self.store.url, {**environment, **self.store.environment}
        assignments = settings(runs, run, self.prepared, executor, workers)
        began = time.monotonic()
        process = start(assignments, environment)

        def find() -> list[int]:
            if victim == "driver":
                return [process.pid]
            if victim == "raylet":
                return cluster.raylets()
            below = [cluster.head.pid, cluster.node.pid] if cluster else [process.pid]
            return [pid for parent in below for pid in descendants(parent, MARKS[victim])]

        after = int(max(0.0, share) * 3 * EPOCHS)

        def epochs() -> int:
            return sum(trained(self.log, run).values())

        if victim == "store":
            killed_at = self._outage(process, epochs, after, delay)
        else:
            killed_at = kill_during(process, find, epochs, after, delay, self.chance)
        if victim == "raylet" and killed_at >= 0:
            cluster.join()
        statuses, outputs = [], []
        while True:
            try:
                output, _ = process.communicate(timeout=420)
            except subprocess.TimeoutExpired:
                process.kill()
                output = process.communicate()[0] + "\nended by the benchmark after 420 s"
            statuses.append(process.returncode)
            outputs.append(output)
            if process.returncode == 0 or len(statuses) == STARTS:
                break
            process = start(assignments, environment)
        found = {
            "round": name,
            "victim": victim,
            "executor": f"{executor} x {workers}",
            "cluster": "standing" if cluster else "its own",
            "killed_at_epoch": killed_at,
            "statuses": statuses,
        }
        if statuses[-1] == 0:
            found |= verdict(f"{runs}/{run}", self.log, run, wanted)
        found |= {"seconds": round(time.monotonic() - began, 1)}
        return found if passed(found) else found | {"output": outputs}

    def _outage(self, process: subprocess.Popen, epochs: Callable[[], int], after: int, delay: float) -> int:
        while process.poll() is None and epochs() < after:
            time.sleep(0.05)
        time.sleep(delay)
        before = epochs() if process.poll() is None else -1
        self.store.kill()
        time.sleep(self.chance.uniform(1, 5))
        self.store.start()
        return before

    def close(self) -> None:
        """End what was begun."""
        if self.cluster:
            self.cluster.stop()
        if self.store:
            self.store.kill()


def jobs(fire: Fire) -> dict:
    """`ray job submit`, whose driver is killed; the same again; and one that `ray job stop` ends."""
    cluster, runs = fire.standing(), str(fire.folder / "runs")
    address = f"http://127.0.0.1:{cluster.ports['dashboard']}"

    def submit(assignments: Sequence[str], *options: str) -> subprocess.Popen:
        ray = [Path(sys.executable).parent / "ray", "job", "submit", "--address", address, "--working-dir", "."]
        return subprocess.Popen(
            [*ray, *options, "--", "python", *command(assignments)],
            cwd=ROOT,
            env=fire.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trains(run: str) -> None:
        def amid() -> bool:
            return any(EPOCHS // 4 <= count < EPOCHS // 2 for count in trained(fire.log, run).values())

        wait_until(amid, 240, f"a fold of {run} amid its epochs")

    assignments = settings(runs, "job", fire.prepared, "inline", 1)
    job = submit(assignments)
    trains("job")
    (driver,) = (
        pid for pid in descendants(cluster.head.pid, "workflows.loso") if "python" in os.readlink(f"/proc/{pid}/exe")
    )
    os.kill(driver, signal.SIGKILL)
    output, _ = job.communicate(timeout=120)
    again = submit(assignments)
    output, _ = again.communicate(timeout=420)
    found = {"killed": job.returncode, "again": again.returncode}
    if again.returncode == 0:
        found |= verdict(f"{runs}/job", fire.log, "job", fire.wanted(1))
    else:
        found["output"] = output

    # no checkpoint is due before the last epoch: what there is afterwards was written because the job was told to stop
    assignments = settings(runs, "stopped", fire.prepared, "inline", 1, f"folds.checkpoint_every={EPOCHS}")
    job = submit(assignments, "--submission-id", "stopped")
    trains("stopped")
    before = {name: count for name, count in trained(fire.log, "stopped").items() if count < EPOCHS}
    ray = [Path(sys.executable).parent / "ray", "job", "stop", "--address", address, "stopped"]
    subprocess.run(ray, check=False, env=fire.environment, capture_output=True, timeout=120)
    job.communicate(timeout=120)
    kept = {name: checkpoint_epoch(Path(runs, "stopped", "folds", name, "checkpoint.pt")) for name in before}
    again = submit(assignments)
    output, _ = again.communicate(timeout=420)
    stopped = {"stopped": job.returncode, "epochs_then": before, "epochs_kept": kept, "again": again.returncode}
    if again.returncode == 0:
        stopped |= verdict(f"{runs}/stopped", fire.log, "stopped", fire.wanted(1))
    else:
        stopped["output"] = output
    return {"killed": found, "stopped": stopped}


def checkpoint_epoch(path: Path) -> int | None:
    """The epochs that a checkpoint holds, None where there is none."""
    return torch.load(path, weights_only=True)["epoch"] if path.exists() else None


def passed(found: Mapping) -> bool:
    """Whether a round, or a job, ended as it must."""
    good = all(found.get(name) for name in ("complete", "once_each", "identical"))
    if "epochs_kept" in found:
        return good and all((found["epochs_kept"][name] or 0) >= count for name, count in found["epochs_then"].items())
    return good and 0 <= found["epochs_more"] <= EVERY


def table(rounds: Sequence[Mapping]) -> str:
    """The rounds, one a line."""
    names = ("round", "victim", "executor", "cluster", "killed_at_epoch", "statuses", "attempts")
    names += ("complete", "once_each", "identical", "epochs_more", "seconds")
    rows = [names, *([str(found.get(name, "-")).replace(", ", ",") for name in names] for found in rounds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main() -> int:
    """Run the rounds and the jobs, print a line each, then a table. Returns 0 if all ended as they must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--no-jobs", action="store_true", help="leave out `ray job submit`")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    victims = list(options.victims)
    if "store" in victims and S3Server.missing():
        print("no object gateway here: rounds of the store are left out; `make test-s3` installs it", file=sys.stderr)
        victims.remove("store")
    rounds, as_jobs = [], {}
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what was begun ends with this
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # the killed may leave who still writes
        fire = Fire(Path(name), options.seed)
        try:
            fire.prepare()
            for number in range(options.rounds):
                victim = victims[number % len(victims)]
                executors = EXECUTORS[1:] if victim in ("worker", "controller") else EXECUTORS
                turn = number // len(victims)
                executor, workers = executors[(turn + number % len(victims)) % len(executors)]
                standing = turn % 2 == 1 and victim != "store"
                rounds.append(fire.round(number, victim, executor, workers, standing=standing))
                print(json.dumps(rounds[-1]), flush=True)
            as_jobs = {} if options.no_jobs else jobs(fire)
        finally:
            fire.close()
    print(table(rounds), json.dumps({"jobs": as_jobs}, indent=2), sep="\n\n")
    if options.output:
        options.output.write_text(json.dumps({"rounds": rounds, "jobs": as_jobs}, indent=2) + "\n")
    return 0 if all(map(passed, [*rounds, *as_jobs.values()])) else 1


if __name__ == "__main__":
    raise SystemExit(main())
