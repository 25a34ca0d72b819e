"""YAML as recipes use it: plain values, YAML 1.2's spelling of them, and the line of every key.

PyYAML reads YAML 1.1, where ``1e-3`` is text, ``no`` is false and ``12:30`` is 750. Here the
scalars are those of YAML 1.2's core schema, in reading and in writing. Refused, each with its
line: a key that stands twice, tags (``!!python/...``), and anchors with their aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from pumice.errors import RecipeError
from pumice.recipes.fields import Key

MAX_DEPTH = 50
"""Levels of blocks and lists; recipes need seven, and far more would exhaust the stack."""

_PREFIX = "tag:yaml.org,2002:"
# https://yaml.org/spec/1.2.2/#1032-tag-resolution, less octal, hexadecimal and the infinities' capitals.
_SCALARS: dict[str, tuple[str, str]] = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
}


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars, used only to compose nodes."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what the loader above would read as something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _name, (_pattern, _first) in _SCALARS.items():
        _letters = [*_first, ""] if _name == "null" else list(_first)
        _class.add_implicit_resolver(_PREFIX + _name, re.compile(rf"^(?:{_pattern})$"), _letters)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks bare in plain and single-quoted text, and reads them as spaces.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar(_PREFIX + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)


@dataclass(slots=True)
class Document:
    """What a YAML text says: its value, and the line (from 1) that each key stands on."""

    value: Any
    lines: dict[Key, int] = field(default_factory=dict)


def read_yaml(text: str, name: str, *, lines: bool = True) -> Document:
    """Read one YAML document.

    Args:
        text: the YAML.
        name: what to call it in errors: a file's name, or an option's text.
        lines: whether errors of the syntax say the line; an option's text has but one.

    Raises:
        RecipeError: it is not YAML, or uses what recipes do not (see the top of this file).
    """
    try:
        _refuse_marks(text, name)
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        where = name
        if lines and error.problem_mark is not None:
            where += f", line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
            if error.context_mark is not None and error.context_mark.line < error.problem_mark.line:
                where += f" (what it belongs to began on line {error.context_mark.line + 1})"
        raise RecipeError(
            f"this is not YAML: {error.problem or error.context}",
            where=where,
            remedy="check indentation, colons and quotes around there",
        ) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"this is not YAML: {error}", where=name, remedy="save it as plain text") from error
    document = Document(None)
    if node is not None:
        document.value = _build(node, (), document, name)
    return document


def _line(item: Any) -> int:
    """The line, from 1, on which a node or event of PyYAML starts."""
    return int(item.start_mark.line) + 1


def _refuse_marks(text: str, name: str) -> None:
    depth = 0
    events: Iterable[Any] = yaml.parse(text, Loader=_Loader)
    for event in events:
        where = f"{name}, line {_line(event)}"
        if isinstance(event, yaml.CollectionStartEvent | yaml.CollectionEndEvent):
            depth += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
        if depth > MAX_DEPTH:
            raise RecipeError("blocks are nested too deep", where=where, remedy="write fewer levels")
        if getattr(event, "anchor", None) is not None:
            raise RecipeError(
                f"recipes have no anchors or aliases, and here is {event.anchor!r}",
                where=where,
                remedy="write the value out, or put quotes around text that starts with '&' or '*'",
            )
        if getattr(event, "tag", None) is not None:
            raise RecipeError(
                f"recipes have no tags, and here is {event.tag!r}",
                where=where,
                remedy="write a plain value: text, a number, true, false, null, a list or a block",
            )


def _build(node: yaml.Node, key: Key, document: Document, name: str) -> Any:
    document.lines.setdefault(key, _line(node))
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*key, i), document, name) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, key, document, name)
    assert isinstance(node, yaml.ScalarNode)
    try:
        return _BUILDERS[node.tag.removeprefix(_PREFIX)](node.value)
    except ValueError as error:  # Python reads whole numbers of up to 4300 digits
        raise RecipeError(
            "this number is too long",
            where=f"{name}, line {_line(node)}",
            remedy="write a shorter one",
        ) from error


def _build_mapping(node: yaml.MappingNode, key: Key, document: Document, name: str) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeError(
                "a key must be a word", where=f"{name}, line {line}", remedy="write one word as the key"
            )
        word = str(key_node.value)
        here = (*key, word)
        if word in value:
            raise RecipeError(
                f"the key {word!r} stands twice, on lines {document.lines[here]} and {line}",
                where=f"{name}, line {line}, key {'.'.join(map(str, here))}",
                remedy="keep one of them",
            )
        document.lines[here] = line
        value[word] = _build(value_node, here, document, name)
    return value


def _build_float(value: str) -> float:
    return float(value.replace(".inf", "inf").replace(".nan", "nan"))


_BUILDERS: dict[str, Any] = {
    "null": lambda value: None,
    "bool": lambda value: value.lower() == "true",
    "int": int,
    "float": _build_float,
    "str": str,
}


def write_yaml(value: Any) -> str:
    """YAML text of plain values, in their order, that ``read_yaml`` reads back as equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
