"""How fast preparation is: the pipeline's clips/s over (cores x the vision function's rate in one process), same clips,
one run.

Measured on local disk, with one actor and with one for each CPU; from and to an S3 server (Ceph, see benchmarks/servers.py),
with a folder of frames a clip and with a zip a clip; where the actors' time goes; and the memory of the driver and the
actors for few and for many clips. A store is not on the machine that computes: so the S3 server gets the last CPU for
itself, and the pipeline the others, with an actor for each. ``-shared`` is the same with all on all CPUs. Beside the wall
clock's ratio, which others on the machine disturb, stands that of the CPU time: what the vision function takes for the
clips, over what the actors and all of Ray, driver included, take from the first clip on; ``others`` is what else ran on
the machine.

    .venv/bin/python -m benchmarks.prepare --clips 960 --on local s3-folders s3-zips --memory 400 4000
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.clip_sets import laboratory, multiply, zipped
from benchmarks.prepare_faults import command
from benchmarks.servers import ROOT, S3Server, descendants
from hsta import storage
from hsta.datasets import synthetic
from hsta.datasets.manifest import read_manifest

GOALS = {"local": 0.90, "s3-folders": 0.80, "s3-zips": 0.80}
WHO = ("actors", "driver", "ray", "server", "others")
SMALL = ("vision.size=64", "vision.stabilise=none", "prepare.clips_per_shard=4")  # many clips in little time


def vision_rate(manifest: str, limit: int) -> tuple[float, float]:
    """Clips a second of `prepare_clip` in this process, single-threaded, files read from disk, and CPU seconds a clip;
    the first clip is not counted."""
    import cv2

    from hsta.vision.clip import prepare_clip
    from hsta.vision.faces import FaceFinder
    from hsta.vision.recipe import PrepareRecipe

    cv2.setNumThreads(1)
    clips = read_manifest(manifest, dataset="demo", label_set="demo3", classes=synthetic.CLASSES)[:limit]
    finder, recipe = FaceFinder(), PrepareRecipe()
    prepare_clip(clips[0], recipe, finder)
    began, used = time.perf_counter(), time.process_time()
    for clip in clips:
        prepare_clip(clip, recipe, finder)
    return len(clips) / (time.perf_counter() - began), (time.process_time() - used) / len(clips)


def vision_rates(manifest: Path, processes: int, limit: int) -> dict[str, float]:
    """The same in ``processes`` at once: the sum of their rates, the mean of their CPU seconds a clip."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(vision_rate, [str(manifest)] * processes, [limit] * processes))
    return {"rate": sum(rate for rate, _ in found), "cpu": sum(cpu for _, cpu in found) / processes}


