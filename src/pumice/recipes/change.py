"""Changes to a recipe's plain values: the ``small`` block and ``KEY=VALUE`` overrides.

Both address stages by their names. Setting one of an exclusive group (``epochs`` and ``steps``)
unsets the other, since an override replaces the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pumice.errors import RecipeError, suggest
from pumice.recipes.fields import Key, annotation_at, choices_at, holds_keys, instead
from pumice.recipes.stage import EXCLUSIVE
from pumice.recipes.text import Document, read_yaml

ABOUT = ("name", "description", "command", "hardware", "time", "expected", "source", "published")
"""Keys of a recipe that speak of that recipe alone; none is inherited."""

FULL_SIZE = ("command", "hardware", "time", "expected", "published")
"""Keys that speak of a run at full size: none holds for the small mode, unless its block sets it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A ``KEY=VALUE`` text, and how it was typed, for errors."""

    text: str
    typed: str


Origins = dict[Key, str]
"""Where the value of each key was written, in words."""


def apply_block(
    value: dict[str, Any], origins: Origins, block: Any, lines: Mapping[Key, int], file: str
) -> None:
    """Put the values of the ``small`` block in the place of the recipe's own."""

    def spot(path: Key) -> str:
        return f"{file}, line {lines[('small', *path)]} (the small block)"

    if not isinstance(block, dict):
        raise RecipeError(
            "the small block must be a block of keys",
            where=f"{file}, line {lines[('small',)]}, key small",
            remedy="write under it the keys that --small changes",
        )
    _set_all(value, origins, [(path, inner, spot(path)) for path, inner in _leaves(block, ())])


def merge_block(value: dict[str, Any], origins: Origins, block: Mapping[str, Any], where: Origins) -> None:
    """Put a recipe's own keys in the place of those of the recipe it builds on.

    ``data`` and blocks like it are merged key by key; ``stages`` as a block names stages of the base and
    changes them, as a list it replaces them all. A list is replaced whole anywhere else, too.
    """
    # A base's texts about itself (what it was run on, what it reached) are not those of what builds on it.
    for name in ABOUT:
        value.pop(name, None)
    _set_all(value, origins, [(path, inner, where[path]) for path, inner in _leaves(block, ())])
    # What came whole (a list of stages) has places of its own.
    origins.update({key: place for key, place in where.items() if key not in origins and len(key) > 1})


def _leaves(block: Mapping[str, Any], path: Key) -> list[tuple[Key, Any]]:
    """Every value of a block that is no block itself, with its path."""
    pairs: list[tuple[Key, Any]] = []
    for name, inner in block.items():
        here = (*path, name)
        pairs += _leaves(inner, here) if isinstance(inner, dict) and inner else [(here, inner)]
    return pairs


def parse_override(change: str | Change) -> tuple[Key, Document, str]:
    """``stages.align.lr.connector=1e-3`` as (key, value, words for errors)."""
    text, origin = (change, change) if isinstance(change, str) else (change.text, change.typed)
    name, sign, raw = text.partition("=")
    steps = tuple(name.strip().split("."))
    if not sign or not all(steps):
        raise RecipeError(
            f"{text!r} is not of the form KEY=VALUE",
            where=origin,
            remedy="write it like stages.align.lr.connector=1e-3",
        )
    if steps[0] == "small":
        raise RecipeError(
            "small is a block of the recipe file only", where=origin, remedy="set the key itself"
        )
    return steps, read_yaml(raw, origin, lines=False), origin


def drop_full_size(value: dict[str, Any], origins: Origins) -> None:
    """Take out what speaks of the run at full size, before the small block is put in."""
    for name in FULL_SIZE:
        value.pop(name, None)
    for key in [key for key in origins if key and key[0] in FULL_SIZE]:
        del origins[key]


def apply_overrides(value: dict[str, Any], origins: Origins, overrides: Sequence[str | Change]) -> list[Key]:
    """Put the values of ``KEY=VALUE`` texts in place; the keys they set, with numbers for stages."""
    parsed = [parse_override(change) for change in overrides]
    return _set_all(value, origins, [(steps, document.value, origin) for steps, document, origin in parsed])


def _set_all(value: dict[str, Any], origins: Origins, changes: Sequence[tuple[Key, Any, str]]) -> list[Key]:
    keys: list[Key] = []
    for steps, new, origin in changes:
        key = _set(value, origins, steps, new, origin)
        if len(key) == 3 and key[0] == "stages" and new is not None:
            others = (other for group in EXCLUSIVE if key[2] in group for other in group if other != key[2])
            for other in others:
                # Changes that set both meet the schema's rule instead.
                if (*key[:2], other) not in keys:
                    value["stages"][key[1]].pop(other, None)
        keys.append(key)
    return keys


def _set(value: dict[str, Any], origins: Origins, steps: Key, new: Any, origin: str) -> Key:
    here: Any = value
    key: Key = ()
    for position, step in enumerate(steps):
        at: str | int = step
        if key == ("stages",) and isinstance(here, list):
            at = _stage_number(here, str(step), origin)
        elif not isinstance(here, dict):
            raise _no_block(key, steps, origin)
        key = (*key, at)
        if position == len(steps) - 1:
            break
        if isinstance(here, dict) and here.get(at) is None:
            _check_step(key, steps, origin)
            here[at] = {}
        here = here[at]
    here[key[-1]] = new
    for old in [old for old in origins if old[: len(key)] == key]:
        del origins[old]
    origins[key] = origin
    return key


def _stage_number(stages: list[Any], name: str, origin: str) -> int:
    names = [str(stage.get("name")) for stage in stages if isinstance(stage, dict)]
    for number, stage in enumerate(stages):
        if isinstance(stage, dict) and stage.get("name") == name:
            return number
    raise RecipeError(f"there is no stage {name!r}", where=origin, remedy=suggest(name, names))


def _check_step(key: Key, steps: Key, origin: str) -> None:
    """A block may be begun only where the schema has one."""
    choices = choices_at(key[:-1])
    if choices and key[-1] not in choices:
        name = ".".join(map(str, steps[: len(key)]))
        stage = str(steps[1]) if len(key) > 2 and steps[0] == "stages" else None
        raise RecipeError(f"there is no key {name!r}", where=origin, remedy=instead(key, stage))
    if not holds_keys(annotation_at(key)):
        raise _no_block(key, steps, origin)


def _no_block(key: Key, steps: Key, origin: str) -> RecipeError:
    name = ".".join(map(str, steps[: len(key)]))
    return RecipeError(
        f"{name} is a value, not a block of keys", where=origin, remedy=f"set it whole: {name}=VALUE"
    )
