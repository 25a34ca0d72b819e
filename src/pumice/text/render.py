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

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from pumice.errors import DataError, TemplateError
from pumice.text.conversation import Conversation, read_conversation, split_shared
from pumice.text.encoder import text_encoder
from pumice.text.template import Supervised, Template
from pumice.text.writer import Writer
from pumice.types import IGNORE_INDEX, Encoded, IntArray, Message, Part, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TooLong = Literal["refuse", "cut"]


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
    too_long: TooLong = "refuse",
    rejected: str | None = None,
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
        max_length: the most tokens of the result.
        too_long: what becomes of a longer one: it is refused, or whole pairs are cut from its end
            until it fits ("cut"). A cut result is the rendering of the pairs that are left; the
            images of the others have no span. ``count_turns`` tells how many are left. A generation
            prompt is never cut: its question is its last message.
        rejected: another answer to the last question. The trunk is then all up to where the last answer
            begins, the answer is branch 1 and this one branch 2, and these alone are supervised. Trunk and
            branch are, in ids and positions, what this function gives for the conversation with that answer
            alone. Such a result is never cut.

    Returns:
        Int64 arrays of shape [T] and one span per image, in order of their places.

    Raises:
        DataError: the conversation is not well formed (the error names the message, counted from
            0), nothing would be supervised, or the result is longer than ``max_length`` and is to
            be refused, or its first pair alone is longer.
        TemplateError: the template and this tokenizer or conversation do not fit.
    """
    if generation_prompt and branch_turns:
        raise TemplateError(
            "a generation prompt cannot have branches", remedy="render one question at a time"
        )
    assert rejected is None or not (branch_turns or generation_prompt), "two answers are branches already"
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
    if rejected is not None:
        writer = Writer(encoder, template, image_lengths, image_token_id)
        other = _other_answer(messages, template, len(image_lengths), rejected)
        _write_two_answers(writer, conversation, other)
        encoded = writer.finish()
        _check_result(encoded, max_length, generation_prompt)
        return encoded
    write = _write_branches if branch_turns else _write_conversation

    def written(pairs: int) -> Encoded:
        writer = Writer(encoder, template, image_lengths, image_token_id)
        write(writer, replace(conversation, pairs=conversation.pairs[:pairs]))
        return writer.finish()

    encoded = written(len(conversation.pairs))
    if max_length is not None and too_long == "cut" and not generation_prompt:
        encoded = _cut(encoded, written, len(conversation.pairs), max_length)
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
    ends = _turn_ends(encoded)
    kept = ends[ends <= max_length]
    if kept.size == 0:
        raise _no_pair_fits(len(encoded), max_length, int(ends[0]) if ends.size else None)
    stop = int(kept[-1])
    return Encoded(
        input_ids=encoded.input_ids[:stop].copy(),
        labels=encoded.labels[:stop].copy(),
        position_ids=encoded.position_ids[:stop].copy(),
        branch_ids=encoded.branch_ids[:stop].copy(),
        image_spans=tuple(span for span in encoded.image_spans if span.start + span.length <= stop),
    )


def count_turns(encoded: Encoded) -> int:
    """How many supervised answers there are: the pairs of a conversation that is no prompt."""
    return int(_turn_ends(encoded).size)


def _turn_ends(encoded: Encoded) -> IntArray:
    """The places after each supervised answer, [turns]."""
    lit = encoded.labels != IGNORE_INDEX
    # A turn ends where supervision ends, or where the next branch begins.
    return np.flatnonzero(lit & ~np.append(lit[1:] & (np.diff(encoded.branch_ids) == 0), False)) + 1


def _cut(encoded: Encoded, written: Callable[[int], Encoded], pairs: int, max_length: int) -> Encoded:
    """The longest rendering of fewer pairs that fits: rendered anew, as words may depend on what is last."""
    if len(encoded) <= max_length:
        return encoded
    fits, too_many, best = 0, pairs, None
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        shorter = written(middle)
        if len(shorter) <= max_length:
            fits, best = middle, shorter
        else:
            too_many = middle
    if best is None:
        raise _no_pair_fits(len(encoded), max_length, len(written(1)))
    return best


def _no_pair_fits(length: int, max_length: int, first: int | None) -> DataError:
    why = "it has no supervised answer" if first is None else f"the first pair alone has {first}"
    return DataError(
        f"the conversation has {length} tokens and may have {max_length}; {why}",
        remedy="raise the maximum length, use fewer tokens per image, or drop the row",
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
    last = len(conversation.pairs) - 1
    for index, pair in enumerate(conversation.pairs):
        if index > 0:
            lead = _write_next(writer)
        writer.text(lead)
        _write_parts(writer, pair.question)
        _write_answer(writer, pair.answer, last=index == last)


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
        _write_answer(writer, pair.answer, last=True)


def _other_answer(messages: Sequence[Message], template: Template, images: int, answer: str) -> str:
    """Another last answer as the template writes it, checked as the first one was."""
    others = (*messages[:-1], Message("assistant", (Text(answer),)))
    found = read_conversation(others, template, images, generation_prompt=False).pairs[-1].answer
    assert found is not None
    return found


def _write_two_answers(writer: Writer, conversation: Conversation, other: str) -> None:
    """The conversation up to its last answer, then this answer and the other one, each as a branch."""
    lead = _write_opening(writer, conversation)
    *earlier, pair = conversation.pairs
    for before in earlier:
        writer.text(lead)
        _write_parts(writer, before.question)
        _write_answer(writer, before.answer, last=False, example=True)
        lead = _write_next(writer)
    writer.text(lead)
    _write_parts(writer, pair.question)
    _write_answer(writer, None, last=True)
    assert pair.answer is not None
    for answer in (pair.answer, other):
        writer.branch()
        _write_given(writer, answer, last=True, supervised=writer.template.supervised)


def _write_opening(writer: Writer, conversation: Conversation) -> str:
    """All before the first question: BOS, system prompt, examples, role prefix.

    Returns the blanks still owed. Every rendering has a cut here, because a branch may begin here:
    so ids with and without branches are equal.
    """
    template, system = writer.template, conversation.system
    if template.bos != "never" and (template.bos != "tokenizer" or writer.encoder.adds_bos):
        writer.bos()
    inside = bool(system) and template.system_inside_user
    if not inside:
        _write_system(writer, system)
    lead = _write_user_prefix(writer)
    if inside:
        writer.text(lead)
        suffix, lead = _split_blanks(template.system_suffix, template.control, after=system)
        writer.words(template.system_prefix)
        writer.text(system)
        writer.words(suffix)
        writer.cut()
    for question, answer in template.examples:
        writer.text(lead + question)
        _write_answer(writer, answer, last=False, example=True)
        lead = _write_next(writer)
    return lead


def _write_system(writer: Writer, system: str) -> None:
    template = writer.template
    if not system:
        writer.words(template.without_system)
        return
    writer.words(template.system_prefix)
    writer.text(system)
    writer.words(template.system_suffix)


def _write_next(writer: Writer) -> str:
    """All between an answer and the next question; returns the blanks still owed."""
    writer.words(writer.template.separator)
    if writer.template.bos == "pair":
        writer.bos()
    return _write_user_prefix(writer)


def _write_user_prefix(writer: Writer) -> str:
    template = writer.template
    head, blanks = _split_blanks(template.user_prefix, template.control)
    writer.words(head)
    writer.cut()
    return blanks


def _write_parts(writer: Writer, parts: Sequence[Part]) -> None:
    for part in parts:
        if isinstance(part, Text):
            writer.text(part.text)
        else:
            writer.words(writer.template.image_prefix)
            writer.image(part.index)
            writer.words(writer.template.image_suffix)


def _write_answer(writer: Writer, answer: str | None, *, last: bool, example: bool = False) -> None:
    template = writer.template
    # Spaces alone wait for the answer: a prompt must end with a line break that its prefix ends with.
    writer.words(template.user_suffix)
    writer.words(_answer_prefix(template, last=last).rstrip(" "))
    writer.cut()
    if answer is not None:
        _write_given(writer, answer, last=last, supervised=frozenset() if example else template.supervised)


def _answer_prefix(template: Template, *, last: bool) -> str:
    return template.prompt_prefix if last else template.assistant_prefix


def _write_given(writer: Writer, answer: str, *, last: bool, supervised: frozenset[Supervised]) -> None:
    """An answer, the spaces before it, and what ends it."""
    template = writer.template
    prefix = _answer_prefix(template, last=last)
    head = prefix.rstrip(" ")
    writer.text(prefix[len(head) :] + answer, supervised="answer" in supervised)
    writer.words(template.assistant_suffix, supervised="suffix" in supervised)
    if template.eos:
        assert writer.encoder.eos is not None
        writer.control(writer.encoder.eos, supervised="eos" in supervised)


@lru_cache(maxsize=256)
def _split_blanks(words: str, control: tuple[str, ...], after: str = "") -> tuple[str, str]:
    """A prefix without the blanks that end it, and these: they belong to the text that follows.

    Byte-level tokenizers of the Llama 3 and Qwen kind read blanks with the text after them, and so
    with line breaks that this begins with. Line breaks after punctuation they read with the
    punctuation; those stay. ``after`` is the text that the words follow.
    """
    head = words.rstrip()
    blanks = words[len(head) :]
    before = (after + head)[-1:]
    if before and not before.isalnum() and not head.endswith(control):
        rest = blanks.lstrip("\r\n")
        head, blanks = words[: len(words) - len(rest)], rest
    return head, blanks
