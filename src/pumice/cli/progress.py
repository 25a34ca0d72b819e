"""Bars while something goes on; in a file, a line now and then instead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from pumice.cli.console import out
from pumice.words import counted


class Count(Protocol):
    """Told how far something is, with figures to show behind it."""

    def __call__(
        self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None, /
    ) -> None: ...


WINDOW = 120.0
"""Seconds over which a pace is the mean."""
BURST = 0.25
"""Seconds within which things come together: the answers of one batch, say."""
LOG_SECONDS = 20.0
"""Between lines where there is no terminal."""
ENOUGH = 8
"""Things that must have come before a time is foretold, in at least two bursts."""


class Pace:
    """How many come a second: a mean over the last two minutes, once there is enough to go by.

    What is answered in batches comes in bursts. So bursts are counted, each with the time from the beginning
    of the one before it to its own; the last one, of which more may come, is not.
    """

    def __init__(self) -> None:
        self._bursts: deque[tuple[float, int]] = deque()
        """When each began, and how many there were at its end; the first is where the counting began."""

    def add(self, done: int, moment: float) -> None:
        """There are so many now; in the first call, so many were there before."""
        if self._bursts and done < self._bursts[-1][1]:
            self._bursts.clear()  # it began again
        if len(self._bursts) > 1 and moment - self._bursts[-1][0] <= BURST:
            self._bursts[-1] = self._bursts[-1][0], done
        elif not self._bursts or done > self._bursts[-1][1]:
            self._bursts.append((moment, done))
        while len(self._bursts) > 3 and moment - self._bursts[1][0] > WINDOW:
            self._bursts.popleft()

    @property
    def rate(self) -> float | None:
        """How many a second; None while too few have come."""
        if len(self._bursts) < 3:
            return None
        (start, before), (end, done) = self._bursts[0], self._bursts[-2]
        return (done - before) / (end - start) if done - before >= ENOUGH and end > start else None

    def left(self, done: int, total: int) -> float | None:
        """Seconds until all are there; None while nobody can tell."""
        rate = self.rate
        return None if rate is None else max(total - done, 0) / rate


class _Left(ProgressColumn):
    """The time that is left, by the pace of the last minutes."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("-:--:--" if left is None else str(timedelta(seconds=round(left))), "progress.remaining")


@contextmanager
def counting(console: Console = out, clock: Callable[[], float] = time.monotonic) -> Iterator[Count]:
    """A bar for each thing that is counted; a thing that starts again gets its bar again."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        _Left(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        paces: dict[str, Pace] = {}
        said = clock()

        def count(what: str, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
            nonlocal said
            now = clock()
            shown = "  ".join(f"{name} {value:.3g}" for name, value in (figures or {}).items())
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, figures="", left=None)
            pace = paces.setdefault(what, Pace())
            pace.add(done, now)
            left = pace.left(done, total)
            bars.update(tasks[what], completed=done, total=total, figures=shown, left=left)
            due = now - said > LOG_SECONDS or done == total
            if not console.is_terminal and due:
                said = now
                if left and done < total:
                    shown = f"{shown}  minutes left: {left / 60:.3g}".strip()
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
