"""Compute every number of a run again from its prediction log, without a cluster and without training.

Reads predictions.parquet, split.json, audit.json and facts.json of the run's folder, and writes results.json. The run's own
saved configuration will do as --config. With --log it scores the MEGC submission log of any other software instead: a line
"dataset subject", then a line "clip truth prediction" for each of its clips.

examples:
  python -m workflows.evaluate --config runs/demo/config.yaml
  python -m workflows.evaluate --log theirs.txt --label-set megc3 --output runs/theirs

exit status: 0 all folds are complete; 1 some are not (no headline is reported); 2 bad input, with the cure
"""

from __future__ import annotations

import argparse

from hsta import storage
from hsta.datasets.labels import label_classes
from hsta.evaluation import results as scoring
from hsta.evaluation.megc_log import read_megc_log, split_of_log
from hsta.evaluation.predictions import read_predictions
from hsta.evaluation.splits import Split
from workflows import command
from workflows.config import Config


def run(config: Config) -> int:
    """Write ``results.json`` from the prediction log and print the headline. Returns the exit status."""
    folder = config.folder
    facts = storage.read_json(storage.join(folder, "facts.json"))
    results = scoring.evaluate(
        read_predictions(storage.join(folder, "predictions.parquet")),
        split=Split.load(storage.join(folder, "split.json")),
        classes=config.classes,
        seeds=config.protocol.seeds,
        epoch_rule=epoch_rule(config),
        audit=storage.read_json(storage.join(folder, "audit.json")),
        data=facts["data"],
        run=facts["run"],
        failures=facts["failures"],
        curves=facts["curves"],
    )
    scoring.write_results(storage.join(folder, "results.json"), results)
    print(headline(results), flush=True)
    return 0 if results["folds"]["complete"] == results["folds"]["total"] else 1


def score_log(options: argparse.Namespace) -> int:
    """Score a submission log as one leave-one-subject-out run whose training nobody can audit. Returns the exit status."""
    classes = label_classes(options.label_set, options.classes)
    log = read_megc_log(options.log, classes)
    results = scoring.evaluate(
        log,
        split=split_of_log(log, label_set=options.label_set),
        classes=classes,
        epoch_rule="not known: the log was written by other software",
        audit={"passed": None, "summary": "not audited: the training of other software is not known"},
        data={},
        run={"prediction_log": storage.absolute(options.log)},
    )
    if options.output:
        scoring.write_results(storage.join(storage.absolute(options.output), "results.json"), results)
    print(headline(results), flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command: with ``--log`` another software's log, else a run. Returns the exit status."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--log")
    parser.add_argument("--label-set", default="megc3")
    parser.add_argument("--classes", nargs="+", default=[])
    parser.add_argument("--output")
    options, rest = parser.parse_known_args(arguments)
    if options.log is None:
        return command.main("evaluate", __doc__, run, arguments)
    if rest:
        parser.error(f"--log takes no {' '.join(rest)}")
    return command.answer(lambda: score_log(options))


def epoch_rule(config: Config) -> str:
    """Which weights the held-out clips are scored with, in words."""
    parts = [f"{config.pretrain.epochs} epochs of pre-training, then"] if config.pretrain else []
    if config.protocol.validation_subjects:
        parts.append(
            f"at most {config.train.epochs} epochs; the best on {config.protocol.validation_subjects} inner validation subjects,"
            " none of them held out, is kept"
        )
    else:
        parts.append(f"{config.train.epochs} epochs, fixed")
    if config.train.ema:
        parts.append(f"with weights averaged by {config.train.ema:g} a step")
    return " ".join(parts) + "; the held-out clips are scored once, after the last"


def headline(results: dict) -> str:
    """The result as a small table of text; without scores while folds are missing."""
    folds, audit = results["folds"], results["audit"]
    data, protocol = results["data"], results["protocol"]
    verdict = "not possible" if audit["passed"] is None else "passed" if audit["passed"] else "FAILED"
    counts = f"{data['clips']} clips of {data['subjects']} subjects"
    lines = [
        f"protocol  {protocol['name']}, label set {protocol['label_set']}, {counts}",
        f"folds     {folds['complete']}/{folds['total']} complete",
        f"audit     {verdict}",
    ]
    if folds["complete"] < folds["total"]:
        lines += [f"          {failure['fold']}: {failure['cause']}" for failure in folds["failed"]]
        return "\n".join([*lines, "no headline: a part of a benchmark is not a benchmark"])
    lines.append(f"{'':10}{'pooled':>8}{'95 % interval':>18}{'majority':>10}{'random':>8}")
    for name in ("uf1", "uar", "acc", "wf1"):
        low, high = results["interval"][name]
        floors = (results["floors"][floor][name] for floor in ("majority", "random"))
        lines.append(
            f"{name.upper():10}{results['pooled'][name]:8.4f}{f'{low:.4f} - {high:.4f}':>18}{next(floors):10.4f}{next(floors):8.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
