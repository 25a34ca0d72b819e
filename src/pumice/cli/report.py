"""`pumice report`: the page of a run or of an evaluation, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples
from pumice.errors import UsageError

EPILOG = examples(
    ("a finished run, or one that is still training", "pumice report runs/tiny"),
    ("an evaluation of benchmark tasks", "pumice report evals/tiny"),
    ("two evaluations on one page", "pumice report evals/first evals/second --out both.html"),
)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="A run by its name in runs/ or its folder, or the folder of an evaluation of tasks; several "
            "evaluations make one page, the first in front.",
            metavar="FOLDER [FOLDER ...]",
        ),
    ],
    page: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the page of an evaluation goes.",
            show_default="FOLDER/index.html",
        ),
    ] = None,
) -> None:
    """Write the page of a run (report.html) or of evaluations (index.html) from the files in the folders."""
    from pumice.cli.models import run_named
    from pumice.report import is_evaluation, write_evaluation_page, write_report

    first, *rest = folders
    first = run_named(str(first)) or first
    if is_evaluation(first):
        if rest and page is None:
            raise UsageError(
                "a page of several evaluations belongs to none of their folders",
                where="--out",
                remedy="say where it goes: --out FILE.html",
            )
        if page is not None and not page.absolute().parent.is_dir():
            raise UsageError("there is no such folder", where=f"--out {page}", remedy="make it first")
        written = write_evaluation_page(first, rest, page=page)
    else:
        if rest or page is not None:
            raise UsageError(
                "several folders and --out are for evaluations of tasks",
                where=str(first),
                remedy="give one run at a time; pumice runs compare holds runs against one another",
            )
        written = write_report(first)
        if is_evaluation(first / "eval"):
            out.print(f"wrote {write_evaluation_page(first / 'eval')}", soft_wrap=True)
    out.print(f"wrote {written}", soft_wrap=True)
    note("Open it in a browser; it is one file, needs no network, and can be sent as it is.")
