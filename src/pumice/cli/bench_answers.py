"""`pumice bench infer` and `pumice bench serve`: how fast answers come."""

from __future__ import annotations

import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.errors import UsageError
from pumice.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.bench.infer import Figures, Line
    from pumice.bench.material import Size
    from pumice.bench.together import Load, Settings


class KindChoice(StrEnum):
    """What requests show."""

    image = "image"
    shared = "shared"
    mixed = "mixed"
    text = "text"


_Rounds = Annotated[int, typer.Option(min=1, help="How often everything is measured, in turn.")]
_Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of torch.", show_default="one per CPU core")
]
_Small = Annotated[
    bool, typer.Option("--small", help="A tiny model, to try the command out: its numbers mean nothing.")
]
_Layers = Annotated[
    int | None, typer.Option(min=1, help="Layers of the language model.", show_default="22: 1.1 billion")
]
_Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there, too.")]


def infer(
    sides: Annotated[
        list[str] | None,
        typer.Option(
            "--side",
            help="A program and its weights, such as 'pumice bfloat16', 'transformers bfloat16' or "
            "'llama.cpp q8_0'; repeatable.",
            show_default="ours in few bits, and the programs beside them",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer.")] = 32,
    rounds: _Rounds = 3,
    threads: _Threads = None,
    layers: _Layers = None,
    small: _Small = False,
    out_file: _Json = None,
) -> None:
    """First token and decoding of one question about a picture, beside transformers and llama.cpp, in turn.

    Random weights in the shapes of CLIP-L/336 and TinyLlama 1.1B. llama.cpp gets as many tokens without a
    picture, and is left out where llama-cpp-python is not installed. Needs 16 GB of memory and 10 of disk.
    """
    from pumice.bench.infer import DEFAULT, Settings, bench_answers, check_names
    from pumice.bench.material import make_model
    from pumice.cli.console import note
    from pumice.cli.progress import counting

    names = list(dict.fromkeys(sides or DEFAULT))
    check_names(names)
    settings = Settings(
        tokens=tokens, rounds=rounds, threads=threads or _cores(), megabytes=8 if small else 512
    )
    size = _size(layers, small=small)
    with tempfile.TemporaryDirectory() as folder:
        note("making a model of random weights")
        make_model(Path(folder), size, dtype="bfloat16")
        with counting() as count:
            figures = bench_answers(Path(folder), size, names, settings, count)
    _show_answers(figures)
    _told(rounds, settings.threads)
    if out_file is not None:
        _write(out_file, settings, size, figures)


def serve(
    kinds: Annotated[
        list[KindChoice] | None,
        typer.Option(
            "--kind",
            help="What requests show: a picture each, all the same one, every other one a picture, none.",
            show_default="all",
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "bfloat16",
    requests: Annotated[int, typer.Option(min=2, help="Requests that come at once.")] = 16,
    alone: Annotated[
        int, typer.Option(min=1, help="Requests that are asked one after another, to compare.")
    ] = 4,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer.")] = 128,
    rounds: _Rounds = 3,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="For all rounds together: kinds share them, each has one round at least, and none begins "
            "that would end later.",
            show_default="as long as it takes; the estimate comes first",
        ),
    ] = None,
    threads: _Threads = None,
    layers: _Layers = None,
    small: _Small = False,
    out_file: _Json = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Measure only the kinds that the file of --json does not hold yet."),
    ] = False,
) -> None:
    """Many requests at once beside one at a time on the same engine, each with words of its own.

    Random weights in the shapes of CLIP-L/336 and TinyLlama 1.1B; answers of fixed length. Before the first
    round it says how long all will take. The file of --json grows kind by kind, and --resume goes on with it.
    """
    from pumice.bench.material import make_model
    from pumice.bench.together import KINDS, Settings, bench_together
    from pumice.bench.weights import check_weights
    from pumice.cli.console import note
    from pumice.cli.plan_view import duration
    from pumice.cli.progress import counting

    check_weights(weights)
    settings = Settings(
        weights=weights,
        requests=requests,
        alone=alone,
        tokens=tokens,
        rounds=rounds,
        threads=threads or _cores(),
        seconds=None if minutes is None else 60 * minutes,
    )
    size = _size(layers, small=small)
    chosen = [kind for kind in KINDS if kinds is None or kind in {one.value for one in kinds}]
    loads = _held(out_file, settings, size) if resume else []
    held = {one.kind for one in loads}
    for kind in chosen:
        if kind in held:
            note(f"{kind} is in {out_file} already")

    def expect(one: float, whole: float) -> None:
        note(
            f"one request alone took {one:.1f} s; {counted(len(left), 'kind')}, {counted(rounds, 'round')} "
            f"of {alone} one at a time and {requests} together: at most about {duration(whole)}"
        )

    def keep(found: list[Load]) -> None:
        loads.extend(found)
        if out_file is not None:
            _write(out_file, settings, size, loads)

    left = [kind for kind in chosen if kind not in held]
    if left:
        with tempfile.TemporaryDirectory() as folder:
            note("making a model of random weights")
            made = make_model(Path(folder), size, dtype="bfloat16")
            with counting() as count:
                bench_together(made, left, settings, count, expect=expect, keep=keep)
    _show_loads(loads)
    _told(max(one.rounds for one in loads), settings.threads)


def _held(file: Path | None, settings: Settings, size: Size) -> list[Load]:
    """The figures of a file that was measured in the same way; none where there is no file yet.

    Raises:
        UsageError: no file is named, it is none of these, or was measured otherwise.
    """
    from dataclasses import asdict

    from pumice.bench.together import Load

    if file is None:
        raise UsageError("--resume goes on with a file", where="--resume", remedy="name it with --json FILE")
    if not file.exists():
        return []
    remedy = "name another file, or leave --resume away to measure all anew"
    try:
        told = json.loads(file.read_text("utf-8"))
        loads = [Load(**one) for one in told["figures"]]
        before = [{**told["settings"], "rounds": 0, "seconds": 0}, told["size"], told["machine"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "the file holds no figures of pumice bench serve", where=str(file), remedy=remedy
        ) from error
    now = [{**asdict(settings), "rounds": 0, "seconds": 0}, asdict(size), _machine(settings.threads)]
    for one, other in zip(before, now, strict=True):
        if one != other:
            raise UsageError(
                f"its figures are of {one}, and now {other} are measured", where=str(file), remedy=remedy
            )
    return loads


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _size(layers: int | None, *, small: bool) -> Size:
    from dataclasses import replace

    from pumice.bench.material import LLAVA_1B, MINI

    size = MINI if small else LLAVA_1B
    return size if layers is None else replace(size, layers=layers)


def _show_answers(figures: Figures) -> None:
    from rich.table import Table

    from pumice.bench.infer import AGAIN_GOAL, FIRST_BESIDE, FIRST_GOAL
    from pumice.cli.console import note, out

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("side", no_wrap=True)
    for title in ("first token", "ratio", "again", "ratio", "tok/s", "ratio", "of the limit", "peak MB"):
        table.add_column(title, justify="right")
    for line in figures.lines:
        if line.skipped is None:
            table.add_row(*_answer_cells(line))
    out.print()
    out.print(table)
    for line in figures.lines:
        if line.skipped is not None:
            note(f"{line.side} was left out: {line.skipped}")
    prompt = max(line.prompt for line in figures.lines)
    note(
        f"first token of {prompt} tokens with a new picture, and with the same again: ratios of the time of "
        f"{FIRST_BESIDE}, goals at most {FIRST_GOAL:g}x and {AGAIN_GOAL:g}x"
    )
    for line in figures.lines:
        if (told := _decoding(line)) is not None:
            note(told)
    note(
        f"memory is read at {figures.bandwidth / 1e9:.1f} GB/s; the limit is that over the bytes of weights "
        f"that a token reads"
    )


def _answer_cells(line: Line) -> list[str]:
    def ratio(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}x"

    return [
        line.side,
        f"{line.first:.2f} s",
        ratio(line.first_ratio),
        "" if line.again is None else f"{line.again:.2f} s",
        ratio(line.again_ratio),
        f"{line.rate:.1f}",
        ratio(line.rate_ratio),
        "" if line.limit is None else f"{line.limit:.0%}",
        f"{line.peak_bytes / 1e6:,.0f}",
    ]


def _decoding(line: Line) -> str | None:
    """Whose decoding a side of ours is held against."""
    from pumice.bench.infer import BESIDE, GOALS

    if line.rate_ratio is None:
        return None
    goal = f", goal {GOALS[line.side]:g} at least" if line.side in GOALS else ""
    return f"decoding of {line.side} beside {BESIDE[line.side]}: {line.rate_ratio:.2f}x{goal}"


def _show_loads(loads: Sequence[Load]) -> None:
    from rich.table import Table

    from pumice.bench.together import GOAL
    from pumice.cli.console import note, out

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("requests", "way"):
        table.add_column(title)
    for title in ("requests/s", "tok/s", "first token p50", "p95", "lost", "together is"):
        table.add_column(title, justify="right")
    for one in loads:
        goal = f" (goal {GOAL:g}x)" if one.kind == "image" else ""
        table.add_row(
            one.kind,
            "one at a time" if one.way == "one" else f"{one.requests} together",
            f"{one.rate:.3f}",
            f"{one.token_rate:.1f}",
            f"{one.first_p50:.2f} s",
            f"{one.first_p95:.2f} s",
            str(one.lost),
            "" if one.ratio is None else f"{one.ratio:.2f}x{goal}",
        )
    out.print()
    out.print(table)
    lost = sum(one.lost for one in loads)
    asked = sum(one.requests * one.rounds for one in loads)
    note(f"{lost or 'none'} of {counted(asked, 'request')} lost")
    for one in loads:
        if one.way == "together":
            note(f"{one.kind}: 95 of 100 requests had their first token after {one.first_p95:.2f} s")


def _told(rounds: int, threads: int) -> None:
    from pumice.cli.console import note

    note(f"medians of {counted(rounds, 'round')}; {_machine(threads)}")


def _machine(threads: int) -> str:
    import platform

    import torch
    import transformers

    return (
        f"{platform.machine()}, {counted(threads, 'thread')}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}"
    )


def _write(file: Path, settings: Any, size: Size, figures: Any) -> None:
    from dataclasses import asdict, is_dataclass

    from pumice.files import write_json

    told = asdict(figures) if is_dataclass(figures) and not isinstance(figures, type) else None
    write_json(
        file,
        {
            "machine": _machine(settings.threads),
            "settings": asdict(settings),
            "size": asdict(size),
            "figures": told if told is not None else [asdict(one) for one in figures],
        },
    )
