"""The one renderer: a conversation to token ids, labels and image spans.

Training, engine, server, evaluation and data generation all call ``render``; nothing else in the
system turns a message into tokens. Ids are made piece by piece and each token gets its label as it
is written: nothing is searched for afterwards, so no answer can hide its own label.

Worked example, template ``tiny``, two image tokens ``I``, labels below (``.`` is IGNORE_INDEX)::

    <s> Q : _ I I \\n What ? \\n A : _red </s> Q : _Why ? \\n A : _Paint </s>
     .  . . . . .  .   .   .  . . . _red </s> . .   .  .  . . . _Paint </s>

The same as branches (``branch_turns``): every pair starts again from the shared trunk ::

    ids        <s> Q : _ I I | \\n What ? \\n A : _red </s> | \\n Why ? \\n A : _Paint </s>
    branch      0  0 0 0 0 0 |  1   1   1  1 1 1   1    1   |  2   2  2  2 2 2    2     2
    position    0  1 2 3 4 5 |  6   7   8  9 ...            |  6   7  8  9 ...

T = tokens of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pumice.errors import DataError, TemplateError
from pumice.text.conversation import Conversation, Pair, read_conversation, split_shared
from pumice.text.encoder import text_encoder
from pumice.text.templates import Template
from pumice.text.writer import Writer
from pumice.types import IGNORE_INDEX, Encoded, Message, Part, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    *,
    image_lengths: Sequence[int],
    image_token_id: int,
    branch_turns: bool = False,
    generation_prompt: bool = False,
    max_length: int | None = None,
) -> Encoded:
    """Render a conversation.

    Text in messages is text: no ``<image>``, ``</s>`` or other added token in it is ever a token
    of its own. Text is written as it is given; nothing is stripped. A system message replaces the
    template's system prompt, and an empty one takes it away.

    Args:
        messages: an optional system message, then user and assistant in turn.
        tokenizer: any tokenizer with a ``tokenizers`` backend; whether it adds BOS itself does not
            matter, the template decides.
        template: how to write it.
        image_lengths: tokens of each image, by its index in the sample.
        image_token_id: the id that fills an image's place.
        branch_turns: make each pair a branch of its own over a shared trunk. The trunk is all up
            to the last image, or up to the first role prefix where there is no image. Trunk and
            branch k together are, in ids, labels and positions, what this function gives for pair
            k as the only pair; every question stands after the image as the first one does. Pairs
            do not see each other, so use it for independent questions, not for dialogue.
        generation_prompt: end after the words that begin an answer. The result is a prefix of the
            rendering with the answer.
        max_length: refuse a longer result. ``truncate`` cuts one instead.

    Returns:
        Int64 arrays of shape [T] and one span per image, in order of their places.

    Raises:
        DataError: the conversation is not well formed (the error names the message, counted from
            0), nothing would be supervised, or the result is longer than ``max_length``.
        TemplateError: the template and this tokenizer or conversation do not fit.
    """
    if generation_prompt and branch_turns:
        raise TemplateError(
            "a generation prompt cannot have branches", remedy="render one question at a time"
        )
    for index, length in enumerate(image_lengths):
        if length < 1:
            raise DataError(f"image {index} has {length} tokens, and an image needs at least 1")
    conversation = read_conversation(
        messages, template, len(image_lengths), generation_prompt=generation_prompt
    )
    encoder = text_encoder(tokenizer, image_token_id)
    if template.eos and encoder.eos is None:
        raise TemplateError(
            f"template {template.name!r} ends answers with EOS and the tokenizer has none",
            remedy="set the tokenizer's eos_token",
        )
    writer = Writer(encoder, template, image_lengths, image_token_id)
    if branch_turns:
        _write_branches(writer, conversation)
    else:
        _write_conversation(writer, conversation)
    encoded = writer.finish()
    _check_result(encoded, max_length, generation_prompt)
    return encoded


def truncate(encoded: Encoded, max_length: int) -> Encoded:
    """Cut whole turns from the end until at most ``max_length`` tokens are left.

    The cut is right after a supervised answer (and what ends it), so that what is left is a
    conversation with its last answer whole; an image is never cut, and images of turns that were
    cut lose their spans with them. Of branches, whole ones are cut. A result that is short enough
    already comes back as it is.

    Raises:
        DataError: not even the first pair fits (the error names both numbers).
    """
    if len(encoded) <= max_length:
        return encoded
    lit = encoded.labels != IGNORE_INDEX
    # A turn ends where supervision ends, or where the next branch begins.
    ends = np.flatnonzero(lit & ~np.append(lit[1:] & (np.diff(encoded.branch_ids) == 0), False)) + 1
    kept = ends[ends <= max_length]
    if kept.size == 0:
        first = f"the first pair alone has {ends[0]}" if ends.size else "it has no supervised answer"
        raise DataError(
            f"the conversation has {len(encoded)} tokens and may have {max_length}; {first}",
            remedy="raise the maximum length, use fewer tokens per image, or drop the row",
        )
    stop = int(kept[-1])
    return Encoded(
        input_ids=encoded.input_ids[:stop].copy(),
        labels=encoded.labels[:stop].copy(),
        position_ids=encoded.position_ids[:stop].copy(),
        branch_ids=encoded.branch_ids[:stop].copy(),
        image_spans=tuple(span for span in encoded.image_spans if span.start + span.length <= stop),
    )


def _check_result(encoded: Encoded, max_length: int | None, generation_prompt: bool) -> None:
    if not generation_prompt and encoded.supervised == 0:
        raise DataError(
            f"none of the conversation's {len(encoded)} tokens is supervised",
            remedy="check that the tokenizer can spell the answers",
        )
    if max_length is not None and len(encoded) > max_length:
        images = sum(span.length for span in encoded.image_spans)
        raise DataError(
            f"the conversation has {len(encoded)} tokens ({images} of them image) and may have {max_length}",
            remedy="raise row_length in the recipe, or split the conversation",
        )


def _write_conversation(writer: Writer, conversation: Conversation) -> None:
    lead = _write_opening(writer, conversation)
    for index, pair in enumerate(conversation.pairs):
        if index > 0:
            writer.words(writer.template.separator)
            if writer.template.bos == "pair":
                writer.bos()
            lead = _write_user_prefix(writer)
        writer.text(lead)
        _write_parts(writer, pair.question)
        _write_answer(writer, pair)


def _write_branches(writer: Writer, conversation: Conversation) -> None:
    first, *others = conversation.pairs
    shared, glue = split_shared(first.question)
    for number, pair in enumerate(others, start=2):
        if any(not isinstance(part, Text) for part in pair.question):
            raise TemplateError(
                f"pair {number} shows an image of its own, and branches share the images of the first",
                remedy="put all images into the first user message, or render without branch_turns",
            )
    lead = _write_opening(writer, conversation)
    if shared:
        writer.text(lead)
        _write_parts(writer, shared)
        lead = ""
    rests = [first.question[len(shared) :]] + [(Text(glue), *pair.question) for pair in others]
    for pair, rest in zip(conversation.pairs, rests, strict=True):
        writer.branch()
        writer.text(lead)
        _write_parts(writer, rest)
        _write_answer(writer, pair)


def _write_opening(writer: Writer, conversation: Conversation) -> str:
    """All before the first question: BOS, system prompt, role prefix; returns the spaces still owed.

    Every rendering has a cut here, because a branch may begin here: so ids with and without
    branches are equal.
    """
    template = writer.template
    if template.bos != "never":
        writer.bos()
    if conversation.system and not template.system_inside_user:
        _write_system(writer, conversation.system)
    lead = _write_user_prefix(writer)
    if conversation.system and template.system_inside_user:
        writer.text(lead)
        _write_system(writer, conversation.system)
        writer.cut()
        lead = ""
    return lead


def _write_system(writer: Writer, system: str) -> None:
    writer.words(writer.template.system_prefix)
    writer.text(system)
    writer.words(writer.template.system_suffix)


def _write_user_prefix(writer: Writer) -> str:
    head, spaces = _split_spaces(writer.template.user_prefix)
    writer.words(head)
    writer.cut()
    return spaces


def _write_parts(writer: Writer, parts: Sequence[Part]) -> None:
    for part in parts:
        if isinstance(part, Text):
            writer.text(part.text)
        else:
            writer.image(part.index)


def _write_answer(writer: Writer, pair: Pair) -> None:
    template = writer.template
    head, spaces = _split_spaces(template.assistant_prefix)
    writer.words(template.user_suffix)
    writer.words(head)
    writer.cut()
    if pair.answer is None:
        return
    writer.text(spaces + pair.answer, supervised="answer" in template.supervised)
    writer.words(template.assistant_suffix, supervised="suffix" in template.supervised)
    if template.eos:
        assert writer.encoder.eos is not None
        writer.control(writer.encoder.eos, supervised="eos" in template.supervised)


@lru_cache(maxsize=256)
def _split_spaces(prefix: str) -> tuple[str, str]:
    head = prefix.rstrip(" ")
    return head, prefix[len(head) :]
