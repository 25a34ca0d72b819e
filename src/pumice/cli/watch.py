"""What one sees while a run trains: checks, a table per stage, a bar, validation lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from pumice.cli.console import out, print_table
from pumice.cli.progress import LOG_SECONDS, describe_counts, describe_rows, moment, short, size_of
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.cli.stopping import Stopping
    from pumice.recipes.schema import Stage
    from pumice.train.checkpoint import UnreadableState

SMOOTHING = 0.9
"""Weight of the past in the loss that is shown."""
RATE_STEPS = 20
"""Steps over which tokens a second are taken."""


class RunWatch:
    """A ``RunObserver`` that draws. It tells ``stopping`` when a stop must wait for a step's end.

    ``peak`` gives the FLOP/s that a device reaches at most, in bfloat16 (True) or float32; without it no
    share of the peak is shown.
    """

    def __init__(
        self, stopping: Stopping, console: Console = out, peak: Callable[[bool], float | None] | None = None
    ) -> None:
        self.stopping, self.console, self.peak = stopping, console, peak
        self._peak: float | None = None
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._loss: float | None = None
        self._recent: deque[tuple[float, int, int, float]] = deque(maxlen=RATE_STEPS + 1)
        self._said = 0.0

    def close(self) -> None:
        """Take the bar away; also when something went wrong."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._task = None, None

    def on_check(self, what: str, done: int, total: int) -> None:
        if self._task is None or self._what != what or self._bars is None:
            self._open(("{task.completed:,} of {task.total:,}",), transient=True)
            self._start(what, total)
        assert self._bars is not None
        assert self._task is not None
        self._bars.update(self._task, completed=done, total=total)
        if done >= total:
            self.close()

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        self.close()
        self.stopping.wait_for_step = True
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("stage", "steps", "tokens", "filled", "trains", "frozen"):
            table.add_column(title, justify="right" if title in ("steps", "tokens", "filled") else "left")
        table.add_row(
            Text(stage.name, "bold cyan"),
            f"{summary['steps']:,}",
            short(summary["tokens"]),
            f"{summary['fill']:.0%}",
            describe_counts(summary["trainable"]),
            describe_counts(summary["frozen"]),
        )
        self.console.print()
        print_table(table, self.console)
        if summary["ranks"] > 1:
            self._line(f"  {summary['ranks']:,} ranks train together")
        for entry, count in summary["entries"].items():
            if "." in entry:
                part = entry.partition(".")[0]
                size = summary["trainable"].get(part, 0) + summary["frozen"].get(part, 0)
                self._line(f"  {entry}: {short(count)} of {short(size)} parameters")
        for purpose, key in (("", "sources"), (", to validate", "validation")):
            for row in summary[key]:
                self._line(f"  {row['source']}: {describe_rows(row)}{purpose}")
        if summary["cut"]:
            told = (
                f"  {counted(summary['cut'], 'sample')} lost turns at their end to fit into a row (too_long)"
            )
            self._line(told)
        self._features(summary["features"])
        for note in summary["notes"]:
            self._line(f"  Note: {note}.")
        one = self.peak(summary["half"]) if self.peak is not None else None
        self._peak = one and one * summary["ranks"]
        self._loss, self._said = None, time.monotonic()
        self._recent.clear()
        self._open(("{task.completed:,}/{task.total:,}", "{task.fields[figures]}"), transient=False)
        self._start(stage.name, summary["steps"])

    def _features(self, features: dict[str, Any]) -> None:
        """Where a frozen tower's features are, where a recipe chose something else than memory and fp32."""
        if features["keep"] == "none" or (features["keep"], features["dtype"]) == ("memory", "fp32"):
            return
        off = f", {features['error']:.2%} off" if features["error"] else ""
        place = "on disk" if features["keep"] == "disk" else "in memory"
        made, views = features["made"], features["views"]
        self._line(
            f"  features of {views:,} pictures: {size_of(features['bytes'])} {place} in "
            f"{features['dtype']}{off}; {made:,} made now, {views - made:,} found"
        )

    def on_step(self, row: dict[str, Any]) -> None:
        loss = float(row["loss"])
        self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        self._recent.append(
            (float(row["seconds"]), int(row["tokens"]), int(row["supervised"]), float(row.get("flops", 0.0)))
        )
        figures = self._figures(row)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=row["step"], figures=figures)
        if not self.console.is_terminal and self._line_due(row):
            self._line(f"  step {row['step']:,}/{row['steps']:,}  {figures}")

    def on_validation(self, row: dict[str, Any]) -> None:
        if row["kind"] == "validation":
            text = "  ".join([f"  step {row['step']:,}  validation loss {row['loss']:.3f}", *_preferred(row)])
        elif row["kind"] == "evaluation":
            text = "  ".join([f"  step {row['step']:,}", *_answered(row)])
        else:
            named = ", ".join(f"{name} {value:.0%}" for name, value in row["accuracy"].items())
            text = f"  step {row['step']:,}  nearest words, over patches of boxes: {named}"
        self._line(text)

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        told = f"  {error.what}: {error.where}; trying the one before it, after step {step:,}"
        self.console.print(Text(told, "yellow"), soft_wrap=True)

    def on_notice(self, text: str) -> None:
        self._line(f"  Note: {text}")

    def on_resume(self, row: dict[str, Any]) -> None:
        told = f"  goes on from step {row['step']:,} of {row['steps']:,} of stage {row['stage']}, "
        told += f"saved {moment(row['saved'])}"
        if undone := row["undone"]:
            told += (
                f"; {undone:,} step{'s' * (undone != 1)} after it {'are' if undone != 1 else 'is'} done again"
            )
        self.console.print(told, markup=False, soft_wrap=True)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=row["step"])

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        self.close()
        told = f"  stage {stage.name} was finished before: {record['steps']:,} steps, {record['model']}"
        self.console.print(told, markup=False, soft_wrap=True)

    def on_saved(self, stage: Stage, folder: Path) -> None:
        self.close()
        self.stopping.wait_for_step = False
        self.console.print(Text(f"  saved {folder}", "dim"), soft_wrap=True)

    def _figures(self, row: dict[str, Any]) -> str:
        parts = [f"loss {self._loss:.3f}", *_preferred(row)]
        if len(self._recent) > 1:
            times, tokens, supervised, flops = zip(*self._recent, strict=True)
            seconds = max(times[-1] - times[0], 1e-6)
            each = seconds / (len(times) - 1)
            parts += [
                f"{short(sum(supervised[1:]) / seconds)} supervised tok/s",
                f"{short(sum(tokens[1:]) / seconds)} tok/s",
            ]
            if self._peak:
                parts.append(f"{sum(flops[1:]) / seconds / self._peak:.0%} of peak")
            left = each * (row["steps"] - row["step"])
        else:
            left = None
        parts.append(f"lr {_rates(row['lr'])}")
        if "memory" in row:
            parts.append(f"{row['memory'] / 1e9:.1f} GB")
        if left is not None:
            parts.append(f"ETA {int(left) // 60}:{int(left) % 60:02d}")
        return "  ".join(parts)

    def _line(self, text: str) -> None:
        """A line that a file holds as one, however wide it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _line_due(self, row: dict[str, Any]) -> bool:
        due = time.monotonic() - self._said > LOG_SECONDS or row["step"] in (1, row["steps"])
        if due:
            self._said = time.monotonic()
        return due

    def _open(self, columns: tuple[str, ...], *, transient: bool) -> None:
        self.close()
        self._bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            *(TextColumn(column) for column in columns),
            console=self.console,
            transient=transient,
            disable=not self.console.is_terminal,
        )
        self._bars.start()

    def _start(self, what: str, total: int) -> None:
        assert self._bars is not None
        self._what = what
        self._task = self._bars.add_task(what, total=total, figures="")


def _answered(row: dict[str, Any]) -> list[str]:
    """What a model in training got: of questions the share, of each task its figure."""
    parts = [f"{row['value']:.1%} of {row['n']:,} questions"] if "value" in row else []
    for name, one in row.get("tasks", {}).items():
        parts.append(f"{name} {one['figure']} {one['value']:.1f} of {one['n']:,}")
    return parts


def _rates(rates: dict[str, float]) -> str:
    """One rate, or that of each part: ``connector 1.0e-03, language 2.0e-04``."""
    if len(set(rates.values())) == 1:
        return f"{next(iter(rates.values())):.1e}"
    return ", ".join(f"{part} {rate:.1e}" for part, rate in rates.items())


def _preferred(row: dict[str, Any]) -> list[str]:
    """Of a stage that compares answers: how far the better ones are ahead, and how many are."""
    if "margin" not in row:
        return []
    return [f"margin {row['margin']:.3f}", f"chosen ahead {row['accuracy']:.0%}"]
