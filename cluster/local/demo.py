"""The demo on a cluster: clips in S3, then prepare, loso and report, each by `ray job submit`.

python -m cluster.local demo --set synthetic.subjects=3
python -m cluster.local exec -- python -m cluster.local.demo      on a cluster that is up
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cluster.local.cluster import BUCKET
from hsta import storage
from workflows.command import answer
from workflows.config import Config, load

ROOT = Path(__file__).parents[2]
CONFIG = "configs/demo.yaml"
PLACES = [
    f"data.manifest={BUCKET}/clips/clips.csv",
    f"data.prepared={BUCKET}/prepared",
    f"run.storage={BUCKET}/runs",
]
STAGES = ("prepare", "loso", "report")


def make_clips(config: Config) -> None:
    """Render the clips here and put them where the manifest of the configuration is."""
    from hsta.datasets import synthetic

    fs, target = storage.filesystem(config.data.manifest.rpartition("/")[0])
    fs.makedirs(target.split("/")[0], exist_ok=True)
    count = {"subjects": config.synthetic.subjects, "clips_per_class": config.synthetic.clips_per_class}
    with tempfile.TemporaryDirectory() as folder:
        synthetic.make_demo(folder, **count, seed=config.synthetic.seed)
        fs.put(f"{folder}/", target, recursive=True)


def job(stage: str, assignments: Sequence[str]) -> list[str]:
    """The command line that runs a stage as a job, with the demo's places and ``assignments``; in the project's root."""
    settings = [part for assignment in (*PLACES, *assignments) for part in ("--set", assignment)]
    submit = ["ray", "job", "submit", "--working-dir", ".", "--"]
    return [*submit, "python", "-m", f"workflows.{stage}", "--config", CONFIG, *settings]


def run(assignments: Sequence[str]) -> int:
    """Make the clips, run the stages, and fetch the report. Returns the exit status of the job that fails, or 0."""
    config = load(str(ROOT / CONFIG), [*PLACES, *assignments])
    make_clips(config)
    for stage in STAGES:
        status = subprocess.run(job(stage, assignments), cwd=ROOT).returncode
        if status:
            return status
    report = ROOT / "runs" / f"{config.run.name}-on-local-cluster.html"
    report.parent.mkdir(exist_ok=True)
    report.write_bytes(storage.read_bytes(storage.join(config.folder, "report.html")))
    print(f"the report is {report}", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m cluster.local demo", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="replace one setting of the demo")
    options = parser.parse_args()
    raise SystemExit(answer(lambda: run(options.set)))
