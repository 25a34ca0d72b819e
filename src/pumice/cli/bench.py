"""`pumice bench`: how fast this program is beside what one would use otherwise."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.bench_answers import infer, serve
from pumice.cli.help import examples
from pumice.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.bench.train import Agreement, Line

app = typer.Typer(no_args_is_help=True, help="Measure speed and memory beside other programs.")


class StageChoice(StrEnum):
    """A stage that is measured."""

    align = "align"
    instruct = "instruct"


@app.callback()
def bench() -> None:
    """Measure speed and memory beside other programs."""


@app.command(
    "train",
    epilog=examples(
        ("the whole table, with the losses of both sides compared", "pumice bench train"),
        ("one stage, one peer", "pumice bench train --stage instruct --side padded"),
        ("to a file", "pumice bench train --json bench.json"),
    ),
)
def train(
    stages: Annotated[
        list[StageChoice] | None, typer.Option("--stage", help="Which stage.", show_default="both")
    ] = None,
    sides: Annotated[
        list[str] | None,
        typer.Option(
            "--side", help="A peer: padded, grouped or sorted; may be given twice.", show_default="all three"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often every side is measured, in turn.")] = 3,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a measurement; the first warms up.")] = 4,
    samples: Annotated[int, typer.Option(min=1, help="Samples of a step.")] = 16,
    micro: Annotated[int, typer.Option(min=1, help="Samples that Trainer takes at once.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch.", show_default="one per CPU core")
    ] = None,
    check_steps: Annotated[
        int, typer.Option(min=0, help="Steps whose losses are compared in fp32; 0 leaves that out.")
    ] = 20,
    out_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there, too.")
    ] = None,
) -> None:
    """Train a 42M-parameter LLaVA with this program and with transformers' Trainer, in turn.

    Same weights, same rows (lengths of LLaVA-1.5's mixture), same steps. Takes about half an hour on two
    CPU cores.
    """
    import os

    from pumice.bench.material import STAGES, Size, make_data, make_model
    from pumice.bench.train import SIDES, Settings, bench_training, check_sides, compare_losses
    from pumice.cli.console import note
    from pumice.cli.progress import counting
    from pumice.errors import MissingExtraError, UsageError

    if find_spec("accelerate") is None:
        raise MissingExtraError(
            "transformers' Trainer, which is measured beside, needs accelerate, which is not installed",
            where="pumice bench train",
            remedy="pip install 'pumice[bench]'",
        )
    if samples % micro:
        raise UsageError(
            f"{samples} samples are no whole number of {micro}",
            where="--micro",
            remedy="choose a divisor",
        )
    chosen = [stage for stage in STAGES if stages is None or stage in {one.value for one in stages}]
    names = list(dict.fromkeys(["pumice", *(sides or SIDES[1:])]))
    check_sides(names)
    cores = threads or os.cpu_count() or 1
    settings = Settings(samples=samples, micro=micro, steps=steps, rounds=rounds, threads=cores)
    with tempfile.TemporaryDirectory() as folder:
        material = Path(folder)
        note("making a model of random weights, and rows and pictures for it")
        make_model(material, Size())
        make_data(material, samples * max(steps, check_steps), Size())
        with counting() as count:
            lines = bench_training(material, chosen, names, settings, count)
        agreements = []
        if check_steps > 1 and "padded" in names:
            checked = Settings(samples=8, micro=8, steps=check_steps, threads=cores)
            with counting() as count:
                for number, stage in enumerate(chosen):
                    count(f"comparing losses, {stage}", number, len(chosen))
                    agreements.append(compare_losses(material, stage, checked))
    _show(lines, agreements, settings.threads)
    if out_file is not None:
        _write(out_file, lines, agreements)


app.command(
    "infer",
    epilog=examples(
        ("the whole table", "pumice bench infer"),
        ("two sides", "pumice bench infer --side 'pumice bfloat16' --side 'transformers bfloat16'"),
        ("tried out with a tiny model", "pumice bench infer --small --rounds 1"),
    ),
)(infer)
app.command(
    "serve",
    epilog=examples(
        ("16 image requests together, beside one at a time", "pumice bench serve --kind image"),
        ("longer answers, to a file", "pumice bench serve --tokens 256 --json bench.json"),
        ("tried out with a tiny model", "pumice bench serve --small --rounds 1"),
    ),
)(serve)


def _show(lines: Sequence[Line], agreements: Sequence[Agreement], threads: int) -> None:
    import platform

    import torch
    import transformers
    from rich.table import Table

    from pumice.bench.train import GOALS, MEANINGS
    from pumice.cli.console import note, out

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in (
        "stage",
        "side",
        "supervised tok/s",
        "tok/s",
        "filled",
        "peak MB",
        "ours is",
        "of its memory",
    ):
        table.add_column(title, justify="left" if title in ("stage", "side") else "right")
    for line in lines:
        goal = GOALS.get((line.stage, line.side))
        times = "" if line.speedup is None else f"{line.speedup:.2f}x"
        table.add_row(
            line.stage,
            MEANINGS[line.side],
            f"{line.supervised_rate:,.0f}",
            f"{line.token_rate:,.0f}",
            f"{line.fill:.0%}",
            f"{line.peak_bytes / 1e6:,.0f}",
            times + (f" (goal {goal}x)" if goal else ""),
            "" if line.memory_share is None else f"{line.memory_share:.0%}",
        )
    out.print()
    out.print(table)
    for one in agreements:
        out.print(
            f"{one.stage}, fp32: the first step's losses are {one.first:.1e} apart, those of "
            f"{one.steps} steps at most {one.worst:.1e} (relative)",
            markup=False,
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else counted(threads, "thread")
    note(
        f"medians of {max(line.rounds for line in lines)} rounds; {platform.machine()}, {device}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}"
    )


def _write(file: Path, lines: Sequence[Line], agreements: Sequence[Agreement]) -> None:
    from dataclasses import asdict

    from pumice.files import write_json

    write_json(file, {"lines": [asdict(x) for x in lines], "agreement": [asdict(x) for x in agreements]})
