"""The models that ship inside the package, by name."""

from __future__ import annotations

from pathlib import Path

from pumice.errors import CheckpointError, suggest

PARTS = Path(__file__).parent / "parts"
PREFIX = "embedded:"
FINISHED = "tiny"
"""The finished model; ``pumice chat tiny`` needs no prefix."""


def names() -> tuple[str, ...]:
    """Every name that ``resolve`` knows, ``embedded:`` and short."""
    folders = sorted(path.parent.name for path in PARTS.glob("*/config.json"))
    return (*(PREFIX + name for name in folders), *(name for name in folders if name == FINISHED))


def resolve(name: str) -> Path:
    """The folder of a model: that of a shipped one, or the path itself.

    Raises:
        CheckpointError: there is no such shipped model, or no such folder.
    """
    short = name.removeprefix(PREFIX)
    if name.startswith(PREFIX) or name == FINISHED:
        if (PREFIX + short) not in names():
            raise CheckpointError(
                f"no model named {name!r} ships with Pumice", where=name, remedy=suggest(name, names())
            )
        return PARTS / short
    path = Path(name)
    if not path.is_dir():
        raise CheckpointError(
            f"there is no folder {name!r}",
            where=name,
            remedy=f"give a folder with a checkpoint; shipped models: {suggest(name, names())}",
        )
    return path
