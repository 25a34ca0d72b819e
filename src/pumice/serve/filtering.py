"""The hook through which all text of a model goes before a client sees it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol, cast

from pumice.errors import UsageError


class Withheld(Exception):
    """Raised by a filter: no more of this answer is given; its finish reason is ``content_filter``."""


class OutputFilter(Protocol):
    """One answer's filter: text goes in as it is made, text comes out that may be shown.

    A filter may hold text back until it knows what it is, and may change it.
    """

    def push(self, text: str) -> str:
        """More text; what of it, and of what was held back, may be shown. Raises ``Withheld`` to end it."""
        ...

    def finish(self) -> str:
        """What was held back, when the answer ends. Raises ``Withheld`` to give none of it."""
        ...


MakeFilter = Callable[[], OutputFilter]


def find_filter(name: str) -> MakeFilter:
    """The maker of filters that ``package.module:name`` names, called without arguments for each answer.

    Raises:
        UsageError: there is no such thing, or it makes no filter.
    """
    module, colon, attribute = name.partition(":")
    remedy = "write MODULE:NAME of a class with push(text) and finish(); the module must be importable"
    if not (module and colon and attribute):
        raise UsageError(f"{name!r} names no output filter", where="--output-filter", remedy=remedy)
    try:
        made = getattr(importlib.import_module(module), attribute)
        example = made()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the output filter {name!r} cannot be made ({error})", where="--output-filter", remedy=remedy
        ) from error
    if not (callable(getattr(example, "push", None)) and callable(getattr(example, "finish", None))):
        raise UsageError(
            f"what {name!r} makes has no push and finish", where="--output-filter", remedy=remedy
        )
    return cast(MakeFilter, made)
