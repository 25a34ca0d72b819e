"""The recipe's fields as people read them: keys, kinds, defaults, meanings, and nearest names."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pumice.errors import suggest
from pumice.recipes.aliases import called_elsewhere, keys_called
from pumice.recipes.model import NEW_MODEL
from pumice.recipes.schema import Recipe
from pumice.recipes.stage import DEFAULT_TRAINABLE

Key = tuple[str | int, ...]
"""The way to a value: keys of blocks and, within lists, numbers from 0."""

SMALL_DESCRIPTION = (
    "The same keys again, with the values that --small puts in their place; stages by name. So that every "
    "recipe has a mode that runs on a CPU."
)


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One line of the recipe's reference: where a field stands, what it takes, what it means."""

    key: str
    kind: str
    default: str
    description: str


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """The annotation without ``Annotated`` and ``None``, and whether ``None`` was allowed.

    A union of several types stays one.
    """
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            inner = [arg for arg in get_args(annotation) if arg is not type(None)]
            optional = optional or len(inner) < len(get_args(annotation))
            if len(inner) > 1:
                return Union[tuple(inner)], optional  # noqa: UP007 - of types known when this runs
            annotation = inner[0]
        else:
            return annotation, optional


def is_block(annotation: Any) -> bool:
    """Whether the annotation is a block of named keys."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def holds_keys(annotation: Any) -> bool:
    """Whether values of the annotation are written as keys and values: a block, or things by name."""
    bare, _ = unwrap(annotation)
    return is_block(bare) or get_origin(bare) is dict


def kind_of(annotation: Any) -> str:
    """What a field takes, in words: ``a whole number``, ``one of: crop, pad, squash``."""
    bare, optional = unwrap(annotation)
    tail = ", or null" if optional else ""
    origin = get_origin(bare)
    if origin is Literal:
        return "one of: " + ", ".join(get_args(bare)) + tail
    if origin is tuple:
        args = get_args(bare)
        if Ellipsis not in args:
            return f"a list of {len(args)} {'numbers' if unwrap(args[0])[0] is float else 'words'}" + tail
        item, _ = unwrap(args[0])
        if get_origin(item) is Literal:
            return "a list from: " + ", ".join(get_args(item)) + tail
        plain = "a list of whole numbers" if item is int else "a list of words"
        return ("a list of blocks" if is_block(item) else plain) + tail
    if origin is dict:
        return (
            "blocks by name" if is_block(unwrap(get_args(bare)[1])[0]) else "lists of words by name"
        ) + tail
    if origin is Union or origin is types.UnionType:
        return " or ".join(kind_of(arg) for arg in get_args(bare)) + tail
    if is_block(bare):
        return "a block of keys" + tail
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names[bare] + tail


def annotation_at(key: Sequence[str | int]) -> Any | None:
    """The annotation of the field that ``key`` leads to, or None where there is no such field."""
    here: Any = Recipe
    for step in key:
        bare, _ = unwrap(here)
        origin = get_origin(bare)
        if is_block(bare):
            if step not in bare.model_fields:
                return None
            here = bare.model_fields[step].rebuild_annotation()
        elif origin is dict:
            here = get_args(bare)[1]
        elif origin is tuple:
            args = get_args(bare)
            here = args[0] if Ellipsis in args else args[int(step)]
        else:
            return None
    return here


def choices_at(key: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that the block at ``key`` may have; empty where there is no block."""
    annotation = annotation_at(key)
    bare, _ = unwrap(annotation)
    if not is_block(bare):
        return ()
    return (*bare.model_fields, "small") if bare is Recipe else tuple(bare.model_fields)


def _default(field: FieldInfo, path: str) -> str:
    if path.endswith(".trainable"):
        return "; ".join(f"{kind}: {', '.join(parts)}" for kind, parts in DEFAULT_TRAINABLE.items())
    if path in ("model.vision", "model.language", "model.template"):
        return "required without checkpoint"
    if path.startswith("model.") and path.count(".") == 1 and (own := NEW_MODEL.get(path[6:])) is not None:
        return "" if isinstance(own, dict) else str(own)
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value) if value != "" else "empty"


