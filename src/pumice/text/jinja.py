"""Runs a checkpoint's chat template, as transformers runs it, but the same on every day.

A chat template is a program that came with a checkpoint. It runs in Jinja's sandbox, sees the
messages and nothing else, and gives a string.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

TODAY = datetime(2024, 7, 26)
"""What a template that writes the date writes here: the date of Llama 3.1's own. A template is data,
and data does not change over night."""

Messages = Sequence[dict[str, Any]]
Program = Callable[..., str]


class _Generation(Extension):
    """``{% generation %}``, with which some templates mark answers: here its body and no more."""

    tags = {"generation"}  # noqa: RUF012 (as its base class has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Variables(Namespace):
    """Jinja's ``namespace`` without names that reach into Python."""

    def __init__(self, **names: Any) -> None:
        for name in names:
            _check_variable(name)
        super().__init__(names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_variable(name)
        super().__setitem__(name, value)


def _check_variable(name: str) -> None:
    if name.startswith("_"):
        raise jinja2.TemplateError(f"a chat template must not set {name!r}")


@lru_cache(maxsize=32)
def compile_jinja(source: str) -> Program:
    """The template as a function of ``messages``, ``add_generation_prompt`` and other variables.

    Raises:
        jinja2.TemplateError: the source is not a template; so does the function, for messages that
            the template refuses.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["namespace"] = _Variables
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = TODAY.strftime
    return environment.from_string(source).render


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes what means something in HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)
