"""Reading recipes: by name or path, with the small block, overrides and variables put in.

The order is: the file that its ``base`` names, the file, ``--small``, changes, variables, paths. What
comes out is complete: its paths are absolute and it has neither base nor small block, so ``dump_recipe``
writes a file that loads back equal from anywhere.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pumice.errors import RecipeError, suggest
from pumice.recipes.change import (
    Change,
    Origins,
    apply_block,
    apply_overrides,
    drop_full_size,
    merge_block,
)
from pumice.recipes.fields import Key
from pumice.recipes.problems import Where, translate
from pumice.recipes.schema import Recipe
from pumice.recipes.text import read_yaml, write_yaml
from pumice.recipes.values import PREFIXES, is_task_path

WORLD = "world"
"""The variable that stands for a small generated world, which the command line makes when it is needed."""

VARIABLES: dict[str, str] = {"data": "--data FOLDER", WORLD: "a value for world"}
"""The variables that paths may hold, as in ``${data}/align.json``, and what gives each its value."""

SUFFIXES = (".yaml", ".yml")

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that ship with the package."""
    entries = (entry.name for entry in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))


def recipe_text(name_or_path: str | Path) -> str:
    """The YAML of a recipe as it was written, comments included.

    Raises:
        RecipeError: no recipe has that name, or the file cannot be read.
    """
    text = str(name_or_path)
    try:
        if text.endswith(SUFFIXES):
            return Path(text).read_text(encoding="utf-8")
        if text in recipe_names():
            return files(__package__).joinpath(f"{text}.yaml").read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(
            f"the recipe cannot be read: {reason}", where=text, remedy="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError("the recipe is not UTF-8 text", where=text, remedy="save it as UTF-8") from error
    for suffix in SUFFIXES:
        if Path(f"{text}{suffix}").is_file():
            raise RecipeError(
                f"no recipe that ships is called {text!r}", remedy=f"write {text}{suffix} for the file here"
            )
    raise RecipeError(
        f"there is no recipe {text!r}",
        remedy=suggest(text, recipe_names()) + f"; a file of your own ends in {' or '.join(SUFFIXES)}",
    )


def load_recipe(
    name_or_path: str | Path,
    overrides: Sequence[str | Change] = (),
    *,
    small: bool = False,
    variables: Mapping[str, str | Path] | None = None,
) -> Recipe:
    """Read a recipe and check all of it, its small block too.

    Args:
        name_or_path: the name of one that ships, or a path that ends in .yaml or .yml.
        overrides: ``KEY=VALUE`` texts, the value in YAML, stages by name, applied in order; a ``Change``
            also says how it was typed.
        small: apply the recipe's small block (before the overrides). What the recipe says of its full size
            (time, hardware, scores) is left out.
        variables: what ``${NAME}`` in paths stands for, relative to the working directory. None leaves
            variables as they are and checks the rest, for showing a recipe without running it.

    Returns:
        The recipe with absolute paths. Relative ones start at the recipe file's folder, for a recipe
        that ships and for overrides at the working directory.

    Raises:
        RecipeError: the recipe, an override or a variable is not right; it names the line and the key.
    """
    text = str(name_or_path)
    shipped = not text.endswith(SUFFIXES)
    file = f"recipe {text}" if shipped else text
    draft = _read(text, (), "")
    folder = Path.cwd() if shipped else Path(text).absolute().parent
    if draft.small and not small:
        # The small block is checked whenever the recipe is read, not when it is first needed.
        _finish(draft, file, True, (), folder, None)
    elif small and not draft.small:
        raise RecipeError(
            "this recipe has no small mode", where=file, remedy="add a small block, or leave out --small"
        )
    return _finish(draft, file, small, overrides, folder, variables)


@dataclass(slots=True)
class _Draft:
    """A recipe as its files say it: plain values, where each was written, and its small blocks, the
    base's first."""

    value: dict[str, Any]
    origins: Origins
    small: list[tuple[dict[str, Any], dict[Key, int], str]]


def _read(text: str, below: tuple[str, ...], origin: str) -> _Draft:
    """Read a recipe and what it builds on; ``below`` are the recipes that named this one as base."""
    file = text if text.endswith(SUFFIXES) else f"recipe {text}"
    if text in below:
        raise RecipeError(
            f"recipes build on each other in a circle: {' on '.join((*below, text))}",
            where=origin,
            remedy="take base out of one of them",
        )
    try:
        document = read_yaml(recipe_text(text), file)
    except RecipeError as error:
        if origin and error.where is None:
            error.where = origin
        raise
    if not isinstance(document.value, dict):
        raise RecipeError("a recipe is a block of keys", where=file, remedy="start from a recipe that ships")
    block = document.value.pop("small", None)
    base = document.value.pop("base", None)
    here = {key: f"{file}, line {line}" for key, line in document.lines.items()}
    draft = _Draft({}, {}, [])
    if base is None:
        draft.value, draft.origins = document.value, here
    else:
        at = f"{here[('base',)]}, key base"
        if not isinstance(base, str):
            raise RecipeError("base is the name or the path of a recipe", where=at, remedy="write a name")
        if base.endswith(SUFFIXES) and not text.endswith(SUFFIXES):
            raise RecipeError("a recipe that ships builds on another that ships", where=at)
        base = _beside(base, text)
        draft = _read(base, (*below, text), at)
        if base.endswith(SUFFIXES):
            _anchor(draft.value, Path(base).absolute().parent)
        merge_block(draft.value, draft.origins, document.value, here)
    if block is not None:
        draft.small.append((block, document.lines, file))
    return draft


def _anchor(value: dict[str, Any], folder: Path) -> None:
    """Make a base's relative paths start at its own folder, whoever builds on it."""
    for block, key in _paths(value):
        text = block[key[-1]]
        if text and not text.startswith(PREFIXES) and not _VARIABLE.search(text):
            block[key[-1]] = os.path.abspath(folder / Path(text).expanduser())


def _beside(base: str, text: str) -> str:
    """A base's path starts at the folder of the file that names it."""
    if not base.endswith(SUFFIXES):
        return base
    return os.path.normpath(Path(text).parent / Path(base).expanduser())


def _finish(
    draft: _Draft,
    file: str,
    small: bool,
    overrides: Sequence[str | Change],
    folder: Path,
    variables: Mapping[str, str | Path] | None,
) -> Recipe:
    value, origins = copy.deepcopy(draft.value), dict(draft.origins)
    if small:
        drop_full_size(value, origins)
        for block, lines, written in draft.small:
            apply_block(value, origins, block, lines, written)
    changed = apply_overrides(value, origins, overrides)

    def where(key: Key) -> str:
        # Where it was written, or else the first thing in it, or else the block it is missing from.
        if key not in origins:
            inside = [origin for other, origin in origins.items() if key and other[: len(key)] == key]
            outside = [origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origins]
            return next(iter([*inside, *outside]), file)
        return origins[key] if key else file

    _substitute(value, changed, folder, variables, where)
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise translate(error, value, where) from error


def variables_in(recipe: Recipe) -> frozenset[str]:
    """The variables that a recipe's paths hold, of one that was loaded with ``variables=None``."""
    paths = _paths(recipe.model_dump(mode="json"))
    return frozenset(name for block, key in paths for name in _VARIABLE.findall(block[key[-1]]))


def _paths(value: dict[str, Any]) -> Iterator[tuple[Any, Key]]:
    """Every path of the recipe: the block or list that holds it and its key. Of a malformed recipe, those
    found."""
    places: list[tuple[Any, Key]] = []
    for name, keys in (
        ("model", ("vision", "language", "checkpoint")),
        ("evaluation", ("questions", "images", "data")),
    ):
        if isinstance(block := value.get(name), dict):
            places += [(block, (name, key)) for key in keys]
    if isinstance(model := value.get("model"), dict) and isinstance(more := model.get("more_vision"), list):
        places += [(more, ("model", "more_vision", number)) for number in range(len(more))]
    if isinstance(asked := value.get("evaluation"), dict) and isinstance(tasks := asked.get("tasks"), list):
        own = [at for at, word in enumerate(tasks) if isinstance(word, str) and is_task_path(word)]
        places += [(tasks, ("evaluation", "tasks", number)) for number in own]
    if isinstance(sources := value.get("data"), dict):
        for name, source in sources.items():
            if isinstance(source, dict):
                places += [(source, ("data", name, key)) for key in ("file", "images")]
    if isinstance(stages := value.get("stages"), list):
        for number, stage in enumerate(stages):
            if isinstance(stage, dict) and isinstance(block := stage.get("features"), dict):
                places.append((block, ("stages", number, "features", "folder")))
    for block, key in places:
        text = block[int(key[-1])] if isinstance(block, list) else block.get(key[-1])
        if isinstance(text, str):
            yield block, key


def _substitute(
    value: dict[str, Any],
    changed: Sequence[Key],
    folder: Path,
    variables: Mapping[str, str | Path] | None,
    where: Where,
) -> None:
    used: set[str] = set()
    for block, key in _paths(value):
        text = block[key[-1]]
        if not text or text.startswith(PREFIXES):
            continue
        at = f"{where(key)}, key {'.'.join(map(str, key))}"
        names = _VARIABLE.findall(text)
        for name in names:
            if name not in VARIABLES:
                raise RecipeError(
                    f"there is no variable ${{{name}}}", where=at, remedy=suggest(name, VARIABLES)
                )
            if variables is not None and name not in variables:
                raise RecipeError(f"${{{name}}} has no value", where=at, remedy=f"add {VARIABLES[name]}")
        used.update(names)
        if names and variables is None:
            continue
        for name in names:
            text = text.replace(f"${{{name}}}", str(variables[name]) if variables is not None else "")
        # What was typed on the command line starts where it was typed.
        typed = bool(names) or any(key[: len(prefix)] == prefix for prefix in changed)
        block[key[-1]] = os.path.abspath((Path.cwd() if typed else folder) / Path(text).expanduser())
    for name in variables or {}:
        if name not in used:
            option = VARIABLES.get(name, name)
            raise RecipeError(
                f"no path of this recipe holds ${{{name}}}, so {option} would do nothing",
                remedy="leave it out, or set the paths themselves",
            )


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults included, which loads back equal."""
    return write_yaml(recipe.model_dump(mode="json"))
