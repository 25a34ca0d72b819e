"""What a conversation template is: data, and no code.

A template says which words stand around each message, where control tokens go and what is
supervised. ``render`` reads it, ``chat_template`` turns it into Jinja, ``learn_template`` makes one
from a tokenizer's own Jinja, and ``pumice.text.templates`` holds those with a name.

One conversation is laid out so (control tokens in angle brackets)::

    <bos> system_prefix SYSTEM system_suffix
    user_prefix QUESTION user_suffix assistant_prefix ANSWER assistant_suffix <eos>
    separator user_prefix QUESTION ...

Spaces that end a role's prefix belong to what follows: a prompt ends with ``A:`` and the answer's
tokens begin with its space. Byte-level BPE and SentencePiece both keep a space with the word after
it, so that a prompt is a token prefix of the prompt with its answer, for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pumice.types import Role

Supervised = Literal["answer", "suffix", "eos"]
Bos = Literal["never", "conversation", "pair", "tokenizer"]


@dataclass(frozen=True, slots=True)
class Template:
    """How a conversation is written. Pure data.

    Attributes:
        name: the exact name by which a recipe selects it.
        system: the system prompt of a conversation that has none of its own; "" for no prompt.
        system_prefix: words before a system prompt; without a prompt neither these nor the suffix.
        system_suffix: words after a system prompt.
        system_inside_user: the prompt stands inside the first user message, after ``user_prefix``.
        takes_system: whether a conversation may bring a system prompt.
        without_system: words in the place of a system prompt where there is none.
        examples: questions and answers that are part of every prompt, after the system prompt;
            never supervised.
        user_prefix: words before a user message.
        user_suffix: words after a user message.
        image_prefix: words before each image.
        image_suffix: words after each image.
        assistant_prefix: words before an answer; a generation prompt ends with them.
        last_assistant_prefix: these words instead, before the last answer of a conversation and at
            the end of a generation prompt; None where they are the same.
        assistant_suffix: words that end an answer.
        separator: words between a finished answer and the next user message; never supervised.
        bos: where the tokenizer's BOS stands: nowhere, before the conversation, before every pair,
            or before the conversation where the tokenizer adds it to a text by itself
            ("tokenizer"). A tokenizer without one writes none.
        eos: whether the tokenizer's EOS ends each answer.
        supervised: which of the answer, its suffix and its EOS carry a loss.
        strip: roles whose messages lose the blanks at both ends. Blanks beside an image stay.
        unwritable: strings that an answer must not hold, because the Jinja that this template was
            learned from would rewrite such an answer.
        images_only: a user message is its images alone; its words are left out, there is no
            system prompt, and a conversation is one pair with at least one image.
        chunks: text after BOS or an image is encoded as the beginning of a text of its own, as
            LLaVA encodes the chunks around an image. Otherwise it goes on as after any control
            token, as transformers reads the string of a chat template. Only SentencePiece
            tokenizers that put a space before the first piece tell the two apart.
        control: strings inside the words above that are tokens of the tokenizer and not text
            (``<|im_start|>`` and its like). In messages the same strings are ordinary text.
        optional_control: the same for strings that are tokens of some tokenizers only (``[INST]``)
            and are written as text with the others.
    """

    name: str
    system: str = ""
    system_prefix: str = ""
    system_suffix: str = ""
    system_inside_user: bool = False
    takes_system: bool = True
    without_system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    user_prefix: str = ""
    user_suffix: str = ""
    image_prefix: str = ""
    image_suffix: str = ""
    assistant_prefix: str = ""
    last_assistant_prefix: str | None = None
    assistant_suffix: str = ""
    separator: str = ""
    bos: Bos = "conversation"
    eos: bool = True
    supervised: frozenset[Supervised] = frozenset({"answer", "suffix", "eos"})
    strip: frozenset[Role] = frozenset()
    unwritable: tuple[str, ...] = ()
    images_only: bool = False
    chunks: bool = True
    control: tuple[str, ...] = ()
    optional_control: tuple[str, ...] = ()

    @property
    def prompt_prefix(self) -> str:
        """The words before an answer that is still to come, and before the last one."""
        last = self.last_assistant_prefix
        return self.assistant_prefix if last is None else last


def mark_images(template: Template, start: str, end: str) -> Template:
    """The template with a control token on each side of every image.

    LLaVA checkpoints with ``mm_use_im_start_end`` were trained with ``<im_start>`` and ``<im_end>``
    there; the name stays the template's.
    """
    return replace(
        template,
        image_prefix=template.image_prefix + start,
        image_suffix=end + template.image_suffix,
        control=(*template.control, start, end),
    )
