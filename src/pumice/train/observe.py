"""Who watches a whole run: the command line's display, or nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from pumice.recipes.schema import Stage
from pumice.train.checkpoint import UnreadableState
from pumice.train.loop import Observer
from pumice.train.prepare import CheckObserver


class RunObserver(Observer, CheckObserver, Protocol):
    """Who watches a whole run."""

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        """Before a stage's first step: steps, tokens, what trains with counts, its sources' rows, whether it
        multiplies in bfloat16 (``half``), how many ranks there are, and its ``features``
        (``train.keeping``)."""

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        """A stage was finished before; ``record`` is what ``run.json`` says of it."""

    def on_saved(self, stage: Stage, folder: Path) -> None:
        """After a stage's adapter, and after its model was written."""


class Silent:
    """A ``RunObserver`` that tells nobody."""

    def on_check(self, what: str, done: int, total: int) -> None:
        pass

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        pass

    def on_step(self, row: dict[str, Any]) -> None:
        pass

    def on_validation(self, row: dict[str, Any]) -> None:
        pass

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        pass

    def on_notice(self, text: str) -> None:
        pass

    def on_resume(self, row: dict[str, Any]) -> None:
        pass

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        pass

    def on_saved(self, stage: Stage, folder: Path) -> None:
        pass
