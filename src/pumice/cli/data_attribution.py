"""`pumice data attribution`: the notice of whom to name for data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.data_options import CACHE, CacheOption, Format, FormatOption
from pumice.cli.help import examples
from pumice.errors import RunError, UsageError
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.data.attribution import Attribution
    from pumice.data.index import Progress
    from pumice.recipes import Recipe

EPILOG = examples(
    ("of a data file", "pumice data attribution talk.json --out NOTICE.md"),
    ("of the rows that a run trained on", "pumice data attribution runs/mine --out NOTICE.md"),
    ("of a recipe, before it runs", "pumice data attribution mine.yaml --out NOTICE.md"),
    ("in a script: end with 1 where anything is not known", "pumice data attribution talk.json --strict"),
)


def attribution(
    of: Annotated[
        str,
        typer.Argument(
            metavar="PATH|RECIPE|RUN",
            help="A data file of any format, a recipe (its .yaml, or the name of one that ships), or a run's "
            "folder.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The Markdown file that is written."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: credits, licences, changes.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 where a licence or an author is not known.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="What ${data} in a recipe stands for.")
    ] = None,
    format: FormatOption = None,
    cache: CacheOption = CACHE,
) -> None:
    """Write whom to name for data: by licence and author, what is not known first."""
    import json

    from pumice.cli.console import err, note
    from pumice.cli.console import out as console
    from pumice.cli.progress import counting
    from pumice.data.attribution import notice
    from pumice.files import write_text

    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}", where=f"--out {out}", remedy="make it")
    with counting(err) as count:
        found = _read(of, data, format, cache, count)
    if json_:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        _show(found)
    if out is not None:
        write_text(out, notice(found))
        if not json_:
            console.print(f"\nnotice {out}", soft_wrap=True, markup=False)
    elif not json_:
        note("--out NOTICE.md writes the notice.")
    if strict and found.lacking:
        raise typer.Exit(1)


def _show(found: Attribution) -> None:
    from rich.table import Table

    from pumice.cli.console import out

    rows = sum(credit.rows for credit in found.credits)
    out.print(f"{found.of}: {counted(rows, 'row')}", soft_wrap=True, markup=False)
    for credit in found.lacking:
        out.print(
            f"  not known: {counted(credit.rows, 'row')} of {credit.dataset}: {credit.lacking} "
            f"({'; '.join(credit.first)})",
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("licence")
    table.add_column("rows", justify="right")
    table.add_column("named", justify="right")
    for licence in dict.fromkeys(credit.licence for credit in found.credits):
        own = [credit for credit in found.credits if credit.licence == licence]
        named = len({credit.attribution for credit in own if credit.attribution})
        table.add_row(licence, f"{sum(credit.rows for credit in own):,}", f"{named:,}")
    out.print(table)


def _read(of: str, data: Path | None, format: Format | None, cache: Path, count: Progress) -> Attribution:
    import numpy as np

    from pumice.cli.models import run_named
    from pumice.data import open_table
    from pumice.data.attribution import attribute
    from pumice.recipes import recipe_names
    from pumice.recipes.load import SUFFIXES

    run = run_named(of) or Path(of)
    is_run = (run / "run.json").is_file()
    if not is_run and not of.endswith(SUFFIXES) and of not in recipe_names():
        if data is not None:
            raise UsageError("--data is for a recipe", where="--data", remedy="leave it out")
        kind = None if format is None else format.value
        table = open_table(
            of, None, Path(of).stem, format=kind, check_files=False, cache_folder=cache, progress=count
        )
        return attribute(of, [(table, np.arange(len(table), dtype=np.int64))])
    if format is not None:
        raise UsageError("a recipe says what its files are", where="--format", remedy="leave it out")
    from pumice.cli.opening import open_recipe

    recipe = open_recipe(
        str(run / "recipe.yaml") if is_run else of, (), small=False, data=data, runs=cache.parent
    )
    name = f"the run {run.resolve().name}" if is_run else f"the recipe {recipe.name}"
    return _of_recipe(recipe, name, run if is_run else None, cache, count)


def _of_recipe(recipe: Recipe, name: str, run: Path | None, cache: Path, count: Progress) -> Attribution:
    """Of all rows that the stages train on; of a run it is told where a file is not what it was."""
    from pumice.data.attribution import attribute
    from pumice.data.mixture import read_mixture
    from pumice.train.sources import refusals_of, source_of

    recorded = {} if run is None else _recorded(run)
    parts, notes = [], []
    for stage in recipe.stages:
        mixture = read_mixture(
            [source_of(recipe, source) for source in stage.sources],
            seed=recipe.seed,
            check_files=False,
            cache_folder=cache,
            progress=count,
            refusals=refusals_of(recipe, stage),
        )
        parts += list(mixture.samples.parts)
        for table in mixture.tables:
            was, file = recorded.get(table.source), Path(table.head.origins[0]).name
            if was is not None and was["sha256"] != table.head.sha256:
                notes.append(
                    f"{file}: the file is not what it was when the run read it; its rows are told as they "
                    "are now"
                )
            elif was is not None and (more := table.head.erased - was["erased"]) > 0:
                gone = counted(more, "row was", "rows were")
                notes.append(
                    f"{file}: {gone} erased since the run read it; what is left is told, and where a "
                    "limit chooses, others may stand in their place"
                )
    return attribute(name, parts, list(dict.fromkeys(notes)))


def _recorded(run: Path) -> dict[str, Any]:
    import json

    path = run / "mixture.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["source"]: {"erased": 0, "sha256": row["sha256"], **row} for row in rows}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"the record of the run's data cannot be read ({type(error).__name__}: {error})",
            where=str(path),
            remedy="restore it from a copy, or name the recipe: then the files are told as they are now",
        ) from error
