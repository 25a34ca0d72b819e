"""`pumice data erase`: rows that must go, from the data, the caches and the weights that saw them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.data_options import FormatOption, ImagesOption
from pumice.cli.help import examples
from pumice.errors import UsageError
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.lineage.erase import Erasure
    from pumice.trust.lineage.retrain import Retraining
    from pumice.trust.lineage.select import Chosen

EPILOG = examples(
    ("what would happen; nothing is changed", "pumice data erase talk.json --row 17 --dry-run"),
    (
        "every row that shows a picture, in the data of all runs, too",
        "pumice data erase talk.json --images photos --image photos/17.jpg",
    ),
    ("every row that names someone", "pumice data erase talk.json --subject 'jane (a\\. )?doe'"),
    ("out of the file itself, without a question", "pumice data erase talk.json --row 17 --rewrite --yes"),
    ("which weights saw what was erased earlier", "pumice data erase --again --models exports"),
)
SHOWN = 12
"""Lines of a list; the rest is counted."""


def erase(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Data files. Those that the runs in --runs were made of are looked through as well.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row", metavar="ID", help="A row by its id or its digest; may be given several times."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="Rows that show this picture, under whatever name."),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            metavar="REGEX",
            help="Rows where this is found in texts, ids, or names of pictures; case does not count.",
        ),
    ] = None,
    images: ImagesOption = None,
    format: FormatOption = None,
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder of runs.")] = Path("runs"),
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--models",
            metavar="DIR",
            help="A folder in which other weights lie, such as exports; may be given several times.",
        ),
    ] = None,
    scenes: Annotated[
        list[Path] | None,
        typer.Option(
            "--scenes",
            metavar="FILE",
            help="A file of scenes: pumice generate leaves out those with the rows' pictures from then on.",
        ),
    ] = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Also write the data files without the rows (JSON, JSONL).")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Look also for weights that saw rows which were erased earlier."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without a question.")] = False,
) -> None:
    """Erase rows: from all that reads the data, from caches, and find and lock the weights that saw them."""
    from pumice.cli.console import hint, note, out
    from pumice.cli.progress import counting
    from pumice.trust.lineage.erase import carry_out, prepare
    from pumice.trust.lineage.select import DataFile, Wanted

    for path in scenes or ():
        if not path.is_file():
            raise UsageError(f"there is no file {path}", where="--scenes", remedy="check the path")
    if dry_run and yes:
        raise UsageError("--dry-run changes nothing", where="--yes", remedy="leave one of them out")
    named = again and not rows and not image and subject is None
    wanted = Wanted() if named else Wanted.of(rows or (), image or (), subject)
    kind = None if format is None else format.value
    with counting() as count:
        erasure = prepare(
            [DataFile(path, images, kind) for path in paths or ()],
            wanted,
            runs=runs,
            models=models or (),
            again=again,
            scenes=scenes or (),
            progress=count,
        )
    _show(erasure)
    if not erasure.digests:
        hint("nothing is erased")
        return
    if dry_run:
        note("\nNothing was changed (--dry-run).")
        return
    if not yes and not typer.confirm("\nErase them?"):
        hint("nothing is erased")
        raise typer.Exit(1)
    entry = carry_out(erasure, runs, again=rewrite)
    counts = entry["counts"]
    out.print(
        f"\n{entry['erasure']}: {counted(counts['rows'], 'row')} of {counted(counts['files'], 'file')} "
        f"erased, {counts['purged_bytes']:,} bytes purged, {counted(counts['quarantined'], 'folder')} of "
        f"weights quarantined; noted in {runs / 'erasures.jsonl'}",
        soft_wrap=True,
        markup=False,
    )


def _show(erasure: Erasure) -> None:
    """What the request means and touches."""
    _lines(
        "Rows",
        [_rows(one) for one in erasure.chosen if one.rows]
        + [f"{name}: erased already; --again looks for weights that saw it" for name in erasure.gone]
        + ([f"{counted(len(erasure.earlier), 'row')} by digest, erased or gone"] if erasure.earlier else []),
        "no row is meant",
    )
    _lines(
        "Kept of them, to be purged",
        [f"{one.what}: {one.size:,} bytes ({one.place})" for one in erasure.purges],
        "nothing",
    )
    _lines("Weights that saw them, to be quarantined", _exposed(erasure), "none")
    clean = [one for one in erasure.verdicts if one.word == "clean"]
    _lines("Weights that did not", [f"{one.weights.folder} ({one.weights.kind})" for one in clean], "none")
    for plan in erasure.retrainings:
        _retraining(plan)
    _lines("Not proven", _unproven(erasure), "")


def _rows(one: Chosen) -> str:
    """``talk.json: 2 rows of 10 (rows 3, 7)``."""
    numbers = ", ".join(str(one.table.origin(row).row) for row in one.rows[:SHOWN])
    numbers += ", ..." if len(one.rows) > SHOWN else ""
    which = f"({'row' if len(one.rows) == 1 else 'rows'} {numbers})"
    return f"{one.file.path}: {counted(len(one.rows), 'row')} of {len(one.table):,} {which}"


def _exposed(erasure: Erasure) -> list[str]:
    return [
        f"{one.weights.folder} ({one.weights.kind}): "
        + "; ".join(
            f"{counted(seen.rows, 'row')} of stage {seen.stage.stage} of run {seen.stage.run.name}, the "
            f"first in step {seen.first}"
            for seen in one.exposed
        )
        for one in erasure.exposed
    ]


def _retraining(plan: Retraining) -> None:
    from rich.text import Text

    from pumice.cli.console import out

    out.print(Text(f"\nTo have {plan.run} without them", "bold"), soft_wrap=True)
    for name in plan.first:
        out.print(Text(f"  first train again what it began with: {name}"), soft_wrap=True)
    for way in plan.ways:
        time = "" if way.seconds is None else f", about {_clock(way.seconds)} by the run's own clock"
        out.print(Text(f"  {way.command}", "cyan"), soft_wrap=True)
        out.print(Text(f"    keeps {way.kept}; {counted(way.steps, 'step')} again{time}"), soft_wrap=True)
        out.print(Text(f"    equals {way.equals}"), soft_wrap=True)


def _unproven(erasure: Erasure) -> list[str]:
    """What this command cannot know or does not touch."""
    lines = [
        f"{one.weights.folder}: {'; '.join(one.unknown)}" for one in erasure.verdicts if one.word == "unknown"
    ]
    lines += [
        f"{run}: made without records; of {', '.join(files) or 'data that it does not name'}"
        for run, files in erasure.unrecorded_runs
    ]
    lines += [
        f"{stage.folder}: it measured itself on them; its weights saw none, its best model may hang on them"
        for stage in {id(one): one for verdict in erasure.verdicts for one in verdict.measured}.values()
    ]
    lines += [
        f"{one.file.path}: {counted(len(one.beside), 'more row')} with the same pictures, as generate "
        "makes them; --image takes them, too"
        for one in erasure.chosen
        if one.beside
    ]
    lines += [f"{path} names them {counted(count, 'time')}" for path, count in erasure.mentions]
    lines += [f"{path} was not looked through: {why}" for path, why in erasure.unread]
    if erasure.bases:
        lines.append(f"what was trained before, without a record: {', '.join(erasure.bases)}")
    picture = any(one.rows and one.pictures() for one in erasure.chosen)
    lines += ["the picture files themselves: they are yours to delete"] if picture else []
    return [
        *lines,
        "copies and backups elsewhere, weights outside of these folders, what servers keep that were asked",
    ]


def _lines(title: str, lines: list[str], empty: str) -> None:
    from rich.text import Text

    from pumice.cli.console import out, visible

    out.print(Text(f"\n{title}", "bold"))
    for line in lines[: SHOWN * 2] or [empty]:
        out.print(Text(f"  {visible(line)}"), soft_wrap=True)
    if len(lines) > SHOWN * 2:
        out.print(Text(f"  and {len(lines) - SHOWN * 2:,} more"))


def _clock(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
