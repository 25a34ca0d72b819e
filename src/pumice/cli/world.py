"""`pumice world`: pictures, instruction data and questions, drawn on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples

app = typer.Typer(no_args_is_help=True, help="Draw pictures with their captions, questions and true answers.")


PLACES = {"vision": "clip-tiny", "language": "lm-tiny"}
"""Where a recipe names each part."""


class Level(StrEnum):
    """How hard the pictures are."""

    easy = "easy"
    full = "full"


@app.command(
    "make",
    epilog=examples(
        ("a small world to try things with", "pumice world make data/first --n 1000 --level easy"),
        ("more and harder pictures, four at a time", "pumice world make data/full --n 20000 --workers 4"),
        ("exactly 500 test pictures", "pumice world make data/test --n 1500 --test 500"),
    ),
)
def make(
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; the same command again completes it.", metavar="OUT")
    ],
    n: Annotated[
        int, typer.Option("--n", min=1, help="How many pictures in all, those held back among them.")
    ] = 1000,
    level: Annotated[
        Level,
        typer.Option(
            help="easy: 1 to 3 objects a picture, signs of 1 or 2 letters; full: up to 6, signs of up to 4."
        ),
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


@app.command(
    "benchmarks",
    epilog=examples(
        ("all of them", "pumice world benchmarks data/benchmarks"),
        (
            "POPE and MME alone, with more questions",
            "pumice world benchmarks data/yes --only pope,mme --n 600",
        ),
    ),
)
def benchmarks(
    folder: Annotated[
        Path, typer.Argument(help="The folder to make; the same command again completes it.", metavar="DIR")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other pictures.")] = 0,
    n: Annotated[int, typer.Option("--n", min=1, help="Questions of each benchmark, about.")] = 96,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Which, with commas between; llava-bench and mm-vet take a judge and must be named.",
            show_default="all that take no judge",
        ),
    ] = None,
) -> None:
    """Write small benchmarks in the files of the published ones: drawn pictures, true answers."""
    from pumice.cli.console import commands, note, out
    from pumice.cli.progress import counting
    from pumice.world.benchmarks import write_benchmarks

    names = [name.strip() for name in (only or "").split(",") if name.strip()]
    with counting() as count:
        record = write_benchmarks(
            folder,
            seed=seed,
            n=n,
            names=names,
            progress=lambda done, total: count("benchmarks", done, total),
        )
    for name, questions in record["questions"].items():
        out.print(f"  {folder / name}  {questions:,}", markup=False, soft_wrap=True)
    for name, package in record["left_out"].items():
        note(f"{name} is left out: it takes {package}, of the extra `tables`")
    commands(_measuring(folder, record["questions"]))


def _measuring(folder: Path, names: Collection[str]) -> tuple[str, str]:
    """The command that measures a model on these benchmarks, with what it is for."""
    from pumice.score import TASKS
    from pumice.world.benchmarks import BENCHMARKS

    words = ["pumice", "eval", "tiny"]
    words += ["--tasks", "all"] if any(name in TASKS for name in names) else []
    words += ["--dimensions", "all"] if any(name not in TASKS for name in names) else []
    words += ["--data", str(folder)]
    purpose = "measure a model on them"
    judged = [name for name in names if BENCHMARKS[name].judged]
    if judged:
        words += ["--judge", "URL", "--judge-model", "NAME"]
        purpose += f"; URL and NAME are those of a judge, which must read {' and '.join(judged)}"
    return purpose, shlex.join(words)


@app.command(
    "phantoms",
    epilog=examples(
        ("DICOM files of invented patients", "pumice world phantoms hospital --n 200"),
        (
            "then, pictures that name nobody",
            "pumice data dicom hospital/dicom --out pictures --key hospital.key --mask us-regions",
        ),
    ),
)
def phantoms(
    folder: Annotated[Path, typer.Argument(help="The folder to make.", metavar="OUT")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many DICOM files.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws others.")] = 0,
) -> None:
    """Write stand-ins for a hospital's files: phantoms in DICOM, invented names, captions, questions."""
    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.world.phantoms import write_phantoms

    with counting() as count:
        numbers = write_phantoms(
            folder, n=n, seed=seed, progress=lambda done, total: count("files", done, total)
        )
    said = ", ".join(f"{number:,} {what}" for what, number in numbers.items())
    out.print(f"{folder}: {said}", soft_wrap=True, markup=False)
    commands(
        (
            "make pictures that name nobody",
            shlex.join(["pumice", "data", "dicom", str(folder / "dicom"), "--out", "pictures",
                        "--key", "hospital.key", "--mask", "us-regions"]),
        )
    )  # fmt: skip


class Part(StrEnum):
    """An embedded part."""

    tower = "clip-tiny"
    language = "lm-tiny"


@app.command(
    "pretrain",
    epilog=examples(
        ("both parts as they ship (hours on two cores)", "pumice world pretrain parts"),
        ("the language model alone", "pumice world pretrain parts --part lm-tiny"),
    ),
)
def pretrain(
    folder: Annotated[
        Path, typer.Argument(help="Where to; the same command again goes on after a stop.", metavar="OUT")
    ],
    parts: Annotated[
        list[Part] | None,
        typer.Option("--part", help="Which part to make; may be given twice.", show_default="both"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that draw and write.", show_default="one per CPU core"),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures the tower learns from.")] = 60000,
    documents: Annotated[
        int, typer.Option(min=1, help="Documents of each form the language model learns from.")
    ] = 15000,
) -> None:
    """Pretrain the two tiny parts that ship with Pumice, from nothing: the tower and the language model."""
    import os

    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.cli.stopping import Stopping
    from pumice.errors import Interrupted
    from pumice.world.pretrain import pretrain as make_parts

    chosen = tuple(dict.fromkeys(part.value for part in parts or list(Part)))
    try:
        with Stopping() as stopping, counting() as report:
            scores = make_parts(
                folder,
                report=report,
                workers=workers or os.cpu_count() or 1,
                pictures=pictures,
                documents=documents,
                parts=chosen,
                stop=stopping.asked_at_step,
            )
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped before all parts were made",
            where=str(folder),
            remedy="run the same command again: it goes on from what was saved",
        ) from error
    for name, figures in scores.items():
        shown = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
        out.print(f"{folder / name}: {shown}", markup=False, soft_wrap=True)
    use = [f"--set model.{key}={folder / name}" for key, name in PLACES.items() if name in scores]
    commands(("train with them", f"pumice train tiny --data DIR {' '.join(use)}"))
