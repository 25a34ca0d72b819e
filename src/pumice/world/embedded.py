"""The models that ship inside the package, by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from pumice.errors import CheckpointError, suggest

PARTS = Path(__file__).parent / "parts"
PREFIX = "embedded:"
FINISHED = "tiny"
"""The finished model; ``pumice chat tiny`` needs no prefix."""

MEANINGS = {
    FINISHED: "a finished model to ask and measure",
    PREFIX + "clip-tiny": "a vision tower to train with",
    PREFIX + "lm-tiny": "a language model to train with",
}
"""What each is that ships."""


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
                f"no model named {name!r} ships with Pumice", where=name, remedy=_choices(name)
            )
        return PARTS / short
    path = Path(name)
    if not path.is_dir():
        raise CheckpointError(
            f"there is no folder {name!r}",
            where=name,
            remedy=f"give the folder of a checkpoint, or a model that ships; {_choices(name)}",
        )
    return path


def _choices(name: str) -> str:
    """The nearest name and all others, each once: the finished model by its short one."""
    known = {each.removeprefix(PREFIX): each for each in names() if each != PREFIX + FINISHED}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.5)
    # Nothing near: the prefix that all of them have must not make one seem so.
    return suggest(known[near[0]] if near else "", known.values(), MEANINGS)
