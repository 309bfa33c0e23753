"""Evaluation that cannot leak: splits, their audit, the prediction log, pooled metrics, statistics, results.

    make_split -> audit -> (training) -> write_predictions -> evaluate -> results.json

Import from the modules: `splits`, `audit`, `predictions`, `megc_log`, `metrics`, `statistics`, `results`.
"""
