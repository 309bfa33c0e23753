"""Data sets: readers, label sets, manifests, the demo's clips, and the Parquet shards of prepared clips.

from hsta.datasets import read
reading = read("casme2", annotations="CASME2-coding-20140508.xlsx", root="/data/CASME2")
"""

from hsta.datasets.registry import NAMES, read

__all__ = ["NAMES", "read"]
