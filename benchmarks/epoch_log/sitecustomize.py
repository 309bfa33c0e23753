"""Counts the epochs that folds train, for `benchmarks.fold_faults`. Python runs this file first in every process that has
its folder in PYTHONPATH.

As soon as a process has loaded `workflows.fold`, each epoch that it ends adds a line to the file that HSTA_EPOCH_LOG names:
run, fold, epoch. A process that is killed takes none of its lines with it.
"""

import importlib.util
import os
import sys


class LogEpochs:
    """Finds `workflows.fold` as Python would, and changes it once it is loaded."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "workflows.fold" or "HSTA_EPOCH_LOG" not in os.environ:
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.train_fold = _logging(module.train_fold)

        spec.loader.exec_module = exec_module
        return spec


def _logging(train_fold):
    def logging_train_fold(settings, plan, parts, report, *, ranks, **more):
        def logged(figures):
            if ranks.rank == 0:
                with open(os.environ["HSTA_EPOCH_LOG"], "a") as file:
                    file.write(f"{settings.run} {plan.name} {figures['epoch']}\n")
            report(figures)

        return train_fold(settings, plan, parts, logged, ranks=ranks, **more)

    return logging_train_fold


sys.meta_path.insert(0, LogEpochs)
