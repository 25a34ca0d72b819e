"""States written beside the steps: copied at once, on disk a little later.

The steps wait for the copy and not for the disk. At most one state is being written: the next save, the end
of the stage and a stop wait for it. What a state holds and how it appears are as in ``checkpoint``: a process
that is killed meanwhile leaves the state before. Several ranks write together and wait, because collective
operations of a second thread would mix with those of the steps.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from pumice.errors import PumiceError
from pumice.train.checkpoint import Weights, copied_tensors, save_state, write_state
from pumice.train.parallel import Ranks


@dataclass(slots=True)
class Saver:
    """Writes a stage's states; all ranks call it together.

    Attributes:
        folder: holds the states.
        weights: what trains.
        optimizer: its optimiser.
        digest: the plan's.
        keep: how many states stay, the newest.
        ranks: this process among all.
        lineage: where the weights come from, for the record of each state; None writes none.
    """

    folder: Path
    weights: Weights
    optimizer: torch.optim.Optimizer
    digest: str
    keep: int
    ranks: Ranks
    lineage: Mapping[str, Any] | None = None
    _thread: threading.Thread | None = field(default=None, init=False)
    _error: Exception | None = field(default=None, init=False)

    def save(self, step: int, seconds: float) -> None:
        """Begin to write the state after ``step`` steps, once the one before is written.

        Args:
            step: how many steps are done.
            seconds: trained so far.

        Raises:
            RunError: the one before could not be written, or on several ranks this one.
        """
        self.wait()
        if not self.ranks.alone:
            save_state(
                self.folder,
                self.weights,
                self.optimizer,
                step=step,
                digest=self.digest,
                seconds=seconds,
                keep=self.keep,
                ranks=self.ranks,
                lineage=self.lineage,
            )
            return
        tensors = copied_tensors(self.weights, self.optimizer)
        # A second Ctrl-C ends the process at once; a half-written folder then counts for nothing.
        self._thread = threading.Thread(target=self._write, args=(tensors, step, seconds), daemon=True)
        self._thread.start()

    def check(self) -> None:
        """RunError where a write ended badly; does not wait for one that goes on."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Until the last state is on disk.

        Raises:
            RunError: it cannot be written; older states are untouched.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the last state; where something else went wrong, that alone is told."""
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception):
            with contextlib.suppress(PumiceError, OSError):
                self.wait()

    def _write(self, tensors: dict[str, Tensor], step: int, seconds: float) -> None:
        try:
            write_state(
                self.folder,
                tensors,
                step=step,
                digest=self.digest,
                seconds=seconds,
                keep=self.keep,
                lineage=self.lineage,
            )
        except Exception as error:  # raised again where the steps are
            self._error = error


class NoSaver:
    """Stands in the place of a ``Saver`` where nothing is kept: of a run that is only timed."""

    def save(self, step: int, seconds: float) -> None:
        """Nothing."""

    def check(self) -> None:
        """Nothing."""

    def wait(self) -> None:
        """Nothing."""

    def __enter__(self) -> NoSaver:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing."""
