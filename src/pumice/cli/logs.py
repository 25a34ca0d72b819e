"""Curves for other programs: TensorBoard and Weights & Biases, by choice, beside what Pumice itself keeps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pumice.errors import MissingExtraError
from pumice.files import write_text

if TYPE_CHECKING:
    from pumice.recipes.schema import Recipe, Stage
    from pumice.train.checkpoint import UnreadableState
    from pumice.train.run import RunObserver


class Log(StrEnum):
    """Where curves may go."""

    tensorboard = "tensorboard"
    wandb = "wandb"


class Sink(Protocol):
    """Takes numbers by name."""

    def write(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        """``step`` counts within the stage."""

    def close(self) -> None:
        """Everything is written when this returns."""


def check_logs(logs: Sequence[Log]) -> None:
    """MissingExtraError where a library is not installed."""
    for log in dict.fromkeys(logs):
        if find_spec(log.value) is None:
            raise MissingExtraError(
                f"--log {log.value} needs a library that is not installed",
                where=f"--log {log.value}",
                remedy=f"pip install 'pumice[{log.value}]', or leave it out: the run's page and "
                "metrics.jsonl hold the same numbers",
            )


def open_logs(logs: Sequence[Log], folder: Path, recipe: Recipe) -> list[Sink]:
    """The sinks of a run, in its folder: ``tensorboard/`` and ``wandb/``."""
    known: dict[Log, Callable[[Path, Recipe], Sink]] = {Log.tensorboard: TensorBoard, Log.wandb: Wandb}
    return [known[log](folder, recipe) for log in dict.fromkeys(logs)]


class TensorBoard:
    """Event files in ``RUN/tensorboard/STAGE``."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._make = import_module("torch.utils.tensorboard").SummaryWriter
        self._folder = folder / "tensorboard"
        self._writers: dict[str, Any] = {}

    def write(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        if stage not in self._writers:
            # What an earlier start wrote from here on was undone by its end, and is hidden.
            self._writers[stage] = self._make(str(self._folder / stage), purge_step=step)
        for name, value in numbers.items():
            self._writers[stage].add_scalar(name, value, step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Wandb:
    """A run of Weights & Biases; a resume goes on with it.

    Its own variables decide the rest: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        mark = folder / "wandb" / "pumice-id"
        mark.parent.mkdir(exist_ok=True)
        identity = mark.read_text(encoding="utf-8").strip() if mark.is_file() else uuid.uuid4().hex[:8]
        write_text(mark, identity + "\n")
        self._run = import_module("wandb").init(
            dir=str(folder),
            id=identity,
            resume="allow",
            name=folder.name,
            config=recipe.model_dump(mode="json"),
        )
        for stage in recipe.stages:
            self._run.define_metric(f"{stage.name}/*", step_metric=f"{stage.name}/step")

    def write(self, stage: str, numbers: Mapping[str, float], step: int) -> None:
        named = {f"{stage}/{name}": value for name, value in numbers.items()}
        self._run.log({**named, f"{stage}/step": step})

    def close(self) -> None:
        self._run.finish()


class Logged:
    """A ``RunObserver`` that passes all on to another one, and each row's numbers to sinks.

    The sinks are opened when the first stage begins: before that nothing may be written into the folder.
    """

    def __init__(self, observer: RunObserver, open_sinks: Callable[[], Sequence[Sink]]) -> None:
        self._observer, self._open = observer, open_sinks
        self._sinks: Sequence[Sink] | None = None

    def on_step(self, row: dict[str, Any]) -> None:
        self._observer.on_step(row)
        self._write(row)

    def on_validation(self, row: dict[str, Any]) -> None:
        self._observer.on_validation(row)
        self._write(row)

    def on_check(self, what: str, done: int, total: int) -> None:
        self._observer.on_check(what, done, total)

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        if self._sinks is None:
            self._sinks = self._open()
        self._observer.on_stage(stage, summary)

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        self._observer.on_damaged(error, step)

    def on_notice(self, text: str) -> None:
        self._observer.on_notice(text)

    def on_resume(self, row: dict[str, Any]) -> None:
        self._observer.on_resume(row)

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        self._observer.on_skipped(stage, record)

    def on_saved(self, stage: Stage, folder: Path) -> None:
        self._observer.on_saved(stage, folder)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks or ():
            sink.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        numbers = dict(_numbers(row, str(row["kind"])))
        for sink in self._sinks or ():
            sink.write(row["stage"], numbers, row["step"])


_NO_CURVE = ("step", "steps")


def _numbers(row: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    """The numbers of a row by name: ``train/loss``, ``train/lr/connector``."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}/{key}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key not in _NO_CURVE:
            yield f"{name}/{key}", float(value)
