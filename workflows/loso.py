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

from hsta import storage
from hsta.datasets.megc2019 import organisers_keys
from hsta.evaluation import audit as auditing
from hsta.evaluation import splits
from workflows import command, evaluate, report
from workflows.config import Config
from workflows.fold import FoldPlan
from workflows.folds import claim, fold_settings, run_folds
from workflows.gather import gather
from workflows.prepared import PreparedSet, open_set


def run(config: Config) -> int:
    """Run the folds that are not done, then evaluate and report. Returns the exit status."""
    prepared = open_set(config.data.prepared)
    extra = open_set(config.pretrain.prepared) if config.pretrain else None
    claim(config)
    split = _split(config, prepared, extra)
    plans = [
        FoldPlan(
            fold=fold.name, seed=seed, train=fold.train, test=fold.test, validation=fold.validation, extra=fold.extra
        )
        for seed in config.protocol.seeds
        for fold in split.folds
    ]
    sets = [prepared, extra] if extra else [prepared]
    shared = fold_settings(config, sets)
    run_folds(config, shared, sets, plans)
    gather(config, shared, plans, card=prepared.card)
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


if __name__ == "__main__":
    raise SystemExit(command.main("loso", __doc__, run))
