"""How two recipes differ, key by key: stages by their names, lists as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pumice.recipes.schema import Recipe
from pumice.recipes.text import read_yaml

ABSENT = "absent"
"""Shown for a key that one of the recipes does not have."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key and its value in each recipe, as words: JSON, or ``ABSENT``."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}: {' -> '.join(self.values)}"


def differences(*texts: str) -> tuple[Difference, ...]:
    """The keys that are not equal in all of some resolved recipes.

    Defaults of this version are filled in, so a recipe that was written before a key existed differs only
    where that key has another value than its default.

    Args:
        texts: YAML as ``dump_recipe`` writes it.

    Returns:
        In the order in which the recipes name them.

    Raises:
        RecipeError: one of them is not YAML.
    """
    flat = [dict(_leaves(_whole(text), ())) for text in texts]
    keys = dict.fromkeys(key for leaves in flat for key in leaves)
    # A block that is null in one recipe is told by the keys that it has in the other.
    inner = {key[:n] for key in keys for n in range(1, len(key))}
    found = []
    for key in keys:
        values = tuple(leaves.get(key, ABSENT) for leaves in flat)
        if len(set(values)) > 1 and not (key in inner and set(values) <= {"null", ABSENT}):
            found.append(Difference(".".join(key), values))
    return tuple(found)


def _whole(text: str) -> Any:
    value = read_yaml(text, "recipe.yaml").value
    try:
        return Recipe.model_validate(value).model_dump(mode="json")
    except ValidationError:
        return value  # of another version of Pumice: compared as it is written


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif path == ("stages",) and isinstance(value, Sequence):
        for number, stage in enumerate(value):
            known = isinstance(stage, Mapping) and "name" in stage
            yield from _leaves(stage, (*path, str(stage["name"] if known else number)))
    else:
        yield path, json.dumps(value, ensure_ascii=False)
