"""Our way to run a chat template gives what transformers' gives, and lets it reach nothing else."""

from __future__ import annotations

import jinja2
import pytest

from pumice.text.jinja import TODAY, compile_jinja

from .families import FAMILIES, family

MESSAGES = [
    {"role": "user", "content": " What?"},
    {"role": "assistant", "content": "A circle.\n"},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_text_is_that_of_transformers(name: str) -> None:
    jinja, tokenizer = family(name)
    expected = tokenizer.apply_chat_template(
        MESSAGES,
        chat_template=jinja,
        tokenize=False,
        add_generation_prompt=True,
        date_string=TODAY.strftime("%d %b %Y"),
    )
    variables = {"tools": None, "documents": None, **tokenizer.special_tokens_map}
    got = compile_jinja(jinja)(messages=MESSAGES, add_generation_prompt=True, **variables)
    assert got == expected


def test_extensions_and_filters_of_transformers_are_there() -> None:
    jinja = (
        "{% for m in messages %}{% if loop.index0 == 2 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content | trim }}{% endgeneration %}|{% endfor %}"
        "{{ messages[0] | tojson }}{{ strftime_now('%Y') }}"
    )
    text = compile_jinja(jinja)(messages=MESSAGES)
    assert text == 'What?|A circle.|{"role": "user", "content": " What?"}2024'


def test_line_breaks_after_blocks_go() -> None:
    assert compile_jinja("  {% if true %}\nyes\n  {% endif %}\nno")() == "yes\nno"


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set ns = namespace(__init__=1) %}",
        "{% set ns = namespace() %}{% set ns.__class__ = messages %}",
        "{{ raise_exception('stop') }}",
    ],
)
def test_the_sandbox_holds(jinja: str) -> None:
    """What it keeps back is an error, or reads as nothing."""
    try:
        text = compile_jinja(jinja)(messages=[*MESSAGES])
    except jinja2.TemplateError:
        return
    assert not text.strip()