def pipeline(manifest: str, prepared: str, *more: str, server: Sequence[int] = ()) -> dict:
    """Run the command; returns its own account, with the clips' rates with and without start-up, and the CPU seconds a
    clip, those of the store's processes ``server`` among them."""
    began = time.monotonic()
    process = subprocess.Popen(
        command([f"data.manifest={manifest}", f"data.prepared={prepared}", *more]),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    series = _watch_cpu(process, server)
    output, _ = process.communicate()
    wall = time.monotonic() - began
    if process.returncode:
        raise SystemExit(output)
    info = storage.read_json(storage.join(prepared, "run-info.json"))
    steady = info["making_seconds"] - info["actor_start_seconds"]
    rates = {"rate": info["clips_made"] / steady, "rate_with_start": info["clips_made"] / wall}
    start, end = info["making"]
    within = [used for moment, used in series if start <= moment <= end]
    print(f"{prepared}: {rates['rate']:.2f} clips/s", file=sys.stderr, flush=True)
    share = (end - start) / (within[-1]["moment"] - within[0]["moment"])
    cpu = {who: share * (within[-1][who] - within[0][who]) / info["clips_made"] for who in WHO}
    return {**info, **rates, "wall": wall, "cpu": cpu}


def _watch_cpu(process: subprocess.Popen, server: Sequence[int]) -> list[tuple[float, dict[str, float]]]:
    """Until the command ends: the time, and the CPU seconds that its actors, its driver, the rest of Ray, the server
    and all others on this machine have used by then."""
    found = []
    last: dict[int, tuple[str, float]] = {}
    actors: set[int] = set()
    while process.poll() is None:
        actors |= set(descendants(process.pid, "ShardMaker"))  # kept: a process that ends loses its name
        for pid in [process.pid, *descendants(process.pid, "")]:
            who = "driver" if pid == process.pid else "actors" if pid in actors else "ray"
            last[pid] = (who, max(_cpu(pid), last.get(pid, ("", 0.0))[1]))
        last.update({pid: ("server", _cpu(pid)) for pid in server})
        sums = {who: sum(seconds for role, seconds in last.values() if role == who) for who in WHO[:-1]}
        sums["others"] = _busy() - sum(sums.values())
        now = time.time()
        found.append((now, {**sums, "moment": now}))
        time.sleep(1.0)  # each look takes some 8 ms
    return found


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """CPU seconds that this machine was busy so far, all processes and the kernel."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def peaks(manifest: Path, prepared: Path) -> dict[str, float]:
    """Peak resident memory of the driver and of the largest actor, MB."""
    process = subprocess.Popen(
        command([f"data.manifest={manifest}", f"data.prepared={prepared}", *SMALL]),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found = {"driver": 0.0, "actor": 0.0}
    while process.poll() is None:
        found["driver"] = max(found["driver"], _peak(process.pid))
        found["actor"] = max([found["actor"], *map(_peak, descendants(process.pid, "ShardMaker"))])
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit("the run for memory failed")
    return found


def _peak(pid: int) -> float:
    try:
        match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(match[1]) / 1024 if match else 0.0


def speed(folder: Path, like: str, clips: int, places: Sequence[str]) -> dict:
    """All rates on one set of clips."""
    everywhere = os.sched_getaffinity(0)
    cores = len(everywhere)
    few = folder / "few"
    source = laboratory(few) if like == "laboratory" else synthetic.make_demo(few, subjects=3, clips_per_class=1)
    manifest = multiply(source, folder / "many", clips=clips)
    limit = min(clips, 40)
    found: dict = {"cores": cores, "clips": clips, "process_per_core": vision_rates(manifest, cores, limit)}
    alone = [vision_rates(manifest, 1, limit)["rate"]]

    def measured(*arguments: str, server: Sequence[int] = ()) -> dict:
        run = pipeline(*arguments, server=server)
        alone.append(vision_rates(manifest, 1, limit)["rate"])
        # just before and just after: a machine's speed changes with its neighbours
        return {**run, "one_process": alone[-2:]}

    if "local" in places:
        found["local"] = measured(str(manifest), str(folder / "local"))
        found["local_one_actor"] = measured(str(manifest), str(folder / "one"), "prepare.actors=1")
    for place in places:
        if place != "local":
            with S3Server(folder / place, "bench") as server:
                os.environ |= server.environment
                source = manifest if place == "s3-folders" else zipped(manifest, folder / "zips")
                storage.filesystem(server.url)[0].put(str(source.parent), f"{server.url}/raw", recursive=True)
                clips_there = f"{server.url}/raw/clips.csv"
                found[f"{place}-shared"] = measured(clips_there, f"{server.url}/shared", server=server.pids)
                if len(everywhere) > 1:
                    *ours, theirs = sorted(everywhere)
                    for pid in server.pids:
                        _confine(pid, {theirs})
                    _confine(os.getpid(), set(ours))
                    actors = f"prepare.actors={len(ours)}"
                    found[place] = measured(clips_there, f"{server.url}/apart", actors, server=server.pids)
                    found[place]["cores"] = len(ours)
                    _confine(os.getpid(), everywhere)
    return found


def _confine(pid: int, cpus: set[int]) -> None:
    """Let a process, with all its threads and what it starts from now on, run on some CPUs only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus)


