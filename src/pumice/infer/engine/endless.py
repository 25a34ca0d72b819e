"""Schemas that no finite text obeys, because each of their values must hold another of the same kind.

``{"$ref": "#"}`` is the shortest; ``{"type": "array", "items": {"$ref": "#"}, "minItems": 1}`` is another.
A grammar made of such a schema allows nothing at all, or brackets without end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

PASSES = 32
"""How often schemas that lean on each other are looked through; one that needs more is let pass."""


def is_endless(root: dict[str, Any], schemas: Iterable[dict[str, Any]]) -> bool:
    """Whether it is certain that no finite value obeys a schema.

    A schema has an end when a value of it can be made of values of schemas that have one. So all are held
    for endless first, and those that can be made are crossed out until no more are found.

    Args:
        root: the schema.
        schemas: it and all schemas in it, the very objects.
    """
    left = {id(one): one for one in schemas}
    for _ in range(PASSES):
        before = len(left)
        for key in reversed(list(left)):  # inner schemas stand behind outer ones
            if _can_be_made(left[key], root, left):
                del left[key]
        if id(root) not in left:
            return False
        if len(left) == before:
            return True
    return False


def _can_be_made(schema: dict[str, Any], root: Any, left: dict[int, Any]) -> bool:
    """Whether a value can be made of schemas that are crossed out; what is not understood can."""
    if "enum" in schema or "const" in schema:
        return True

    def ends(one: Any) -> bool:
        return id(one) not in left

    if "$ref" in schema and not ends(_target(schema["$ref"], root)):
        return False
    if not all(ends(one) for one in _list(schema.get("allOf"))):
        return False
    for name in ("anyOf", "oneOf"):
        choices = _list(schema.get(name))
        if choices and not any(ends(one) for one in choices):
            return False
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else _list(kinds)
    if set(kinds) - {"object", "array"} or not kinds:
        return True  # a number would do
    return ("object" in kinds and _object(schema, left)) or ("array" in kinds and _array(schema, left))


def _object(schema: dict[str, Any], left: dict[int, Any]) -> bool:
    named = schema.get("properties")
    properties = named if isinstance(named, dict) else {}
    others = schema.get("additionalProperties", True)
    required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    patterns = schema.get("patternProperties")
    # Which pattern a name fits is not looked at: a member that is not listed can be what any of them says.
    unlisted = [*(patterns.values() if isinstance(patterns, dict) else ()), others]
    for name in required:
        choices = [properties[name]] if name in properties else unlisted
        if all(id(one) in left for one in choices):
            return False
    if required or not _number(schema.get("minProperties")):
        return True
    return any(one is not False and id(one) not in left for one in (*properties.values(), *unlisted))


def _array(schema: dict[str, Any], left: dict[int, Any]) -> bool:
    least = _number(schema.get("minItems"))
    first = _list(schema.get("prefixItems"))
    if any(id(one) in left for one in first[:least]):
        return False
    return least <= len(first) or id(schema.get("items", True)) not in left


def _target(reference: Any, root: Any) -> Any:
    """What a reference within the schema leads to; None where it leads elsewhere."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found = root
    for word in unquote(reference[1:]).split("/")[1:]:
        name = word.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e9 else 0
