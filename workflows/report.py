"""Write a run's report as one self-contained HTML file, from results.json and a few prepared clips.

examples:
  python -m workflows.report --config runs/demo/config.yaml

exit status: 0 done; 2 bad input, with the cure
"""

from __future__ import annotations

from hsta import storage
from hsta.datasets import shards
from hsta.evaluation.predictions import read_predictions
from hsta.evaluation.results import read_results
from hsta.report import Sample, render, write_report
from workflows import command
from workflows.config import Config

SAMPLES_PER_CLASS = 2


def run(config: Config) -> int:
    """Write ``report.html``. Returns the exit status."""
    url = storage.join(config.folder, "report.html")
    results = read_results(storage.join(config.folder, "results.json"))
    write_report(url, render(results, samples=_samples(config)))
    print(f"report: {url}", flush=True)
    return 0


def _samples(config: Config) -> list[Sample]:
    """Clips of each class, from different subjects, one that was taken for its class and one that was not where there is."""
    log = read_predictions(storage.join(config.folder, "predictions.parquet"))
    log = log[log["seed"] == config.protocol.seeds[0]]
    chosen: dict[tuple[str, str], object] = {}
    subjects: set[str] = set()
    for label in config.classes:
        of_label = log[log["truth"] == label]
        wrong = of_label[of_label["prediction"] != label]
        right = of_label[of_label["prediction"] == label]
        picked = 0
        for row in [*wrong.head(1).itertuples(), *right.itertuples(), *wrong.itertuples()]:
            key = (row.dataset, row.clip_id)
            if picked < SAMPLES_PER_CLASS and key not in chosen and row.subject not in subjects:
                chosen[key] = row
                subjects.add(row.subject)
                picked += 1
    if not chosen:
        return []
    root = storage.absolute(config.data.prepared)
    samples = []
    for item in shards.read_prepared(root, shards.read_card(root), chosen):
        row = chosen[item.clip.dataset, item.clip.clip_id]
        samples.append(
            Sample(
                clip_id=item.clip.clip_id,
                label=row.truth,
                prediction=row.prediction,
                onset=item.frames[0],
                apex=item.frames[item.frame_numbers.index(item.apex)],
                flow=item.flow[0],
                frames=item.frames,
            )
        )
    return sorted(samples, key=lambda sample: (config.classes.index(sample.label), sample.clip_id))


if __name__ == "__main__":
    raise SystemExit(command.main("report", __doc__, run))
