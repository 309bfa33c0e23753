"""The main job end to end on clips that the project makes itself: clips, prepare, folds, report.

The clips show a public-domain portrait, warped into several people, with planted micro-movements whose true motion is known.
What it proves is that the pipeline measures and learns movements of half a pixel to two pixels; it proves nothing about emotions.

examples:
  python -m workflows.demo --config configs/demo.yaml
  python -m workflows.demo --config configs/demo.yaml --set run.name=shuffled --set protocol.shuffle_labels=true

exit status: 0 the report is written; 1 a stage is incomplete; 2 bad input, with the cure
"""

from __future__ import annotations

import os
import time

from hsta import storage
from hsta.errors import InputError
from workflows import command, engine, loso, prepare, settings
from workflows.config import Config
from workflows.progress import Progress, clock


def run(config: Config) -> int:
    """Make the clips if they are not there, then prepare, train, evaluate, report. Returns the exit status."""
    if config.synthetic is None:
        raise InputError("the demo needs a section 'synthetic'", where="--config", cure="use configs/demo.yaml")
    started = time.monotonic()
    with engine.ray_session():
        make_clips(config)
        for stage in (prepare.run, loso.run):
            status = stage(config)
            if status:
                return status
    print(
        f"demo: {clock(time.monotonic() - started)} in all; the report is {storage.join(config.folder, 'report.html')}",
        flush=True,
    )
    return 0


def make_clips(config: Config) -> None:
    """Render the demo's clips beside their manifest, side by side on all CPUs. Clips of the same settings are kept."""
    import ray

    from hsta.datasets import synthetic

    root = os.path.dirname(storage.absolute(config.data.manifest))
    marker = storage.join(root, "synthetic.json")
    wanted = {**settings.plain(config.synthetic), "version": synthetic.VERSION}
    if storage.exists(marker) and storage.read_json(marker) == wanted and storage.exists(config.data.manifest):
        print(f"clips: already in {root}", flush=True)
        return
    storage.ensure_writable(root)
    plan = synthetic.demo_plan(
        subjects=config.synthetic.subjects, clips_per_class=config.synthetic.clips_per_class, seed=config.synthetic.seed
    )
    print(f"clips: {len(plan)} of {config.synthetic.subjects} subjects -> {root}", flush=True)
    render = ray.remote(synthetic.render_clip)
    waiting = [render.remote(spec, root) for spec in plan]
    progress = Progress("clips", len(plan), "clips")
    while waiting:
        finished, waiting = ray.wait(waiting, timeout=1.0)
        ray.get(finished)
        progress.update(len(plan) - len(waiting))
    progress.close()
    synthetic.write_manifest(plan, root)
    storage.write_json(marker, wanted)


if __name__ == "__main__":
    raise SystemExit(command.main("demo", __doc__, run))
