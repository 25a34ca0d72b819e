"""Conversation templates, as data.

A template says which words stand around each message, where control tokens go and what is
supervised. It holds no code: ``render`` reads it, ``chat_template`` turns it into Jinja, and a new
template is a new entry of ``TEMPLATES``.

One conversation is laid out so (control tokens in angle brackets)::

    <bos> system_prefix SYSTEM system_suffix
    user_prefix QUESTION user_suffix assistant_prefix ANSWER assistant_suffix <eos>
    separator user_prefix QUESTION ...

Spaces that end a role's prefix belong to what follows: a prompt ends with ``A:`` and the answer's
tokens begin with its space. Byte-level BPE and SentencePiece both keep a space with the word after
it, so that a prompt is a token prefix of the prompt with its answer, for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pumice.errors import TemplateError, suggest

Supervised = Literal["answer", "suffix", "eos"]
Bos = Literal["never", "conversation", "pair"]


@dataclass(frozen=True, slots=True)
class Template:
    """How a conversation is written. Pure data.

    Attributes:
        name: the exact name by which a recipe selects it.
        system: the system prompt of a conversation that has none of its own; "" for no prompt.
        system_prefix: words before a system prompt; without a prompt neither these nor the suffix.
        system_suffix: words after a system prompt.
        system_inside_user: the prompt stands inside the first user message, after ``user_prefix``.
        user_prefix: words before a user message.
        user_suffix: words after a user message.
        assistant_prefix: words before an answer; a generation prompt ends with them.
        assistant_suffix: words that end an answer.
        separator: words between a finished answer and the next user message; never supervised.
        bos: where the tokenizer's BOS stands. A tokenizer without one writes none.
        eos: whether the tokenizer's EOS ends each answer.
        supervised: which of the answer, its suffix and its EOS carry a loss.
        images_only: a user message is its images alone; its words are left out, there is no
            system prompt, and a conversation is one pair with at least one image.
        control: strings inside the words above that are tokens of the tokenizer and not text
            (``<|im_start|>`` and its like). In messages the same strings are ordinary text.
    """

    name: str
    system: str = ""
    system_prefix: str = ""
    system_suffix: str = ""
    system_inside_user: bool = False
    user_prefix: str = ""
    user_suffix: str = ""
    assistant_prefix: str = ""
    assistant_suffix: str = ""
    separator: str = ""
    bos: Bos = "conversation"
    eos: bool = True
    supervised: frozenset[Supervised] = frozenset({"answer", "suffix", "eos"})
    images_only: bool = False
    control: tuple[str, ...] = ()


PLAIN = Template(
    name="plain",
    assistant_suffix="\n",
    eos=False,
    images_only=True,
)
"""Alignment on captions: image, caption, newline; no EOS. LLaVA's ``preprocess_plain``."""

V1 = Template(
    name="v1",
    system=(
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    ),
    system_suffix=" ",
    user_prefix="USER: ",
    user_suffix=" ",
    assistant_prefix="ASSISTANT: ",
)
"""LLaVA 1.5's training and evaluation (vicuna_v1), with separators " " and the EOS."""

TINY = Template(
    name="tiny",
    system_suffix="\n",
    user_prefix="Q: ",
    user_suffix="\n",
    assistant_prefix="A: ",
)
"""The embedded language model's own: few tokens, no system prompt."""

TEMPLATES: MappingProxyType[str, Template] = MappingProxyType(
    {template.name: template for template in (PLAIN, V1, TINY)}
)
"""Every template by its exact name."""


def get_template(name: str) -> Template:
    """The template of exactly this name.

    Raises:
        TemplateError: no template has this name; the error lists all and names the nearest.
    """
    template = TEMPLATES.get(name)
    if template is None:
        raise TemplateError(f"there is no template {name!r}", remedy=suggest(name, TEMPLATES))
    return template
