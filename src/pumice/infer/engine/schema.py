"""Answers that obey a JSON schema: which tokens may come next, by the library llguidance.

The extra ``schema`` installs it. Without it, everything else works, and a request with a schema is refused.

Legend: V size of the vocabulary.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumice.errors import MissingExtraError, UsageError
from pumice.infer.engine.endless import is_endless

ANY_OBJECT = '{"type": "object"}'
"""The schema of any JSON object."""
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write a value. Where blanks may stand anywhere, small models write blanks for ever."""
MOST_LETTERS = 1 << 17
DEEPEST = 100
"""Bounds of a schema. The library's own are a little higher; beyond them its words help nobody."""

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
"""Where a schema has schemas by name."""
_VALUES = ("enum", "const", "default", "examples")
"""Where a schema has values that are no schemas."""
_COMPOSING = {"allOf", "not", "if", "dependentSchemas", "unevaluatedProperties"}
_ELSEWHERE = {"anyOf", "oneOf", "$ref", "patternProperties"}
"""What says more of an object than the schema that lists its members."""


class Matcher:
    """What one answer's schema allows; made by ``Schemas``."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def done(self) -> bool:
        """Whether the JSON text is whole and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self, size: int) -> Tensor:
        """Which of so many token ids may come next, bool [V] on the CPU; an end where the text may end.

        Raises:
            UsageError: what may follow is more than the library keeps in mind.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error())
        allowed = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        return torch.from_numpy(np.pad(allowed, (0, size - allowed.size)))

    def take(self, token: int) -> None:
        """Note the token that was drawn among those allowed.

        Raises:
            UsageError: what may follow is more than the library keeps in mind.
        """
        if not self._matcher.consume_token(token):
            raise _refused(self._matcher.get_error())


class Schemas:
    """Makes matchers for one tokenizer.

    Args:
        tokenizer: the model's.
        end_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, end_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = sorted(end_ids)
        self._vocabulary: Any = None
        self._lock = threading.Lock()

    def matcher(self, schema: str) -> Matcher:
        """A matcher for an answer from its first token on.

        Raises:
            UsageError: the schema is no JSON or too large, says what the library does not know, or is one
                that no text obeys.
            MissingExtraError: the library is not installed.
        """
        try:
            llguidance: Any = import_module("llguidance")
            hf: Any = import_module("llguidance.hf")
        except ImportError as error:
            raise MissingExtraError(
                "answers that obey a JSON schema need the library llguidance",
                where="json_schema",
                remedy="pip install 'pumice[schema]'",
            ) from error
        closed = json.dumps(_closed(_read(schema)))
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = hf.from_tokenizer(self._tokenizer, eos_token=self._end_ids or None)
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(closed, overrides=_COMPACT)
        except ValueError as error:
            raise _refused(str(error)) from error
        matcher = llguidance.LLMatcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise _refused(matcher.get_error())
        if matcher.is_stopped():
            raise _refused("it allows no text at all")
        return Matcher(matcher)


def _read(schema: str) -> Any:
    """A schema as JSON, within bounds, and not one that no text obeys.

    Raises:
        UsageError: it is none of these.
    """
    if len(schema) > MOST_LETTERS:
        raise UsageError(
            f"the schema has {len(schema):,} letters, and at most {MOST_LETTERS:,} are taken",
            where="json_schema",
        )
    try:
        read = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the schema is not JSON: {error}", where="json_schema") from error
    level: list[Any] = [read]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if level:
        raise UsageError(f"the schema is deeper than {DEEPEST} levels", where="json_schema")
    if isinstance(read, dict) and is_endless(read, _inside(read)):
        raise UsageError(
            "no text obeys the schema: each of its values must hold another of the same kind",
            where="json_schema",
            remedy="let one of the members be left out, or one of the lists be empty",
        )
    return read


def _closed(schema: Any) -> Any:
    """The schema, where objects whose members are listed have no others.

    JSON Schema lets any member stand beside those that it lists. A model then may invent members up to its
    longest answer, so other servers close such objects, too; ``additionalProperties`` opens one. Schemas
    that put one object together of several stay as they are: each part would forbid the others' members.
    """
    return schema if any(_composed(one) for one in _inside(schema)) else _close(schema)


def _composed(schema: dict[str, Any]) -> bool:
    return bool(_COMPOSING & schema.keys() or ("properties" in schema and _ELSEWHERE & schema.keys()))


def _inside(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all schemas in it."""
    if isinstance(schema, dict):
        yield schema
        for key, inner in schema.items():
            named = key in _NAMED and isinstance(inner, dict)
            for one in inner.values() if named else inner if isinstance(inner, list) else (inner,):
                if key not in _VALUES:
                    yield from _inside(one)


def _close(schema: Any) -> Any:
    copy = json.loads(json.dumps(schema))
    for one in list(_inside(copy)):
        if "properties" in one:
            one.setdefault("additionalProperties", False)
    return copy


def _refused(why: str) -> UsageError:
    return UsageError(
        f"the schema cannot be obeyed: {_first(why)}",
        where="json_schema",
        remedy="use the parts of JSON Schema that llguidance supports",
    )


def _first(why: str) -> str:
    """The library's words, without the state of its parser."""
    return why.strip().partition("\n<state>")[0]
