"""Where words go: results and progress to standard output, errors to standard error."""

from __future__ import annotations

import os
import re
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pumice.errors import PumiceError

FILE_WIDTH = 100
"""Columns where there is no terminal to ask: our tables fit into them."""
TABLE_WIDTH = 1000
"""Columns of a table whose rows must not be broken."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    fixed = None if stream.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
    return Console(stderr=stderr, width=fixed, highlight=False)


out = _console(stderr=False)
err = _console(stderr=True)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Text without control characters: what a model or a file says must not steer the terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def answer_piece(text: str) -> None:
    """Write a piece of an answer at once: as it is into a file or pipe, harmless to a terminal."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def print_error(error: PumiceError) -> None:
    """What happened in red, then where, then what to do; long paths are not broken."""
    text = Text.assemble(("error: ", "bold red"), (visible(error.what), "red"))
    if error.where:
        text.append("\n  where: ", "dim").append(visible(error.where))
    if error.remedy:
        text.append("\n  to do: ", "dim").append(visible(error.remedy))
    err.print(text, soft_wrap=True)


def print_table(table: Table, console: Console = out) -> None:
    """A table; where there is no terminal, a line a row however long it is, for those who search in lines."""
    if console.is_terminal:
        console.print(table)
        return
    options = console.options.update(width=TABLE_WIDTH)
    for line in console.render_lines(table, options, pad=False):
        console.print(Text("".join(part.text for part in line).rstrip()), soft_wrap=True)


def commands(*lines: tuple[str, str]) -> None:
    """What to do next: a command each, with what it is for. Commands stand whole, to be copied."""
    out.print("\nNext", style="bold")
    for purpose, command in lines:
        out.print(Text(f"  {purpose}:", "dim"), soft_wrap=True)
        out.print(Text(f"    {command}", "cyan"), soft_wrap=True)


def hint(text: str) -> None:
    """A quiet line on standard error, where it is in no answer's way."""
    err.print(Text(text, "dim"), soft_wrap=True)


def note(text: str) -> None:
    """A quiet line."""
    out.print(Text(text, "dim"), soft_wrap=True)
