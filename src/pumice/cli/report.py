"""`pumice report`: the page of a run, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples

EPILOG = examples(
    ("a finished run, or one that is still training", "pumice report runs/tiny"),
)


def report(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, such as runs/tiny: it holds run.json.", metavar="RUN")
    ],
) -> None:
    """Write a run's page, report.html, from the files in its folder."""
    from pumice.report import write_report

    page = write_report(run)
    out.print(f"wrote {page}", soft_wrap=True)
    note("Open it in a browser; it is one file, needs no network, and can be sent as it is.")
