"""The report of a run: one self-contained HTML page, readable without a network, without scripts, on paper and in the
dark."""

from hsta.report.page import render, write_report
from hsta.report.samples import Sample

__all__ = ["Sample", "render", "write_report"]
