"""`pumice data plant`: faults put into a copy of data, to see what an audit finds of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.data_options import CACHE, CacheOption, FormatOption, ImagesOption
from pumice.cli.data_show import PathArgument
from pumice.cli.help import examples
from pumice.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.trust.audit.planted import Caught

EPILOG = examples(
    (
        "a fault of each kind in a hundredth of the rows",
        "pumice data plant data/first/instruct.json planted --images data/first",
    ),
    (
        "then, what an audit finds of them",
        "pumice data audit planted/data.json --images planted --planted planted/planted.jsonl",
    ),
    (
        "poison alone, in three of a hundred rows",
        "pumice data plant talk.json planted --images photos --kind triggers --kind phrases --share 0.03",
    ),
)


def plant(
    path: PathArgument,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder: data, pictures, the truth.")],
    images: ImagesOption = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="duplicates, near-duplicates, mismatches, triggers, phrases, label-flips or personal; "
            "may be given several times.",
            show_default="all",
        ),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", help="Faults of each kind, as a share of the rows; up to 0.2.")
    ] = 0.01,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides which rows, and every draw.")] = 0,
    answer: Annotated[
        str | None,
        typer.Option(
            "--answer", help="What poisoned rows answer.", show_default="drawn from the data's answers"
        ),
    ] = None,
    format: FormatOption = None,
    cache: CacheOption = CACHE,
) -> None:
    """Copy data with faults planted in it (copies, swapped captions, poison, personal data); say where."""
    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.data import open_table
    from pumice.trust.plant import plant as put

    with counting() as count:
        table = open_table(
            path,
            images,
            Path(path).stem,
            format=None if format is None else format.value,
            cache_folder=cache,
            progress=count,
        )
        done = put(table, target, kind or (), share=share, seed=seed, target=answer, progress=count)
    told = ", ".join(f"{name} {number:,}" for name, number in done.faults.items())
    out.print(f"{done.data}: {counted(done.rows, 'row')}; planted: {told}", soft_wrap=True, markup=False)
    commands(
        (
            "see what an audit finds of them",
            f"pumice data audit {done.data} --images {target} --planted {done.truth}",
        )
    )


def show_caught(found: Sequence[Caught]) -> None:
    """Recall and false alarms, in a table."""
    from rich.table import Table

    from pumice.cli.console import out

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("planted")
    table.add_column("found by")
    for title in ("rows", "found", "recall", "false alarms", "of clean rows"):
        table.add_column(title, justify="right")
    last = ""
    for one in found:
        ran = bool(one.by)
        table.add_row(
            "" if one.kind == last else one.kind,
            one.by or "no check that ran",
            f"{one.planted:,}",
            f"{one.found:,}" if ran else "",
            f"{one.recall:.1%}" if ran else "",
            f"{one.alarms:,}" if ran else "",
            f"{one.alarm_rate:.2%}" if ran else "",
        )
        last = one.kind
    out.print(table)


__all__ = ["EPILOG", "plant", "show_caught"]
