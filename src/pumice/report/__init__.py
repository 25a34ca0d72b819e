"""Pages about runs: they render the files of a run folder and compute nothing."""

from pumice.report.collect import collect
from pumice.report.page import render, write_report

__all__ = ["collect", "render", "write_report"]
