"""Answers that obey a JSON schema: which tokens may come next, by the library llguidance.

The extra ``schema`` installs it. Without it, everything else works, and a request with a schema is refused.

Legend: V size of the vocabulary.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumice.errors import MissingExtraError, UsageError

ANY_OBJECT = '{"type": "object"}'
"""The schema of any JSON object."""
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write a value. Where blanks may stand anywhere, small models write blanks for ever."""


class Matcher:
    """What one answer's schema allows; made by ``Schemas``."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def done(self) -> bool:
        """Whether the JSON text is whole and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self, size: int) -> Tensor:
        """Which of so many token ids may come next, bool [V] on the CPU; an end where the text may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[:size].astype(bool)
        return torch.from_numpy(np.pad(allowed, (0, size - allowed.size)))

    def take(self, token: int) -> None:
        """Note the token that was drawn among those allowed."""
        took = self._matcher.consume_token(token)
        assert took, self._matcher.get_error()


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
            UsageError: the schema is no JSON, or says what the library does not know.
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
        try:
            json.loads(schema)
        except ValueError as error:
            raise UsageError(f"the schema is not JSON: {error}", where="json_schema") from error
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = hf.from_tokenizer(self._tokenizer, eos_token=self._end_ids or None)
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=_COMPACT)
        except ValueError as error:
            raise _refused(str(error)) from error
        matcher = llguidance.LLMatcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return Matcher(matcher)


def _refused(why: str) -> UsageError:
    return UsageError(
        f"the schema cannot be obeyed: {why.strip()}",
        where="json_schema",
        remedy="use the parts of JSON Schema that llguidance supports",
    )
