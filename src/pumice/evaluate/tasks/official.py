"""The files of a benchmark as their authors publish them: where they may lie, and what to say where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import DataError


@dataclass(frozen=True, slots=True)
class Official:
    """A file or a folder of a benchmark.

    Attributes:
        names: where it may lie below the task's folder; the first is the one that people are told.
        source: who publishes it, and on which page.
    """

    names: tuple[str, ...]
    source: str

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.names[0]} ({self.source})"

    def find(self, folder: Path) -> Path | None:
        """Where it lies; None where it does not."""
        return next((folder / name for name in self.names if (folder / name).exists()), None)


def need(folder: Path, task: str, files: Sequence[Official], hint: str = "") -> list[Path]:
    """Where the files lie, in their order.

    Args:
        folder: of the task.
        task: its name.
        files: all must be there.
        hint: another way, told behind the list.

    Raises:
        DataError: one is not; says of each whether it was found, and where it is published.
    """
    found = [one.find(folder) for one in files]
    present = [path for path in found if path is not None]
    if len(present) < len(files):
        raise missing(folder, task, files, hint)
    return present


def missing(folder: Path, task: str, files: Sequence[Official], hint: str = "") -> DataError:
    """The error that lists every file, those that were found and those that were not."""
    lacks = [one for one in files if one.find(folder) is None]
    lines = [f"{'missing' if one in lacks else 'found':>9}  {one.told}" for one in files]
    what = f"{task} lacks {', '.join(one.names[0] for one in lacks)}"
    if not folder.is_dir():
        what = f"there is no folder of {task}"
    return DataError(
        what, where=str(folder), remedy="\n".join(["it takes", *lines, *([f"    {hint}"] if hint else [])])
    )
