"""The models that ship inside the package, by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
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
FITTING: Mapping[str, tuple[str, ...]] = {
    "vision": (PREFIX + "clip-tiny",),
    "language": (PREFIX + "lm-tiny",),
    "checkpoint": (PREFIX + FINISHED,),
    "model": (FINISHED,),
}
"""What may be named for a key of a recipe's model block, and where a finished model is asked for."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def names() -> tuple[str, ...]:
    """Every name that ``resolve`` knows, ``embedded:`` and short."""
    folders = sorted(path.parent.name for path in PARTS.glob("*/config.json"))
    return (*(PREFIX + name for name in folders), *(name for name in folders if name == FINISHED))


def resolve(name: str, kind: str | None = None) -> Path:
    """The folder of a model: that of a shipped one, or the path itself.

    Args:
        name: by which it is asked for.
        kind: what for, a key of ``FITTING``: errors then offer nothing else.

    Raises:
        CheckpointError: there is no such shipped model, or no such folder.
    """
    short = name.removeprefix(PREFIX)
    if name.startswith(PREFIX) or name == FINISHED:
        if (PREFIX + short) not in names():
            raise CheckpointError(
                f"no model named {name!r} ships with Pumice", where=name, remedy=_choices(name, kind)
            )
        return PARTS / short
    path = Path(name)
    if not path.is_dir():
        raise CheckpointError(
            f"there is no folder {name!r}",
            where=name,
            remedy=f"{_perhaps_hub(path, kind)}give the folder of a checkpoint, or a model that ships; "
            f"{_choices(name, kind)}",
        )
    return path


def _perhaps_hub(path: Path, kind: str | None) -> str:
    """What to write where a path looks like the name of a repository of the hub."""
    name = "/".join(path.parts[-2:])
    beside = path.parent.parent if path.is_absolute() else Path()
    likely = _HUB_NAME.fullmatch(name) and not path.parent.exists() and beside.is_dir()
    if kind is None or not likely:
        return ""
    return f"for a model of the hub write hub:{name}; or "


def _choices(name: str, kind: str | None) -> str:
    """The nearest name and all others, each once: the finished model by its short one."""
    if kind is not None:
        shorts = {each.removeprefix(PREFIX): each for each in FITTING[kind]}
        near = difflib.get_close_matches(name.removeprefix(PREFIX), shorts, n=1, cutoff=0.5)
        meanings = {PREFIX + FINISHED: MEANINGS[FINISHED], **MEANINGS}
        return suggest(shorts[near[0]] if near else "", shorts.values(), meanings)
    known = {each.removeprefix(PREFIX): each for each in names() if each != PREFIX + FINISHED}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.5)
    # Nothing near: the prefix that all of them have must not make one seem so.
    return suggest(known[near[0]] if near else "", known.values(), MEANINGS)
