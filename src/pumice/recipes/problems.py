"""From pydantic's findings to errors that name the file, the line, the key and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from pydantic import ValidationError

from pumice.errors import RecipeError, suggest
from pumice.recipes.aliases import VALUES
from pumice.recipes.fields import Key, annotation_at, choices_at, instead, is_block, kind_of, unwrap
from pumice.recipes.stage import DEFAULT_TRAINABLE
from pumice.recipes.values import Problem

Where = Callable[[Key], str]
"""Says where the value of a key was written: the file and line, or the override's text."""

SHOWN = 8
_IN_FILE = re.compile(r", line \d+( \(the small block\))?$")


def dotted(key: Key, value: Any) -> str:
    """The key as overrides write it: stages by name where they have one, other lists by number."""
    words: list[str] = []
    here = value
    for step in key:
        if isinstance(here, (list, tuple)) and isinstance(step, int) and step < len(here):
            here = here[step]
            name = here.get("name") if isinstance(here, dict) else None
            words.append(name if isinstance(name, str) and name else str(step))
        else:
            here = here.get(step) if isinstance(here, dict) else None
            words.append(str(step))
    return ".".join(words)


def translate(error: ValidationError, value: Any, where: Where) -> RecipeError:
    """One error for all findings; the first ones are spelled out.

    Args:
        error: what pydantic found.
        value: the plain values that were checked.
        where: says where a key was written.
    """
    details = error.errors(include_url=False)
    found = [_one(detail, value, where) for detail in details if not _follows(detail)]
    if len(found) == 1:
        return found[0]
    lines = [f"{len(found)} things are wrong in this recipe"]
    for problem in found[:SHOWN]:
        lines += ["", *str(problem).splitlines()]
    if len(found) > SHOWN:
        lines += ["", f"and {len(found) - SHOWN} more"]
    return RecipeError("\n".join(lines))


def _follows(detail: Any) -> bool:
    """Whether a list is called too short only because what it holds was refused."""
    return bool(detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"])


def _one(detail: Any, value: Any, where: Where) -> RecipeError:
    key: Key = tuple(step for step in detail["loc"] if step != "[key]")
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    problem = context.get("error")
    if isinstance(problem, Problem):
        key = (*key, *problem.key)
        unset = f" (on a command line: {dotted(key, value)}=null)" if problem.unset else ""
        return _error(problem.what, key, value, where, problem.remedy + unset)
    if kind == "extra_forbidden":
        name = dotted(key, value)
        return _error(f"there is no key {name!r}", key, value, where, instead(key, _stage(key, value)))
    if kind in ("too_short", "too_long") or (kind == "missing" and isinstance(key[-1], int)):
        key = key[:-1] if kind == "missing" else key
        got = _named(_at(value, key)) if kind == "missing" else _named(got)
        return _error(f"{_wanted(key)} belongs here, not {got}", key, value, where, "mind how many there are")
    if kind == "missing":
        name = dotted(key, value)
        return _error(f"the key {name!r} is missing", key, value, where, f"add it; it takes {_wanted(key)}")
    if kind == "literal_error":
        choices = [str(choice) for choice in get_args(unwrap(annotation_at(key))[0])]
        known = VALUES.get(str(key[-1]), {}).get(str(got).lower())
        if unwrap(annotation_at(key))[1] and _means_null(got):
            known = "null"
        remedy = suggest(str(got), choices)
        if known:
            remedy = f"here that is {known}; choices: {', '.join(choices)}"
        return _error(f"{got!r} is none of the choices", key, value, where, remedy)
    if kind.endswith(("_type", "_parsing", "_from_float")):
        return _error(
            f"{_wanted(key)} belongs here, not {_named(got)}",
            key,
            value,
            where,
            _hint(key, got, value, where),
        )
    message = detail["msg"].replace("Input should be", "this must be").replace("Tuple", "the list")
    return _error(f"{message}; it is {_named(got)}", key, value, where, f"{_wanted(key)} belongs here")


def _error(what: str, key: Key, value: Any, where: Where, remedy: str) -> RecipeError:
    name = dotted(key, value)
    return RecipeError(what, where=f"{where(key)}, key {name}" if name else where(key), remedy=remedy)


def _at(value: Any, key: Key) -> Any:
    for step in key:
        value = value[step]
    return value


def _wanted(key: Key) -> str:
    annotation = annotation_at(key)
    return kind_of(annotation) if annotation is not None else "another value"


def _named(got: Any) -> str:
    if isinstance(got, dict):
        return "a block of keys"
    if isinstance(got, (list, tuple)):
        return f"a list of {len(got)}"
    if got is None:
        return "null"
    if isinstance(got, bool):
        return str(got).lower()
    return f"the text {got!r}" if isinstance(got, str) else repr(got)


def _means_null(got: Any) -> bool:
    return isinstance(got, str) and got.lower() in ("none", "nil", "")


def _stage(key: Key, value: Any) -> str | None:
    """The name of the stage that a key stands in."""
    if len(key) < 3 or key[0] != "stages":
        return None
    return dotted(key[:2], value).partition(".")[2]


def _hint(key: Key, got: Any, value: Any, where: Where) -> str:
    annotation = annotation_at(key)
    bare, optional = unwrap(annotation)
    if optional and _means_null(got):
        return "write null"
    if is_block(bare) and isinstance(got, (int, float, str)) and not isinstance(got, bool):
        return _inside(key, got, value, in_file=_IN_FILE.search(where(key)) is not None)
    if bare is str and isinstance(got, (int, float)):
        return "put quotes around it"
    if bare in (int, float) and isinstance(got, str):
        return "write it as a number, without quotes or units"
    if bare is int and isinstance(got, float):
        return f"write a whole number, such as {max(round(got), 1)}"
    return f"write {_wanted(key)}"


def _inside(key: Key, got: Any, value: Any, *, in_file: bool) -> str:
    """How the keys of a block are set, where a value stands in the block's place."""
    keys = list(choices_at(key))
    stage = _at(value, key[:-1])
    if key[-1] == "lr" and isinstance(stage, dict):
        # A rate belongs to each part that trains, and to no other.
        trains = stage.get("trainable") or DEFAULT_TRAINABLE.get(stage.get("kind", ""), ())
        parts = {str(one).partition(".")[0] for one in ([trains] if isinstance(trains, str) else trains)}
        keys = [one for one in keys if one in parts] or keys
        if in_file:
            return f"write lr: {{{', '.join(f'{one}: {got}' for one in keys)}}}"
        return "write " + " and ".join(f"{dotted(key, value)}.{one}={got}" for one in keys)
    return f"set one of the keys in it: {', '.join(f'{dotted(key, value)}.{one}' for one in keys)}"