def _walk(model: type[BaseModel], prefix: str) -> list[FieldDoc]:
    docs: list[FieldDoc] = []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        annotation = field.rebuild_annotation()
        description = field.description
        assert description, f"{path} has no description"
        docs.append(FieldDoc(path, kind_of(annotation), _default(field, path), description))
        bare, _ = unwrap(annotation)
        origin = get_origin(bare)
        if origin in (dict, tuple):
            inner = unwrap(get_args(bare)[1 if origin is dict else 0])[0]
            if is_block(inner):
                docs += _walk(inner, f"{path}.NAME.")
        elif is_block(bare):
            docs += _walk(bare, f"{path}.")
    return docs


def recipe_fields() -> tuple[FieldDoc, ...]:
    """Every field of a recipe, blocks before what is in them, in the schema's order."""
    small = FieldDoc("small", "a block of keys, or null", "null", SMALL_DESCRIPTION)
    return (*_walk(Recipe, ""), small)


def find_fields(query: str) -> tuple[FieldDoc, ...]:
    """The fields that ``query`` names, a block with all that is in it; none where nothing fits.

    It may be a whole key, with names of stages and sources as in ``stages.align.lr`` or with NAME, or
    any parts of keys that stand together, as in ``lr``, ``lr.connector``, ``image.aspect``. Where no key
    has these, the last may be the beginning of a part: ``check``.
    """
    asked = query.split(".")
    docs = recipe_fields()
    found = [doc for doc in docs if _is_under(doc.key.split("."), asked)]
    return tuple(found or [doc for doc in docs if _has_beginning(doc.key.split("."), asked)])


def near_fields(query: str, count: int = 5) -> tuple[str, ...]:
    """Keys of what other programs call ``query``; else those that look like it, the nearest first; else those
    whose meaning speaks of it."""
    docs = recipe_fields()
    tails: dict[str, list[str]] = {}
    for doc in docs:
        parts = doc.key.split(".")
        for start in range(len(parts)):
            tails.setdefault(".".join(parts[start:]), []).append(doc.key)
    known = keys_called(query)
    if known:
        return known
    near = difflib.get_close_matches(query, tails, n=count, cutoff=0.7)
    words = query.replace("_", " ").lower()
    keys = [key for tail in near for key in tails[tail]]
    keys = keys or [doc.key for doc in docs if words in doc.description.lower()]
    return tuple(dict.fromkeys(keys))[:count]


def elsewhere(key: Sequence[str | int]) -> tuple[str, ...]:
    """Whole keys that end in the last parts of ``key``, which is none: ``stages.NAME.lr.connector`` for
    ``lr``. Of a block, the keys in it; two common parts are more than one."""
    docs = recipe_fields()
    for start in range(max(len(key) - 2, 0), len(key)):
        tail = "." + ".".join(map(str, key[start:]))
        found = [doc.key for doc in docs if doc.key.endswith(tail)]
        if found:
            inside = {
                name: [doc.key for doc in docs if doc.key.rpartition(".")[0] == name] or [name]
                for name in found
            }
            return tuple(dict.fromkeys(each for name in found for each in inside[name]))
    return ()


def instead(key: Sequence[str | int], stage: str | None = None) -> str:
    """What to do about a key that is none: what it is called here, or keys of its name elsewhere, and the
    choices where it stands. ``stage`` is the name of the stage that it stands in, for what is said."""
    known = called_elsewhere(str(key[-1]), stage)
    if known:
        return known
    here = suggest(str(key[-1]), choices_at(key[:-1]))
    others = elsewhere(key)[:5]
    return f"did you mean {' or '.join(others)}? Or {here}" if others else here


def _is_under(parts: list[str], asked: list[str]) -> bool:
    if any(parts[start : start + len(asked)] == asked for start in range(len(parts))):
        return True
    return len(parts) >= len(asked) and all(
        have in (want, "NAME") for have, want in zip(parts, asked, strict=False)
    )


def _has_beginning(parts: list[str], asked: list[str]) -> bool:
    *whole, last = asked
    starts = range(len(parts) - len(whole))
    return any(
        parts[start : start + len(whole)] == whole and parts[start + len(whole)].startswith(last)
        for start in starts
    )
