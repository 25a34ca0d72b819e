"""Bars while something goes on; in a file, a line now and then instead."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pumice.cli.console import out
from pumice.words import counted


class Count(Protocol):
    """Told how far something is, with figures to show behind it."""

    def __call__(
        self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None, /
    ) -> None: ...


LOG_SECONDS = 20.0
"""Between lines where there is no terminal."""


@contextmanager
def counting(console: Console = out) -> Iterator[Count]:
    """A bar for each thing that is counted; a thing that starts again gets its bar again."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        said = time.monotonic()

        def count(what: str, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
            nonlocal said
            shown = "  ".join(f"{name} {value:.3g}" for name, value in (figures or {}).items())
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, figures="")
            bars.update(tasks[what], completed=done, total=total, figures=shown)
            due = time.monotonic() - said > LOG_SECONDS or done == total
            if not console.is_terminal and due:
                said = time.monotonic()
                console.print(f"{what}: {done:,} of {total:,}  {shown}".rstrip(), markup=False)

        yield count


def short(number: float) -> str:
    """A count in few characters: 950, 12.3k, 4.6M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def size_of(size: float) -> str:
    """Bytes as one says them: 950 B, 12.3 MB, 4.6 GB."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size:.0f} B"


def moment(seconds: float) -> str:
    """A time (seconds since 1970) on this machine's clock: 10:33, and the day where it is not today's."""
    then = datetime.fromtimestamp(seconds)
    return then.strftime("%H:%M" if then.date() == datetime.now().date() else "%Y-%m-%d %H:%M")


def describe_counts(counts: dict[str, Any]) -> str:
    """Parameters by part: ``connector 12.3k, language 4.6M``."""
    return ", ".join(f"{name} {short(number)}" for name, number in counts.items()) or "none"


def describe_rows(source: Mapping[str, Any], file: str = "refused.jsonl") -> str:
    """A source's rows, and why fewer or more are learnt from: ``3,000 of 4,000 rows (limit)``.

    ``file`` is where the bad ones are listed. Where more are bad than may be, none is called left out.
    """
    rows, kept, samples = source["rows"], source["kept"], source["samples"]
    bad = source.get("refused", 0)
    text = f"{kept:,} of {counted(rows, 'row')} (limit)" if kept < rows - bad else counted(rows - bad, "row")
    word = "left out as bad" if bad <= source.get("allow_bad", bad) else "bad"
    text += f", {bad:,} {word} ({file})" if bad else ""
    return text if samples == kept else f"{text}, {counted(samples, 'sample')} an epoch (weight)"
