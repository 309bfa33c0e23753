"""Train one model on all clips of data.prepared, to use it on others: there is nothing left to score it on.

The same training function, executors and checkpoints as `workflows.loso`; the same command again goes on where it stopped. With
several protocol.seeds, one model each. The weights are in <run.storage>/<run.name>/folds/all-seed<N>/model.pt.

examples:
  python -m workflows.train --config my.yaml --set run.name=final
  python -m workflows.train --config my.yaml --set run.name=final --set folds.workers=4 --set folds.gpus=1
  ray job submit --working-dir . -- python -m workflows.train --config my.yaml --set run.name=final

exit status: 0 trained; 1 it failed, with the cause; 2 bad input, with the cure
"""

from __future__ import annotations

from hsta.errors import InputError
from workflows import command
from workflows.config import Config
from workflows.fold import FoldPlan, done
from workflows.folds import claim, fold_settings, run_folds
from workflows.prepared import open_set


def run(config: Config) -> int:
    """Train. Returns the exit status."""
    if config.protocol.validation_subjects:
        raise InputError(
            "inner validation divides the training subjects of a fold, and here there are no folds",
            where="protocol.validation_subjects",
            cure="set it to 0 and take train.epochs from the folds of a loso run",
        )
    prepared = open_set(config.data.prepared)
    extra = open_set(config.pretrain.prepared) if config.pretrain else None
    claim(config)
    everything = tuple((clip.dataset, clip.clip_id) for clip in prepared.clips)
    more = tuple((clip.dataset, clip.clip_id) for clip in extra.clips) if extra else ()
    plans = [FoldPlan(fold="all", seed=seed, train=everything, test=(), extra=more) for seed in config.protocol.seeds]
    sets = [prepared, extra] if extra else [prepared]
    shared = fold_settings(config, sets)
    run_folds(config, shared, sets, plans)
    trained = [plan for plan in plans if done(shared, plan)]
    for plan in trained:
        print(f"model: {shared.place(plan, 'model.pt')}", flush=True)
    return 0 if len(trained) == len(plans) else 1


if __name__ == "__main__":
    raise SystemExit(command.main("train", __doc__, run))
