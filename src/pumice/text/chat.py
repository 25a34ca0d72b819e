"""A template as Jinja, so that other programs render what ``render`` renders.

transformers, vLLM and SGLang turn messages into a prompt with a checkpoint's chat template. The one
made here gives, for ordinary text, the ids of ``render``. Text that holds control tokens is the
exception: Jinja yields a string, and in a string they cannot be told from the template's own
(transformers can, with ``sanitize_control_tokens=True``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pumice.text.encoder import TextEncoder, text_encoder
from pumice.text.template import Template
from pumice.text.templates import get_template
from pumice.text.writer import known_control, split_control
from pumice.types import PLACEHOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LEAD = """
{%- set place = namespace(start=false) -%}
{%- macro say(text) -%}
{%- if text -%}
{%- if place.start and not text.startswith(' ') -%}{{- ' ' -}}{%- endif -%}
{%- set place.start = false -%}{{- text -}}
{%- endif -%}
{%- endmacro -%}
"""


def chat_template(template: str | Template, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """A template as a Jinja chat template.

    Messages have a ``role`` and a ``content``: a string, or a list of ``{"type": "text", "text":
    ...}`` and ``{"type": "image"}``. An image is written as ``<image>``, which the processor
    replaces by the image's tokens.

    Args:
        template: a template, or a name in ``TEMPLATES``.
        tokenizer: give it to save the result beside it. Tokenizers that put a space before a text
            but not after a control token (Llama's with ``legacy=False``) need that space written
            out after BOS and images, where LLaVA has it; and templates whose BOS is the tokenizer's
            affair need to know it. For others the result is the same as without.

    Raises:
        TemplateError: no template has this name.
    """
    if isinstance(template, str):
        template = get_template(template)
    return _Jinja(template, None if tokenizer is None else text_encoder(tokenizer, -1)).build()


def _quote(words: str) -> str:
    """A Jinja string literal."""
    return json.dumps(words, ensure_ascii=False)


def _when(condition: str, then: str, otherwise: str = "") -> str:
    """``then`` where the condition holds; nothing at all where there is nothing to choose."""
    if not (then or otherwise):
        return ""
    return f"{{%- if {condition} -%}}{then}{f'{{%- else -%}}{otherwise}' if otherwise else ''}{{%- endif -%}}"


def _raise(says: str) -> str:
    return f"{{{{- raise_exception({_quote(says)}) -}}}}"


class _Jinja:
    """Writes one template; every method returns a fragment that yields no blanks of its own."""

    def __init__(self, template: Template, encoder: TextEncoder | None) -> None:
        self._t = template
        self._lead = encoder is not None and template.chunks and encoder.prefix == "first"
        self._tokens = template.control if encoder is None else known_control(template, encoder)
        self._has_bos = template.bos in ("conversation", "pair") or (
            template.bos == "tokenizer" and encoder is not None and encoder.adds_bos
        )

    def build(self) -> str:
        return "".join(
            line.strip()
            for line in (
                _LEAD if self._lead else "",
                self._system_value(),
                self._bos(start=True) if self._has_bos else "",
                "" if self._t.system_inside_user else self._system(),
                self._examples(),
                "{%- for message in messages -%}",
                self._check_order(),
                "{%- if message['role'] == 'user' -%}",
                self._user(),
                "{%- elif message['role'] == 'assistant' -%}",
                self._answer(),
                "{%- endif -%}",
                "{%- endfor -%}",
                f"{{%- if add_generation_prompt -%}}{self._prompt_end()}{{%- endif -%}}",
            )
        ).replace("\n", "")

    def _say(self, expression: str) -> str:
        return f"{{{{- say({expression}) -}}}}" if self._lead else f"{{{{- {expression} -}}}}"

    def _words(self, words: str) -> str:
        return "".join(
            self._control(_quote(piece)) if is_control else self._say(_quote(piece))
            for piece, is_control in split_control(words, self._tokens)
        )

    def _control(self, expression: str, *, start: bool = False) -> str:
        flag = f"{{%- set place.start = {'true' if start else 'false'} -%}}" if self._lead else ""
        return f"{{{{- {expression} -}}}}{flag}"

    def _bos(self, *, start: bool = False) -> str:
        # Without a BOS there is no token before the text, and the tokenizer adds its space itself.
        return _when("bos_token is defined", self._control("bos_token", start=start))

    def _system_value(self) -> str:
        own = "messages[0]['content'] if messages[0]['content'] is string else "
        own += "messages[0]['content'] | map(attribute='text') | join('')"
        refused = ""
        if not self._t.takes_system:
            refused = _when("system | trim", _raise("this template has no place for a system prompt"))
        return (
            "{%- if messages[0]['role'] == 'system' -%}"
            f"{{%- set offset = 1 -%}}{{%- set system = {own} -%}}{refused}"
            f"{{%- else -%}}{{%- set offset = 0 -%}}{{%- set system = {_quote(self._t.system)} -%}}"
            "{%- endif -%}"
        )

    def _system(self) -> str:
        if not self._t.takes_system:
            return self._words(self._t.without_system)
        system = "system | trim" if "system" in self._t.strip else "system"
        words = self._words(self._t.system_prefix) + self._say(system) + self._words(self._t.system_suffix)
        return _when("system | trim", words, self._words(self._t.without_system))

    def _examples(self) -> str:
        inside = self._system() if self._t.system_inside_user else ""
        pieces = []
        for question, answer in self._t.examples:
            pieces += [
                self._words(self._t.user_prefix) + inside + self._say(_quote(question)),
                self._words(self._t.user_suffix) + self._words(self._t.assistant_prefix),
                self._say(_quote(answer)) + self._answer_end() + self._words(self._t.separator),
                self._bos() if self._t.bos == "pair" else "",
            ]
            inside = ""
        return "".join(pieces)

    def _check_order(self) -> str:
        return (
            "{%- if loop.index0 >= offset and "
            "message['role'] != ['user', 'assistant'][(loop.index0 - offset) % 2] -%}"
            "{{- raise_exception('after an optional system message, roles must alternate: "
            "user, assistant, user, ...') -}}{%- endif -%}"
        )

    def _user(self) -> str:
        again = _when("loop.index0 > offset", self._bos()) if self._t.bos == "pair" else ""
        inside = ""
        if self._t.system_inside_user and not self._t.examples:
            inside = _when("loop.index0 == offset", self._system())
        parts = self._stripped_parts() if "user" in self._t.strip else self._parts()
        return f"{again}{self._words(self._t.user_prefix)}{inside}{parts}{self._words(self._t.user_suffix)}"

    def _image(self) -> str:
        image = self._control(_quote(PLACEHOLDER), start=True)
        return f"{self._words(self._t.image_prefix)}{image}{self._words(self._t.image_suffix)}"

    def _parts(self) -> str:
        silent = self._t.images_only
        return self._each_part(
            "" if silent else self._say("message['content']"),
            self._image(),
            "" if silent else self._say("part['text']"),
        )

    def _stripped_parts(self) -> str:
        """The message as one string, whose ends are stripped, and then piece by piece."""
        add = "{%- set said.text = said.text + "
        gather = self._each_part(
            f"{add}message['content'] -%}}",
            f"{add}{_quote(PLACEHOLDER)} -%}}",
            f"{add}part['text'] -%}}",
        )
        return (
            f"{{%- set said = namespace(text='') -%}}{gather}"
            f"{{%- for piece in (said.text | trim).split({_quote(PLACEHOLDER)}) -%}}"
            f"{_when('not loop.first', self._image())}{self._say('piece')}{{%- endfor -%}}"
        )

    def _each_part(self, string: str, image: str, text: str) -> str:
        return (
            "{%- if message['content'] is string -%}"
            f"{string}"
            "{%- else -%}{%- for part in message['content'] -%}"
            f"{{%- if part['type'] == 'image' -%}}{image}"
            f"{{%- elif part['type'] == 'text' -%}}{text}"
            "{%- else -%}{{- raise_exception('a part must be text or image, not ' + part['type']) -}}"
            "{%- endif -%}{%- endfor -%}{%- endif -%}"
        )

    def _answer(self) -> str:
        text = (
            "message['content'] if message['content'] is string else "
            "message['content'] | map(attribute='text') | join('')"
        )
        if "assistant" in self._t.strip:
            text = f"({text}) | trim"
        prefix = self._words(self._t.assistant_prefix)
        if self._t.last_assistant_prefix is not None:
            prefix = _when("loop.last", self._words(self._t.last_assistant_prefix), prefix)
        separator = _when("not loop.last", self._words(self._t.separator))
        refused = "".join(
            _when(f"{_quote(string)} in ({text})", _raise(f"an answer must not hold {string}"))
            for string in self._t.unwritable
        )
        return f"{refused}{prefix}{self._say(text)}{self._answer_end()}{separator}"

    def _answer_end(self) -> str:
        return self._words(self._t.assistant_suffix) + (self._control("eos_token") if self._t.eos else "")

    def _prompt_end(self) -> str:
        return self._words(self._t.prompt_prefix.rstrip(" "))
