"""What is refused, and what is cut."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerBase

from pumice.errors import DataError, TemplateError
from pumice.text import get_template, truncate
from pumice.types import Image, Message, Text, text_message

from .conftest import ONE, TWO, WORDS_ONLY, Tokenizers, assistant, write

USER, ANSWER = text_message("user", "Why?"), assistant("red")
SYSTEM = Message("system", (Text("it"),))


@pytest.mark.parametrize(
    ("messages", "lengths", "what", "where"),
    [
        ((), (), "no user message", None),
        ((SYSTEM,), (), "no user message", None),
        ((ANSWER, USER), (), "'assistant' stands where 'user' must", "message 0 (assistant)"),
        ((USER, USER, ANSWER), (), "'user' stands where 'assistant' must", "message 1 (user)"),
        ((USER, ANSWER, ANSWER), (), "'assistant' stands where 'user' must", "message 2 (assistant)"),
        ((USER, SYSTEM, ANSWER), (), "'system' stands where", "message 1 (system)"),
        ((SYSTEM, ANSWER), (), "'assistant' stands where 'user' must", "message 1 (assistant)"),
        ((USER,), (), "has no answer", "message 0 (user)"),
        ((USER, ANSWER, USER), (), "has no answer", "message 2 (user)"),
        ((USER, assistant(" \n")), (), "the answer is empty", "message 1 (assistant)"),
        ((USER, Message("assistant", ())), (), "the answer is empty", "message 1 (assistant)"),
        ((text_message("user", " "), ANSWER), (), "the question is empty", "message 0 (user)"),
        (ONE, (), "image 0 does not exist: the sample has 0 images", "message 0 (user)"),
        (ONE, (1, 1), "2 images and its messages use 1: image 1 is unused", "messages 0 to 1"),
        ((USER, ANSWER), (1,), "1 images and its messages use 0", "messages 0 to 1"),
        ((text_message("user", "", [0, 0]), ANSWER), (1,), "image 0 is used twice", "message 0 (user)"),
        ((*ONE, *ONE), (1,), "image 0 is used twice, first in message 0", "message 2 (user)"),
        ((USER, Message("assistant", (Text("a"), Image(0)))), (1,), "message of the assistant", "message 1 "),
        ((Message("system", (Image(0),)), USER, ANSWER), (1,), "message of the system", "message 0 (system)"),
        ((Message("user", (Image(-1),)), ANSWER), (1,), "image -1 does not exist", "message 0 (user)"),
        (ONE, (0,), "image 0 has 0 tokens", None),
    ],
)
def test_bad_conversations_name_the_message(
    tokenizers: Tokenizers,
    messages: Sequence[Message],
    lengths: Sequence[int],
    what: str,
    where: str | None,
) -> None:
    with pytest.raises(DataError) as caught:
        write(messages, tokenizers["bytes"], "tiny", lengths)
    assert what in caught.value.what
    if where is not None:
        assert where in str(caught.value.where)
        assert caught.value.remedy


def test_a_generation_prompt_after_an_answer_is_an_error(tokenizers: Tokenizers) -> None:
    with pytest.raises(DataError, match="must end with a user message"):
        write((USER, ANSWER), tokenizers["bytes"], "tiny", generation_prompt=True)


@pytest.mark.parametrize(
    ("messages", "lengths", "what"),
    [
        ((USER, ANSWER), (), "has no image"),
        ((SYSTEM, *ONE), (1,), "no system prompt"),
        (TWO, (1,), "takes one pair and this conversation has 2"),
    ],
)
def test_plain_is_for_captions_only(
    tokenizers: Tokenizers, messages: Sequence[Message], lengths: Sequence[int], what: str
) -> None:
    with pytest.raises(TemplateError, match=what):
        write(messages, tokenizers["bytes"], "plain", lengths)


def test_nothing_supervised_is_an_error(tokenizers: Tokenizers) -> None:
    template = dataclasses.replace(get_template("tiny"), supervised=frozenset())
    with pytest.raises(DataError, match="none of the conversation's 13 tokens is supervised"):
        write(WORDS_ONLY, tokenizers["bytes"], template)


def test_a_tokenizer_without_eos(tokenizers: Tokenizers) -> None:
    tokenizer = copy.deepcopy(tokenizers["bytes"])
    tokenizer.eos_token = None
    with pytest.raises(TemplateError, match="ends answers with EOS and the tokenizer has none"):
        write(WORDS_ONLY, tokenizer, "tiny")


def test_a_tokenizer_without_bos_writes_none(tokenizers: Tokenizers) -> None:
    tokenizer = copy.deepcopy(tokenizers["bytes"])
    tokenizer.bos_token = None
    with_bos = write(WORDS_ONLY, tokenizers["bytes"], "tiny")
    assert write(WORDS_ONLY, tokenizer, "tiny").input_ids.tolist() == with_bos.input_ids[1:].tolist()


def test_too_long_names_both_numbers(tokenizers: Tokenizers) -> None:
    encoded = write(TWO, tokenizers["bytes"], "tiny", [9])
    assert write(TWO, tokenizers["bytes"], "tiny", [9], max_length=len(encoded)).supervised == 5
    with pytest.raises(
        DataError, match=f"has {len(encoded)} tokens \\(9 of them image\\) and may have 20"
    ) as caught:
        write(TWO, tokenizers["bytes"], "tiny", [9], max_length=20)
    assert "raise row_length in the recipe" in str(caught.value)


@pytest.mark.parametrize("name", ["v1", "tiny"])
@pytest.mark.parametrize("branch_turns", [False, True])
def test_truncate_leaves_whole_turns(
    tokenizer: PreTrainedTokenizerBase, name: str, branch_turns: bool
) -> None:
    turns = [*ONE, *(m for word in ("it", "red", "circle") for m in (USER, assistant(word)))]
    sizes = [len(write(turns[:n], tokenizer, name, [4], branch_turns=branch_turns)) for n in range(2, 10, 2)]
    whole = write(turns, tokenizer, name, [4], branch_turns=branch_turns)
    for limit in range(sizes[0], sizes[-1] + 2):
        kept = max(size for size in sizes if size <= limit)
        shorter = write(turns[: 2 * sizes.index(kept) + 2], tokenizer, name, [4], branch_turns=branch_turns)
        cut = truncate(whole, limit)
        for field in ("input_ids", "labels", "position_ids", "branch_ids"):
            assert getattr(cut, field).tolist() == getattr(shorter, field).tolist(), (limit, field)
        assert cut.image_spans == shorter.image_spans
    with pytest.raises(
        DataError, match=f"has {sizes[-1]} tokens and may have {sizes[0] - 1}; the first pair"
    ):
        truncate(whole, sizes[0] - 1)


def test_truncate_never_cuts_an_image(tokenizer: PreTrainedTokenizerBase) -> None:
    later = (text_message("user", "Why?", [1]), ANSWER)
    whole = write((*ONE, *later), tokenizer, "tiny", [2, 50])
    first = write(ONE, tokenizer, "tiny", [2])
    cut = truncate(whole, len(whole) - 1)
    assert cut.input_ids.tolist() == first.input_ids.tolist()
    assert cut.image_spans == first.image_spans
    with pytest.raises(DataError, match="the first pair alone has"):
        truncate(write(ONE, tokenizer, "tiny", [50]), 40)


def test_truncate_returns_what_fits(tokenizers: Tokenizers) -> None:
    encoded = write(TWO, tokenizers["bytes"], "tiny", [1])
    assert truncate(encoded, len(encoded)) is encoded


def test_truncate_of_a_prompt_is_an_error(tokenizers: Tokenizers) -> None:
    prompt = write(ONE[:1], tokenizers["bytes"], "tiny", [1], generation_prompt=True)
    with pytest.raises(DataError, match="no supervised answer"):
        truncate(prompt, 3)
