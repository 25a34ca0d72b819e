"""`pumice report`: the page of a run or of an evaluation, written anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples
from pumice.errors import UsageError

EPILOG = examples(
    ("a finished run, or one that is still training", "pumice report runs/tiny"),
    ("an evaluation of benchmark tasks", "pumice report evals/tiny"),
    ("their figures as a table for a paper", "pumice report evals/first evals/second --format latex"),
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
            help="Where the page of an evaluation goes, or its table.",
            show_default="FOLDER/index.html",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Print the figures of evaluations as a table instead: csv, latex (booktabs) or markdown.",
            show_default="the page",
        ),
    ] = None,
) -> None:
    """Write the page of a run (report.html) or of evaluations (index.html) from the files in the folders."""
    from pumice.cli.models import run_named
    from pumice.report import is_evaluation, write_evaluation_page, write_report

    first, *rest = folders
    first = run_named(str(first)) or first
    if form is not None:
        _table([first, *rest], form, page)
        return
    if not is_evaluation(first) and not (first / "run.json").is_file():
        raise _neither(first)
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


def _neither(folder: Path) -> UsageError:
    """The error for a folder that has no page: what has one, and what is there by a like name."""
    import difflib

    places = ("runs/*/run.json", "evals/*/results.json", "evals/*/limit-*/results.json")
    there = {str(one.parent): one.parent for place in places for one in Path().glob(place)}
    remedy = (
        "give a run (runs/NAME, which pumice train made: it holds run.json) or an evaluation of tasks "
        "(evals/NAME, which pumice eval --tasks made: it holds results.json)"
    )
    named = {path.name: name for name, path in there.items()}
    near = difflib.get_close_matches(folder.name, named, n=1, cutoff=0.5)
    if near:
        remedy = f"did you mean {named[near[0]]}? Or {remedy}"
    if not folder.exists():
        return UsageError("there is no such run and no such evaluation", where=str(folder), remedy=remedy)
    if folder.is_file():
        return UsageError("a file is no run and no evaluation", where=str(folder), remedy=remedy)
    what = "the folder is neither a run nor an evaluation of tasks: it holds no run.json and no results.json"
    if (folder / "scores.json").is_file():
        what += "; of questions of one's own (pumice eval --questions) there is a page with their run alone"
    return UsageError(what, where=str(folder), remedy=remedy)


def _table(folders: Sequence[Path], form: str, target: Path | None) -> None:
    """The figures of evaluations as text, to the terminal or into a file."""
    from pumice.cli.compare import check_format
    from pumice.files import write_text
    from pumice.report import is_evaluation
    from pumice.report.evaluated import named, read_evaluation
    from pumice.report.papers import figures_sheet
    from pumice.report.typeset import FORMATS

    check_format(form)
    places = [one / "eval" if not is_evaluation(one) and is_evaluation(one / "eval") else one
              for one in folders]  # fmt: skip
    for place in places:
        if not is_evaluation(place):
            raise _neither(place)
    text = FORMATS[form](figures_sheet(named([read_evaluation(place) for place in places])))
    if target is None:
        typer.echo(text, nl=False)
        return
    if not target.absolute().parent.is_dir():
        raise UsageError("there is no such folder", where=f"--out {target}", remedy="make it first")
    write_text(target, text)
    out.print(f"wrote {target}", soft_wrap=True)
