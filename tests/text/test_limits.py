"""What is refused, and what is cut."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerBase

from pumice.errors import DataError, TemplateError
from pumice.text import TEMPLATES, Template, count_turns, get_template, learn_template, render, truncate
from pumice.types import Encoded, Image, Message, Text, text_message

from .conftest import ONE, TWO, WORDS_ONLY, Tokenizers, assistant, write
from .families import family
from .kinds import build, image_id

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


LONG = (
    text_message("user", "What is it?", [0]),
    assistant("A red circle."),
    text_message("user", "And here?", [1]),
    assistant("Blue (12)."),
    text_message("user", "Why?"),
    assistant("Because\n\nit is."),
)
TALKING = [name for name, template in TEMPLATES.items() if not template.images_only]
CHOSEN = {"llava_llama_3": "tiktoken", "qwen_1_5": "qwen", "gemma_instruct": "unigram", "mpt": "gpt2"}


def chosen(name: str) -> tuple[Template, PreTrainedTokenizerBase]:
    """A template and a tokenizer that goes with it; ``chat`` is Qwen 3's, whose last answer is special."""
    if name == "chat":
        jinja, tokenizer = family("qwen3")
        return learn_template(jinja, tokenizer), tokenizer
    return get_template(name), build(CHOSEN.get(name, "legacy"))


def same(one: Encoded, other: Encoded) -> bool:
    fields = ("input_ids", "labels", "position_ids", "branch_ids")
    return one.image_spans == other.image_spans and all(
        getattr(one, field).tolist() == getattr(other, field).tolist() for field in fields
    )


@pytest.mark.parametrize("branch_turns", [False, True])
@pytest.mark.parametrize("name", [*TALKING, "chat"])
def test_what_is_too_long_is_cut_after_a_whole_turn(name: str, branch_turns: bool) -> None:
    template, tokenizer = chosen(name)
    messages = (*LONG[:2], text_message("user", "And?"), *LONG[3:]) if branch_turns else LONG
    images = [5] if branch_turns else [5, 9]

    def draw(pairs: int, **options: object) -> Encoded:
        return render(
            messages[: 2 * pairs],
            tokenizer,
            template,
            image_lengths=images if pairs > 1 else [5],
            image_token_id=image_id(tokenizer),
            branch_turns=branch_turns,
            **options,
        )

    parts = [draw(pairs) for pairs in (1, 2, 3)]
    assert [count_turns(part) for part in parts] == [1, 2, 3]
    for limit in range(len(parts[0]), len(parts[2]) + 2):
        expected = max((part for part in parts if len(part) <= limit), key=len)
        cut = draw(3, max_length=limit, too_long="cut")
        assert same(cut, expected)
        assert cut.supervised > 0
        if template.last_assistant_prefix is None:
            assert same(truncate(parts[2], limit), expected)
    with pytest.raises(DataError, match=f"may have {len(parts[0]) - 1}; the first pair alone has"):
        draw(3, max_length=len(parts[0]) - 1, too_long="cut")
    with pytest.raises(DataError, match="may have 30"):
        draw(3, max_length=30, too_long="refuse")


def test_truncate_where_the_last_answer_has_words_of_its_own() -> None:
    """What is left has the words of an answer in the middle: still whole turns, images and labels."""
    template, tokenizer = chosen("chat")
    options = {"image_token_id": image_id(tokenizer)}
    whole = render(LONG, tokenizer, template, image_lengths=[5, 9], **options)
    cut = truncate(whole, len(whole) - 1)
    assert count_turns(cut) == 2
    assert tokenizer.decode(cut.input_ids).count("<think>") == 0
    again = render(
        LONG, tokenizer, template, image_lengths=[5, 9], max_length=len(whole) - 1, too_long="cut", **options
    )
    assert count_turns(again) == 2
    assert tokenizer.decode(again.input_ids).count("<think>") == 1


def test_a_prompt_that_is_too_long_is_never_cut() -> None:
    template, tokenizer = chosen("v1")
    with pytest.raises(DataError, match="may have 20"):
        render(
            LONG[:5],
            tokenizer,
            template,
            image_lengths=[5, 9],
            image_token_id=image_id(tokenizer),
            generation_prompt=True,
            max_length=20,
            too_long="cut",
        )


def test_captions_that_are_too_long_are_refused_either_way() -> None:
    template, tokenizer = chosen("plain")
    for too_long in ("refuse", "cut"):
        with pytest.raises(DataError, match="may have 3"):
            render(
                ONE,
                tokenizer,
                template,
                image_lengths=[2],
                image_token_id=image_id(tokenizer),
                max_length=3,
                too_long=too_long,
            )


@pytest.mark.parametrize("name", ["gemma_instruct"])
def test_a_system_prompt_without_a_place_is_an_error(name: str) -> None:
    template, tokenizer = chosen(name)
    messages = (SYSTEM, *WORDS_ONLY)
    with pytest.raises(TemplateError, match="'gemma_instruct' has no place for a system prompt") as caught:
        render(messages, tokenizer, template, image_lengths=(), image_token_id=image_id(tokenizer))
    assert (caught.value.where, bool(caught.value.remedy)) == ("message 0 (system)", True)
    empty = (Message("system", (Text(" "),)), *WORDS_ONLY)
    assert render(empty, tokenizer, template, image_lengths=(), image_token_id=image_id(tokenizer)).supervised


@pytest.mark.parametrize("name", TALKING)
def test_a_tokenizer_without_a_templates_tokens_is_refused(tokenizers: Tokenizers, name: str) -> None:
    """None of them becomes a handful of letters without a word."""
    template = get_template(name)
    if not template.control:
        assert write(WORDS_ONLY, tokenizers["bytes"], name).supervised
        return
    with pytest.raises(TemplateError, match="which the tokenizer does not have"):
        write(WORDS_ONLY, tokenizers["first"], name)