def table(found: dict) -> list[Sequence[object]]:
    """What was measured, beside the goals."""
    all_at_once = found["process_per_core"]
    rows: list[Sequence[object]] = [(f"{found['cores']} processes, clips/s", f"{all_at_once['rate']:.2f}", "")]
    for name in (f"{place}{where}" for place in GOALS for where in ("", "-shared")):
        if name not in found:
            continue
        run = found[name]
        cores = run.get("cores", found["cores"])
        one = sum(run["one_process"]) / 2
        around = " and ".join(f"{rate:.2f}" for rate in run["one_process"])
        rows.append((f"{name}, one process before and after, clips/s", around, ""))
        rows.append((f"{name}, clips/s", f"{run['rate']:.2f} steady, {run['rate_with_start']:.2f} with start-up", ""))
        goal = f">= {GOALS[name]}" if name in GOALS else ""
        rows.append((f"{name} / ({cores} x one process)", f"{run['rate'] / cores / one:.3f}", goal))
        if "cores" not in run:
            taken = (run["cpu"]["server"] + run["cpu"]["others"]) * run["rate"]
            left = f"{run['rate'] / (cores - taken) / one:.3f}: server and others took {taken:.2f}"
            rows.append((f"{name}, the same, of the CPUs left", left, ""))
        rows.append((f"{name}, with all start-up", f"{run['rate_with_start'] / cores / one:.3f}", ""))
        cpu = ", ".join(f"{1000 * seconds:.0f} {who}" for who, seconds in run["cpu"].items())
        rows.append((f"{name}, CPU ms a clip", f"{1000 * all_at_once['cpu']:.0f} vision alone; {cpu}", ""))
        ours = sum(run["cpu"][who] for who in ("actors", "driver", "ray"))
        rows.append((f"{name}, CPU vision / actors, driver, ray", f"{all_at_once['cpu'] / ours:.3f}", ""))
        stages = {stage: seconds for stage, seconds in run["stage_seconds"].items() if stage != "whole"}
        rows.append(
            (f"{name}, stages / whole", f"{sum(stages.values()) / run['stage_seconds']['whole']:.3f}", ">= 0.95")
        )
        starts = f"{run['ray_start_seconds']:.1f} s Ray, {run['actor_start_seconds']:.1f} s actors"
        rows.append((f"{name}, start-up", starts, ""))
    if "local" in found:
        speed_up = found["local"]["rate"] / found["local_one_actor"]["rate"]
        rows.append(("1 -> all actors, speed-up", f"{speed_up:.2f}", ">= 1.8 on 2"))
    return rows


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=240, help="clips for the rates; 0 leaves them out")
    parser.add_argument("--on", nargs="+", choices=GOALS, default=["local"], metavar="PLACE", help=", ".join(GOALS))
    parser.add_argument(
        "--like", choices=("laboratory", "demo"), default="laboratory", help="size and length of the clips"
    )
    parser.add_argument("--memory", type=int, nargs=2, metavar="CLIPS", help="few and many, for the memory")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # one process, one thread, as Ray's actors have it
    rows: list[Sequence[object]] = []
    found: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.clips:
            found = speed(folder, options.like, options.clips, options.on)
            rows += table(found)
        if options.memory:
            source = synthetic.make_demo(folder / "small", subjects=2, clips_per_class=1)
            found["memory"] = {}
            for clips in options.memory:
                manifest = multiply(source, folder / f"memory-{clips}", clips=clips, frames=3)
                found["memory"][clips] = peaks(manifest, folder / f"memory-{clips}-prepared")
            few, many = (found["memory"][clips] for clips in options.memory)
            for who in few:
                rows.append(
                    (f"peak RSS, {who}", f"{few[who]:.0f} -> {many[who]:.0f} MB: {many[who] / few[who]:.3f}", "<= 1.15")
                )
    width = max(len(str(row[0])) for row in rows)
    print("\n".join(f"{row[0]:<{width}}  {row[1]:<44} {row[2]}".rstrip() for row in rows))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
