"""`pumice eval compare`: whether one evaluation is better than another, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from pumice.evaluate.compare import Comparison, Difference, TaskComparison

EPILOG = examples(
    ("two models on all tasks that both were asked", "pumice eval compare evals/first evals/second"),
    ("what the pictures are worth", "pumice eval compare evals/first/pope/blind evals/first/pope"),
    ("two files of pumice score --details", "pumice eval compare a.jsonl b.jsonl --task gqa"),
    ("a table for a paper", "pumice eval compare evals/first evals/second --format latex"),
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compare(
    sides: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C ...]",
            help="Folders that pumice eval wrote, a task's folder in one, or files of pumice score "
            "--details. A is held against each of the others.",
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="This task alone; of files of details, the task that they are of.",
            show_default="all that both have",
        ),
    ] = None,
    common: Annotated[
        bool,
        typer.Option("--common", help="Where the questions differ, take those that both were asked."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Print a table for a paper or a program: csv, latex (booktabs) or markdown.",
            show_default="for this terminal",
        ),
    ] = None,
) -> None:
    """Compare evaluations on the same questions: differences, their intervals, and what could be told."""
    from pumice.errors import UsageError
    from pumice.evaluate.compare import compare as held
    from pumice.evaluate.sides import read_side

    if not 2 <= len(sides) <= len(LETTERS):
        raise UsageError(
            f"a comparison needs two sides, not {len(sides)}",
            where="A B",
            remedy="name two folders that pumice eval wrote",
        )
    if form is not None:
        check_format(form, as_json=as_json)
    comparisons = held([read_side(path, task) for path in sides], common=common, task=task)
    if as_json:
        import json

        found = {"comparisons": [one.as_json() for one in comparisons]}
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    if form is not None:
        from pumice.report.papers import comparison_sheet
        from pumice.report.typeset import FORMATS

        typer.echo(FORMATS[form](comparison_sheet(comparisons)), nl=False)
        return
    for number, one in enumerate(comparisons, 1):
        _show(one, LETTERS[number])


def check_format(form: str, *, as_json: bool = False) -> None:
    """Refuse a table's format that there is not.

    Raises:
        UsageError: it has no such name (the nearest is named), or JSON is wanted as well.
    """
    from pumice.errors import UsageError, suggest
    from pumice.report.typeset import FORMATS

    if form not in FORMATS:
        raise UsageError(f"there is no format {form!r}", where="--format", remedy=suggest(form, FORMATS))
    if as_json:
        raise UsageError("two formats are asked for", where="--json, --format", remedy="leave one out")


def _show(one: Comparison, letter: str) -> None:
    from rich.text import Text

    from pumice.cli.console import hint, out, visible

    out.print(Text(f"A  {visible(one.a)}\n{letter}  {visible(one.b)}\n"), soft_wrap=True)
    out.print(_table(one, letter))
    out.print()
    for name, task in one.tasks.items():
        line = Text.assemble((f"{name}: ", "bold"), visible(task.verdict("A", letter, one.tests)))
        out.print(line, soft_wrap=True)
        for note in task.notes:
            hint(f"  {visible(note)}")
    for name, task in one.tasks.items():
        if task.groups:
            out.print()
            out.print(_groups(f"{name}, {task.figure} by group", task.groups, letter))
        others = {figure: other for figure, other in task.figures.items() if figure != task.figure}
        if others:
            out.print()
            out.print(_groups(f"{name}, its other figures", others, letter, head="figure"))
    out.print()
    for remark in _remarks(one):
        hint(remark)


def _remarks(one: Comparison) -> list[str]:
    tests = sorted({task.first.test for task in one.tasks.values()})
    remarks = [
        "Intervals: 95%, 10,000 bootstrap samples that both sides share, by question (MME: by picture), "
        "within each category where a figure is put together of categories.",
        f"p: two-sided ({'; '.join(tests)})"
        + (f", Holm's correction over {one.tests} comparisons." if one.tests > 1 else "."),
    ]
    if any(task.groups or len(task.figures) > 1 for task in one.tasks.values()):
        remarks.append("Groups and other figures: intervals of each alone, without correction.")
    if one.left_out:
        remarks.append(f"In one of the two alone: {', '.join(one.left_out)}")
    return remarks


def _plain(title: str | None = None) -> Table:
    from rich.table import Table

    return Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip


def _table(one: Comparison, letter: str) -> Table:
    from pumice.evaluate.wording import p_text

    table = _plain()
    table.add_column("task", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for head in ("A", letter, f"{letter} - A"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    table.add_column("p" if one.tests == 1 else "p, Holm", justify="right", no_wrap=True)
    for head in ("only A", f"only {letter}", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, task in one.tasks.items():
        style = "bold" if task.told else ""
        table.add_row(
            name,
            task.figure,
            *_figures(task.first),
            p_text(task.p_holm).removeprefix("p ").removeprefix("= "),
            *_counts(task),
            style=style,
        )
    return table


def _figures(one: Difference) -> tuple[str, str, str, str]:
    from pumice.evaluate.wording import ends_text, points

    pair = one.paired
    sure = ends_text(pair.interval, " to ", signed=True)
    return points(pair.a), points(pair.b), points(pair.difference, signed=True), sure


def _counts(task: TaskComparison) -> Sequence[str]:
    return f"{task.only_a:,}", f"{task.only_b:,}", f"{task.n:,}"


def _groups(title: str, groups: Mapping[str, Difference], letter: str, head: str = "group") -> Table:
    from rich.text import Text

    from pumice.cli.console import visible

    table = _plain(title)
    table.add_column(head, overflow="fold")
    for name in ("A", letter, f"{letter} - A"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    table.add_column("n", justify="right", no_wrap=True)
    for name, one in groups.items():
        table.add_row(Text(visible(name)), *_figures(one), f"{one.n:,}")
    return table
