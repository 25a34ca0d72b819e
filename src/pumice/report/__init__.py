"""Pages about runs and evaluations: they render the files of a folder and compute next to nothing."""

from pumice.report.collect import collect
from pumice.report.evaluation import is_evaluation, render_evaluation, write_evaluation_page
from pumice.report.page import render, write_report

__all__ = [
    "collect",
    "is_evaluation",
    "render",
    "render_evaluation",
    "write_evaluation_page",
    "write_report",
]
