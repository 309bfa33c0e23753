"""How far a run is: folds done, running, interrupted, failed and waiting, and how long still; from its files alone.

Works wherever the run's storage can be read, without a cluster. A running fold that has not been heard of for 90 seconds
(or three epochs, if they are longer) counts as interrupted: where nothing runs, the run's own command, given again, goes on.

examples:
  python -m workflows.status --run runs/demo
  python -m workflows.status --run s3://lab/runs/casme3 --watch 30
  python -m workflows.status --run s3://lab/runs/casme3 --json

exit status: 0 all folds are done; 1 some have failed; 2 there is no such run; 3 some are not done, none has failed
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping

from hsta import storage
from hsta.errors import InputError
from workflows.command import answer
from workflows.progress import clock

STATES = ("done", "running", "interrupted", "failed", "waiting")
SILENCE = 90.0  # seconds without a word after which a fold does not count as running
_SAMPLE = 16  # finished folds that are read to learn what an epoch takes


def read_status(url: str, *, now: float | None = None) -> dict:
    """The state of a run: its counts by state, its folds with their last figures, and the seconds left.

    Takes one listing and one small file for each fold that has begun and is not done.

    Args:
        url: the run's folder.
        now: unix seconds.

    Returns:
        "run", "name", "time", "counts" (state: folds), "eta_seconds" (None where nothing runs or no epoch has ended), "slots",
        and "folds": for each, in the run's order, "fold" and "state", and what its ``progress.json`` says.

    Raises:
        InputError: there is no run, or the storage cannot be read.
    """
    now = time.time() if now is None else now
    folder = storage.absolute(url).rstrip("/")
    try:
        run = storage.read_json(storage.join(folder, "run.json"))
    except FileNotFoundError:
        raise InputError(
            "there is no run here: no run.json",
            where=folder,
            cure="give the folder <run.storage>/<run.name> of a run that was started",
        ) from None
    there = set(storage.find(storage.join(folder, "folds")))
    finished = [name for name in run["folds"] if f"{name}/done.json" in there]
    begun = [name for name in run["folds"] if f"{name}/progress.json" in there and f"{name}/done.json" not in there]
    sample = finished[-_SAMPLE:]
    contents = _read(
        folder, [f"folds/{name}/progress.json" for name in begun] + [f"folds/{name}/done.json" for name in sample]
    )
    progress, receipts = dict(zip(begun, contents)), contents[len(begun) :]
    folds = []
    for name in run["folds"]:
        state = "done" if f"{name}/done.json" in there else _state(progress.get(name), run["submitted"], now)
        folds.append({**progress.get(name, {}), "fold": name, "state": state})
    counts = Counter(fold["state"] for fold in folds)
    return {
        "run": folder,
        "name": run["name"],
        "time": now,
        "counts": {state: counts[state] for state in STATES},
        "eta_seconds": _seconds_left(folds, receipts, run, now),
        "slots": run["slots"],
        "folds": folds,
    }


def _read(folder: str, names: list[str]) -> list[dict]:
    """JSON files of a folder, asked for side by side. Without ``max_concurrency=1`` s3fs asks for each size first."""
    fs, path = storage.filesystem(folder)
    paths = [f"{path}/{name}" for name in names]
    found = storage.patiently(folder, lambda _: fs.cat(paths, max_concurrency=1)) if paths else {}
    return [json.loads(found[path]) for path in paths]


def _state(progress: Mapping | None, submitted: float, now: float) -> str:
    """The state of a fold that is not done."""
    if progress is None or (progress["state"] == "failed" and progress["updated"] < submitted):
        return "waiting"  # what failed in an earlier submission is tried again in this one
    silence = max(SILENCE, 3 * (progress.get("seconds_per_epoch") or 0))
    if progress["state"] == "running" and now - progress["updated"] > silence:
        return "interrupted"
    return progress["state"]


def _seconds_left(folds: list[dict], receipts: list[dict], run: Mapping, now: float) -> float | None:
    """Work that is left over the folds at a time, and at least what the longest fold needs; failed folds are not counted."""
    epochs = run["epochs"]
    known = [fold["seconds_per_epoch"] for fold in folds if fold.get("seconds_per_epoch")]
    known += [receipt["train_seconds"] / receipt["epochs"] for receipt in receipts if receipt["epochs"]]
    left = [
        (epochs - fold.get("epoch", 0)) * (fold.get("seconds_per_epoch") or sum(known) / len(known))
        - (now - fold["updated"] if fold["state"] == "running" else 0)
        for fold in folds
        if known and fold["state"] in ("running", "interrupted", "waiting")
    ]
    if not left or not any(fold["state"] == "running" for fold in folds):
        return None
    return max(0.0, sum(left) / run["slots"], *left)


def text(status: Mapping) -> str:
    """A status for people: a line for the run, and one for each fold that runs, was interrupted or has failed."""
    counts, eta = status["counts"], status["eta_seconds"]
    parts = [f"{counts['done']} of {len(status['folds'])} folds done"]
    parts += [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    lines = [f"{status['name']}: {', '.join(parts)}" + (f"; ETA {clock(eta)}" if eta is not None else "")]
    width = max(len(fold["fold"]) for fold in status["folds"])
    for fold in status["folds"]:
        if fold["state"] not in ("done", "waiting"):
            said = ", ".join(_said(fold, status["time"]))
            lines.append(
                f"  {fold['state']:<11}  {fold['fold']:<{width}}  epoch {fold.get('epoch', 0)}/{fold['epochs']}, {said}"
            )
    if counts["done"] + counts["failed"] < len(status["folds"]) and not counts["running"]:
        lines.append("nothing runs at the moment; if no driver is at work, the run's own command goes on from here")
    return "\n".join(lines)


def _said(fold: Mapping, now: float) -> list[str]:
    if fold["state"] == "failed":
        return [" ".join(str(fold["cause"]).split())]
    figures = fold["figures"] or {}
    said = [f"{name} {figures[name]:.3f}" for name in ("loss", "accuracy", "validation_uf1") if name in figures]
    said += [f"{fold['seconds_per_epoch']:.2g} s an epoch"] if fold["seconds_per_epoch"] else []
    said += [f"attempt {fold['attempt']}"] if fold["attempt"] > 1 else []
    heard = f", not heard of for {clock(now - fold['updated'])}" if fold["state"] == "interrupted" else ""
    return [*said, f"on {fold['host']}{heard}"]


def _exit_status(counts: Mapping[str, int]) -> int:
    if counts["failed"]:
        return 1
    return 3 if any(counts[state] for state in STATES if state != "done") else 0


def run(options: argparse.Namespace) -> int:
    """Print the status, with ``--watch`` until no fold is left to train. Returns the exit status."""
    while True:
        status = read_status(options.run)
        if options.watch and sys.stdout.isatty() and not options.json:
            print("\x1b[H\x1b[2J", end="")
        print(json.dumps(status) if options.json else text(status), flush=True)
        if not options.watch or status["counts"]["done"] + status["counts"]["failed"] == len(status["folds"]):
            return _exit_status(status["counts"])
        time.sleep(options.watch)


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run the command."""
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m workflows.status",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--run", required=True, metavar="URL", help="the run's folder, path or URL: <run.storage>/<run.name>"
    )
    parser.add_argument("--json", action="store_true", help="print everything that is known, one line of JSON")
    parser.add_argument(
        "--watch", type=float, default=0.0, metavar="SECONDS", help="say it again every so many seconds"
    )
    options = parser.parse_args(arguments)
    return answer(lambda: run(options))


if __name__ == "__main__":
    raise SystemExit(main())
