"""From pydantic's findings to errors that name the file, the line, the key and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from pydantic import ValidationError

from pumice.errors import RecipeError, suggest
from pumice.recipes.fields import Key, annotation_at, instead, kind_of, unwrap
from pumice.recipes.values import Problem

Where = Callable[[Key], str]
"""Says where the value of a key was written: the file and line, or the override's text."""

SHOWN = 8


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
        return _error(problem.what, key, value, where, problem.remedy)
    if kind == "extra_forbidden":
        name = dotted(key, value)
        return _error(f"there is no key {name!r}", key, value, where, instead(key))
    if kind in ("too_short", "too_long") or (kind == "missing" and isinstance(key[-1], int)):
        key = key[:-1] if kind == "missing" else key
        got = _named(_at(value, key)) if kind == "missing" else _named(got)
        return _error(f"{_wanted(key)} belongs here, not {got}", key, value, where, "mind how many there are")
    if kind == "missing":
        name = dotted(key, value)
        return _error(f"the key {name!r} is missing", key, value, where, f"add it; it takes {_wanted(key)}")
    if kind == "literal_error":
        choices = [str(choice) for choice in get_args(unwrap(annotation_at(key))[0])]
        return _error(f"{got!r} is none of the choices", key, value, where, suggest(str(got), choices))
    if kind.endswith(("_type", "_parsing", "_from_float")):
        return _error(f"{_wanted(key)} belongs here, not {_named(got)}", key, value, where, _hint(key, got))
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


def _hint(key: Key, got: Any) -> str:
    annotation = annotation_at(key)
    bare, _ = unwrap(annotation)
    if bare is str and isinstance(got, (int, float)):
        return "put quotes around it"
    if bare in (int, float) and isinstance(got, str):
        return "write it as a number, without quotes or units"
    if bare is int and isinstance(got, float):
        return f"write a whole number, such as {max(round(got), 1)}"
    return f"write {_wanted(key)}"
