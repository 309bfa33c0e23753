"""Preparation under fire: the driver, an actor or the raylet is killed at random moments, and the result is compared.

Each round kills one of them with SIGKILL while the command runs, runs the command again where it ended, and compares
every file of the prepared set, byte for byte, with that of an undisturbed run. At the end 30 of 1,000 clips are damaged
in ten ways.

    .venv/bin/python -m benchmarks.prepare_faults --rounds 20
    .venv/bin/python -m benchmarks.prepare_faults --rounds 3 --clips 60 --damaged 66
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
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.clip_sets import WAYS, damage, multiply
from benchmarks.servers import ROOT, descendants
from hsta.datasets import synthetic

VICTIMS = ("driver", "actor", "raylet")
MARKS = {"actor": "ShardMaker", "raylet": "raylet/raylet"}


def command(assignments: Sequence[str]) -> list[str]:
    """The prepare command with settings."""
    arguments = [sys.executable, "-m", "workflows.prepare", "--config", "configs/demo.yaml"]
    for assignment in assignments:
        arguments += ["--set", assignment]
    return arguments


def start(assignments: Sequence[str], **environment: str) -> subprocess.Popen:
    """Start the command as a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        command(assignments),
        cwd=ROOT,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_during(assignments: Sequence[str], victim: str, prepared: Path, moment: float) -> tuple[int, str, set[str]]:
    """Run the command and kill ``victim`` when a share ``moment`` of the shards is done.

    Returns:
        exit status of the command, its output, and the shards that were done when the victim died.
    """
    process = start(assignments)
    total = 0
    while process.poll() is None:
        if not total and (prepared / "plan.json").exists():
            line = process.stdout.readline()
            total = int(line.split(" shards")[0].split()[-1]) if " shards -> " in line else 0
        done = receipts(prepared)
        if total and done and len(done) >= moment * total:
            target = process.pid if victim == "driver" else next(descendants(process.pid, MARKS[victim]), None)
            if target is not None:
                os.kill(target, signal.SIGKILL)
                break
        time.sleep(0.02)
    done = receipts(prepared)
    try:
        output, _ = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output, done


def receipts(prepared: Path) -> set[str]:
    """Names of the shards that are done."""
    return {path.stem for path in prepared.glob("*/*/*.json")}


def content(prepared: Path) -> dict[str, bytes]:
    """Every file of a prepared set but the account of the last run."""
    files = {path.relative_to(prepared).as_posix(): path for path in prepared.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "run-info.json"}


def undisturbed(manifest: Path, prepared: Path, *more: str) -> dict[str, bytes]:
    """Prepare without any fault. Returns the content."""
    process = start(settings(manifest, prepared, *more))
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the undisturbed run failed:\n{output}")
    return content(prepared)


def settings(manifest: Path, prepared: Path, *more: str) -> list[str]:
    """Assignments for the command."""
    return [f"data.manifest={manifest}", f"data.prepared={prepared}", "prepare.clips_per_shard=2", *more]


def round_of(manifest: Path, prepared: Path, victim: str, moment: float, wanted: dict[str, bytes]) -> dict:
    """One kill, and what came of it."""
    assignments = settings(manifest, prepared)
    began = time.monotonic()
    status, output, done = kill_during(assignments, victim, prepared, moment)
    before = {path.name: path.stat().st_mtime_ns for path in prepared.glob("*/*/*.json") if path.stem in done}
    again = None
    if status != 0:
        process = start(assignments)
        output, _ = process.communicate(timeout=600)
        again = process.returncode
    kept = {path.name: path.stat().st_mtime_ns for path in prepared.glob("*/*/*.json") if path.name in before}
    return {
        "victim": victim,
        "moment": round(moment, 3),
        "status": status,
        "status_again": again,
        "shards_done_when_killed": len(done),
        "shards_made_again": sum(kept[name] != stamp for name, stamp in before.items()),
        "identical": content(prepared) == wanted,
        "seconds": round(time.monotonic() - began, 1),
        "output": output if again or (status and again is None) else "",
    }


def damaged_set(source: Path, folder: Path, clips: int) -> dict:
    """Damage 30 of ``clips`` clips in ten ways (and three in a way that is sound), and compare the reasons."""
    manifest = multiply(source, folder, clips=clips)
    expected = damage(manifest, each=3)
    process = start(settings(manifest, folder / "prepared"))
    output, _ = process.communicate()
    strict = start([*settings(manifest, folder / "prepared"), "prepare.strict=true"])
    strict.communicate()
    rejects = {row["clip_id"]: row["reason"] for row in pq.read_table(folder / "prepared/rejects.parquet").to_pylist()}
    card = json.loads((folder / "prepared/card.json").read_text())
    return {
        "clips": clips,
        "ways": len([reason for reason in WAYS.values() if reason]),
        "prepared": card["prepared"],
        "rejected": len(rejects),
        "reasons_right": rejects == {clip_id: reason for clip_id, reason in expected.items() if reason},
        "announced": output.count("rejected: "),
        "status": process.returncode,
        "status_strict": strict.returncode,
    }


def main() -> int:
    """Run the rounds, print a line each and JSON at the end. Returns 0 if everything was identical."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument(
        "--damaged", type=int, default=1000, metavar="CLIPS", help="clips of the damaged set; 0 leaves it out"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = synthetic.make_demo(folder / "few", subjects=3, clips_per_class=1)
        manifest = multiply(source, folder / "many", clips=options.clips)
        wanted = undisturbed(manifest, folder / "undisturbed")
        rounds = []
        for number in range(options.rounds):
            victim = VICTIMS[number % len(VICTIMS)]
            found = round_of(manifest, folder / f"round-{number}", victim, chance.uniform(0, 0.9), wanted)
            rounds.append(found)
            print({key: value for key, value in found.items() if key != "output"}, found["output"], flush=True)
        damaged = damaged_set(source, folder / "damaged", options.damaged) if options.damaged else {}
        print(json.dumps({"rounds": rounds, "damaged": damaged}, indent=2))
    passed = all(found["identical"] and not found["shards_made_again"] for found in rounds)
    return 0 if passed and damaged.get("reasons_right", True) else 1


if __name__ == "__main__":
    raise SystemExit(main())
