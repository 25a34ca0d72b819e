"""A template as Jinja, so that other programs render what ``render`` renders.

transformers, vLLM and SGLang turn messages into a prompt with a checkpoint's chat template. The one
made here gives, for ordinary text, the ids of ``render``. Text that holds control tokens is the
exception: Jinja yields a string, and in a string they cannot be told from the template's own
(transformers can, with ``sanitize_control_tokens=True``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pumice.text.encoder import text_encoder
from pumice.text.templates import Template, get_template
from pumice.text.writer import split_control
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


def chat_template(name: str, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """The Jinja chat template of the template called ``name``.

    Messages have a ``role`` and a ``content``: a string, or a list of ``{"type": "text", "text":
    ...}`` and ``{"type": "image"}``. An image is written as ``<image>``, which the processor
    replaces by the image's tokens.

    Args:
        name: a name in ``TEMPLATES``.
        tokenizer: give it to save the result beside it. Tokenizers that put a space before a text
            but not after a control token (Llama's with ``legacy=False``) need that space written
            out after BOS and images, where LLaVA has it. For others the result is the same as
            without.

    Raises:
        TemplateError: no template has this name.
    """
    template = get_template(name)
    lead = tokenizer is not None and text_encoder(tokenizer, -1).prefix == "first"
    return _Jinja(template, lead=lead).build()


def _quote(words: str) -> str:
    """A Jinja string literal."""
    return json.dumps(words, ensure_ascii=False)


class _Jinja:
    """Writes one template; every method returns a fragment that yields no blanks of its own."""

    def __init__(self, template: Template, *, lead: bool) -> None:
        self._t = template
        self._lead = lead

    def build(self) -> str:
        return "".join(
            line.strip()
            for line in (
                _LEAD if self._lead else "",
                self._system_value(),
                "" if self._t.bos == "never" else self._bos(),
                "" if self._t.system_inside_user else self._system(),
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
            for piece, is_control in split_control(words, self._t.control)
        )

    def _control(self, expression: str, *, start: bool = False) -> str:
        flag = f"{{%- set place.start = {'true' if start else 'false'} -%}}" if self._lead else ""
        return f"{{{{- {expression} -}}}}{flag}"

    def _bos(self) -> str:
        # Without a BOS there is no token before the text, and the tokenizer adds its space itself.
        return f"{{%- if bos_token is defined -%}}{self._control('bos_token', start=True)}{{%- endif -%}}"

    def _system_value(self) -> str:
        own = "messages[0]['content'] if messages[0]['content'] is string else "
        own += "messages[0]['content'] | map(attribute='text') | join('')"
        return (
            "{%- if messages[0]['role'] == 'system' -%}"
            f"{{%- set offset = 1 -%}}{{%- set system = {own} -%}}"
            f"{{%- else -%}}{{%- set offset = 0 -%}}{{%- set system = {_quote(self._t.system)} -%}}"
            "{%- endif -%}"
        )

    def _system(self) -> str:
        words = self._words(self._t.system_prefix) + self._say("system") + self._words(self._t.system_suffix)
        return f"{{%- if system | trim -%}}{words}{{%- endif -%}}"

    def _check_order(self) -> str:
        return (
            "{%- if loop.index0 >= offset and "
            "message['role'] != ['user', 'assistant'][(loop.index0 - offset) % 2] -%}"
            "{{- raise_exception('after an optional system message, roles must alternate: "
            "user, assistant, user, ...') -}}{%- endif -%}"
        )

    def _user(self) -> str:
        image = self._control(_quote(PLACEHOLDER), start=True)
        text = "" if self._t.images_only else self._say("part['text']")
        again = ""
        if self._t.bos == "pair":
            bos = f"{{%- if bos_token is defined -%}}{self._control('bos_token')}{{%- endif -%}}"
            again = f"{{%- if loop.index0 > offset -%}}{bos}{{%- endif -%}}"
        whole = "" if self._t.images_only else self._say("message['content']")
        inside = ""
        if self._t.system_inside_user:
            inside = f"{{%- if loop.index0 == offset -%}}{self._system()}{{%- endif -%}}"
        return (
            f"{again}{self._words(self._t.user_prefix)}{inside}"
            "{%- if message['content'] is string -%}"
            f"{whole}"
            "{%- else -%}{%- for part in message['content'] -%}"
            f"{{%- if part['type'] == 'image' -%}}{image}"
            f"{{%- elif part['type'] == 'text' -%}}{text}"
            "{%- else -%}{{- raise_exception('a part must be text or image, not ' + part['type']) -}}"
            "{%- endif -%}{%- endfor -%}{%- endif -%}"
            f"{self._words(self._t.user_suffix)}"
        )

    def _answer(self) -> str:
        text = self._say(
            "message['content'] if message['content'] is string else "
            "message['content'] | map(attribute='text') | join('')"
        )
        separator = self._words(self._t.separator)
        return (
            f"{self._words(self._t.assistant_prefix)}{text}{self._words(self._t.assistant_suffix)}"
            f"{self._control('eos_token') if self._t.eos else ''}"
            + (f"{{%- if not loop.last -%}}{separator}{{%- endif -%}}" if separator else "")
        )

    def _prompt_end(self) -> str:
        return self._words(self._t.assistant_prefix.rstrip(" "))
