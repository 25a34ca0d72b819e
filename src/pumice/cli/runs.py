"""`pumice runs`: all runs with what they have reached, and some of them side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.console import hint, out, visible
from pumice.cli.help import examples
from pumice.errors import UsageError, suggest

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from pumice.report.runs import Comparison, Overview, Progress

app = typer.Typer(invoke_without_command=True, help="List and compare runs.")

RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder that holds all runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(
    epilog=examples(
        ("every run with what it has reached", "pumice runs"),
        ("for a program", "pumice runs --json"),
        ("what two differ in, and what came of it", "pumice runs compare tiny slow"),
    )
)
def runs(context: typer.Context, folder: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List runs: how far each is, its validation loss and its score."""
    if context.invoked_subcommand is not None:
        return
    from pumice.report.runs import list_runs

    found = list_runs(folder)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(run) for run in found], indent=1))
        return
    if not found:
        hint(f"there are no runs in {folder}; pumice train makes one")
        return
    out.print(_list(found), soft_wrap=True)
    if len({run.held_out for run in found if run.held_out is not None}) > 1:
        hint("validation losses are not all of the same data, template and tokens: those do not compare")
    for run in found:
        for told in (run.problem, run.note):
            if told is not None:
                hint(f"{run.name}: {told}")


def _list(found: Sequence[Overview]) -> Text:
    """A line for each run, whole; on a narrow terminal without what is least needed."""
    from rich.text import Text

    with_best = any(_kept(run) for run in found)
    rows = [_row(run, with_best) for run in found]
    titles = list(rows[0])
    wide = {title: max(len(title), *(len(row[title]) for row in rows)) for title in titles}
    for title in _SPARE:
        if title in titles and out.is_terminal and sum(wide[one] + 2 for one in titles) - 2 > out.width:
            titles.remove(title)
    lines = ["  ".join(row[title].ljust(wide[title]) for title in titles).rstrip() for row in rows]
    head = "  ".join(title.ljust(wide[title]) for title in titles).rstrip()
    return Text.assemble((head, "bold"), "".join(f"\n{line}" for line in lines))


_SPARE = ("recipe", "started", "best")
"""Columns that a narrow terminal does without, in this order."""


def _local(created: str | None) -> str:
    """A moment on this machine's clock, as the others that are told here."""
    try:
        return f"{datetime.fromisoformat(created or '').astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return visible(created or "")


def _row(run: Overview, with_best: bool) -> dict[str, str]:
    stage = run.stages[-1] if run.stages else None
    score = run.score
    return {
        "run": visible(run.name),
        "recipe": visible(run.recipe or ""),
        "status": visible(run.status),
        "stage": _far(stage) if stage else "",
        "val loss": _number(run.validation),
        "score": ""
        if score is None
        else f"{score['value']:.1%} ({100 * score['low']:.1f}-{score['high']:.1%})",
        **({"best": _kept(run)} if with_best else {}),
        "started": _local(run.created),
    }


def _kept(run: Overview) -> str:
    """The best model of the last stage that keeps one by a figure of a task."""
    found = [words for stage in run.stages if (words := _chosen(stage))]
    return found[-1] if found else ""


@app.command(
    "compare",
    epilog=examples(
        ("what two differ in, and what came of it", "pumice runs compare tiny slow"),
        ("by their folders, for a program", "pumice runs compare runs/tiny elsewhere/slow --json"),
    ),
)
def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Two runs or more, by name or folder.")
    ],
    folder: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Compare runs: where their recipes differ, the last numbers of their curves, their scores."""
    from pumice.report.runs import compare_runs

    if len(names) < 2:
        raise UsageError("one run alone cannot be compared", where="RUN", remedy="name two or more")
    found = compare_runs([_folder(name, folder) for name in names])
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=1))
        return
    _print(found, _labels(found.runs))


def _folder(name: str, runs: Path) -> Path:
    place = Path(name)
    for choice in (runs / name, place):
        if (choice / "run.json").is_file():
            return choice
    known = [mark.parent.name for mark in runs.glob("*/run.json")]
    remedy = suggest(name, known) if known else "pumice train makes one"
    raise UsageError(f"there is no run {name!r}", where=str(runs), remedy=remedy)


def _labels(runs: Sequence[Overview]) -> list[str]:
    """Their names, or their folders where names are equal."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [run.folder for run in runs]


def _print(found: Comparison, labels: list[str]) -> None:
    if found.recipe:
        table = _table("recipe", *labels, plain=True)
        for difference in found.recipe:
            table.add_row(difference.key, *difference.values)
        out.print(table)
    else:
        out.print("their recipes are the same")
    out.print()
    table = _table("reached", *labels)
    table.add_row("status", *(run.status for run in found.runs))
    if any(run.sessions > 1 for run in found.runs):
        table.add_row("sessions", *(f"{run.sessions:,}" if run.sessions else "" for run in found.runs))
    for name in dict.fromkeys(stage.name for run in found.runs for stage in run.stages):
        stages = [next((one for one in run.stages if one.name == name), None) for run in found.runs]
        for title, shown in _ROWS:
            cells = [shown(one) if one is not None else "" for one in stages]
            if any(cells):
                table.add_row(f"{name} {title}", *cells)
    out.print(table)
    variants = dict.fromkeys(name for run in found.runs for name in run.scores or {})
    if variants:
        out.print()
        table = _table("exact match, 95% interval", *labels)
        for name in variants:
            table.add_row(name, *(_share((run.scores or {}).get(name)) for run in found.runs))
        out.print(table)
    if len({run.questions for run in found.runs if run.questions}) > 1:
        hint("these runs were not asked the same questions")
    if len({run.held_out for run in found.runs if run.held_out is not None}) > 1:
        hint("their validation losses are of other data, templates or tokens: they do not compare")
    for run in found.runs:
        if run.note is not None:
            hint(f"{run.name}: {run.note}")


def _far(stage: Progress) -> str:
    return f"{stage.name} {stage.step:,}" + (f"/{stage.steps:,}" if stage.steps is not None else "")


def _best(stage: Progress) -> str:
    return "" if stage.best_loss is None else f"{_number(stage.best_loss)} at step {stage.best_step or 0:,}"


def _chosen(stage: Progress) -> str:
    """By a figure of a task, which model is kept as the best."""
    if stage.best_value is None:
        return ""
    return f"{visible(stage.best_figure or '')} {stage.best_value:.2f} at step {stage.best_step or 0:,}"


def _time(stage: Progress) -> str:
    from pumice.report.sections import duration

    return duration(stage.seconds) or ""


_ROWS: tuple[tuple[str, Any], ...] = (
    ("step", lambda stage: _far(stage).removeprefix(f"{stage.name} ")),
    ("time", _time),
    ("loss", lambda stage: _number(stage.loss)),
    ("validation loss", lambda stage: _number(stage.validation)),
    ("best validation loss", _best),
    ("best figure", _chosen),
    ("questions on the way", lambda stage: "" if stage.evaluation is None else f"{stage.evaluation:.1%}"),
    ("tasks on the way", lambda stage: ", ".join(f"{name} {one:.1f}" for name, one in stage.tasks.items())),
)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%}, n {found['n']:,.0f})"


def _table(first: str, *titles: str, plain: bool = False) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, overflow="fold" if plain else "ellipsis")
    return table
