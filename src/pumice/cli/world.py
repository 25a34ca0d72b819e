"""`pumice world`: pictures, instruction data and questions, drawn on this machine."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples

app = typer.Typer(no_args_is_help=True, help="Draw pictures with their captions, questions and true answers.")


class Level(StrEnum):
    """How hard the pictures are."""

    easy = "easy"
    full = "full"


@app.command(
    "make",
    epilog=examples(
        ("a small world to try things with", "pumice world make data/easy --n 1000 --level easy"),
        ("more and harder pictures, four at a time", "pumice world make data/full --n 20000 --workers 4"),
        ("exactly 500 test pictures", "pumice world make data/test --n 1500 --test 500"),
    ),
)
def make(
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; the same command again completes it.", metavar="OUT")
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures in all.")] = 1000,
    level: Annotated[
        Level, typer.Option(help="easy: 1 to 3 objects a picture; full: up to 6, and signs.")
    ] = Level.full,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other pictures.")] = 0,
    validation: Annotated[
        int | None, typer.Option(min=0, help="Pictures held back to validate on.", show_default="a tenth")
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=0, help="Pictures held back to test on.", show_default="a tenth")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw.", show_default="one per CPU core")
    ] = None,
) -> None:
    """Draw a world: pictures, captions with boxes, instruction data, and test questions with answers."""
    import os
    import time

    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.world.make import make_world

    began = time.monotonic()
    with counting() as count:
        summary = make_world(
            folder,
            n=n,
            validation=validation,
            test=test,
            level=level.value,
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=lambda done, total: count("pictures", done, total),
        )
    seconds = time.monotonic() - began
    numbers = ", ".join(f"{number:,} {split}" for split, number in summary["pictures"].items())
    out.print(f"{folder}: {numbers} pictures in {seconds:.0f} s", soft_wrap=True)
    for name, entry in summary["files"].items():
        out.print(f"  {name:<24} {entry['rows']:>8,} rows", markup=False)
    commands(
        ("look at it", f"open {folder / 'gallery.html'} in a browser"),
        ("train on it", shlex.join(["pumice", "train", "tiny", "--data", str(folder)])),
    )
