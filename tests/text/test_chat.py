"""The Jinja templates give the renderer's ids, so that other programs ask as we trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import jinja2
import PIL.Image
import pytest
import transformers
from transformers import PreTrainedTokenizerBase

from pumice.errors import TemplateError
from pumice.text import chat_template, get_template, render
from pumice.types import Image, Message, Text, text_message


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


SYSTEM = Message("system", (Text("it is red"),))
NO_SYSTEM = Message("system", (Text(""),))
ONE = (text_message("user", "What is it?", [0]), assistant("red circle"))
TWO = (*ONE, text_message("user", "Why?"), assistant("blue"))
WORDS = (text_message("user", "What is it?"), assistant("red"))
LATER = (*WORDS, text_message("user", "Why?", [0]), assistant("\nblue é"))
MIXED = (Message("user", (Text("What "), Image(0), Image(1), Text(" is"), Text(" it?"))), assistant(" red"))


def as_dicts(messages: Sequence[Message], *, strings: bool = False) -> list[dict[str, Any]]:
    if strings:
        return [{"role": message.role, "content": message.text} for message in messages]
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"}
                for part in message.parts
            ],
        }
        for message in messages
    ]


def ours(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str, **options: Any
) -> list[int]:
    n = sum(isinstance(part, Image) for message in messages for part in message.parts)
    image = int(tokenizer.convert_tokens_to_ids("<image>"))
    encoded = render(
        messages, tokenizer, get_template(name), image_lengths=[1] * n, image_token_id=image, **options
    )
    return [int(id_) for id_ in encoded.input_ids]


def theirs(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, name: str, **options: Any
) -> Any:
    template = chat_template(name, tokenizer)
    return tokenizer.apply_chat_template(messages, chat_template=template, return_dict=False, **options)


@pytest.mark.parametrize("name", ["v1", "tiny"])
@pytest.mark.parametrize("messages", [ONE, TWO, WORDS, (*WORDS, *ONE), LATER, MIXED])
@pytest.mark.parametrize("system", [(), (SYSTEM,), (NO_SYSTEM,)])
def test_ids_are_equal(
    tokenizer: PreTrainedTokenizerBase, name: str, messages: tuple[Message, ...], system: tuple[Message, ...]
) -> None:
    conversation = (*system, *messages)
    assert theirs(as_dicts(conversation), tokenizer, name) == ours(conversation, tokenizer, name)


@pytest.mark.parametrize("name", ["v1", "tiny", "plain"])
def test_prompts_are_equal(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    conversation = ONE[:1] if name == "plain" else (*TWO, text_message("user", "What is it?"))
    got = theirs(as_dicts(conversation), tokenizer, name, add_generation_prompt=True)
    assert got == ours(conversation, tokenizer, name, generation_prompt=True)


def test_captions_are_equal(tokenizer: PreTrainedTokenizerBase) -> None:
    assert theirs(as_dicts(ONE), tokenizer, "plain") == ours(ONE, tokenizer, "plain")


@pytest.mark.parametrize("name", ["v1", "tiny"])
def test_content_may_be_a_string(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    conversation = (SYSTEM, *WORDS, *WORDS)
    assert theirs(as_dicts(conversation, strings=True), tokenizer, name) == ours(
        conversation, tokenizer, name
    )


def test_the_string_reads_as_expected(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    tokenizer = tokenizers["legacy"]
    assert theirs(as_dicts(TWO), tokenizer, "tiny", tokenize=False) == (
        "<s>Q: <image>\nWhat is it?\nA: red circle</s>Q: Why?\nA: blue</s>"
    )
    assert theirs(as_dicts(ONE[:1]), tokenizer, "v1", tokenize=False, add_generation_prompt=True) == (
        "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. USER: <image>\nWhat is it? ASSISTANT:"
    )


def test_a_tokenizer_without_bos(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    for family in tokenizers.values():
        tokenizer = copy.deepcopy(family)
        tokenizer.bos_token = None
        for conversation in (TWO, MIXED, WORDS):
            assert theirs(as_dicts(conversation), tokenizer, "v1") == ours(conversation, tokenizer, "v1")


def test_only_tokenizers_that_need_it_get_another_template(
    tokenizers: dict[str, PreTrainedTokenizerBase],
) -> None:
    for name in ("v1", "tiny", "plain"):
        general = chat_template(name)
        assert chat_template(name, tokenizers["bytes"]) == general
        assert chat_template(name, tokenizers["legacy"]) == general
        assert chat_template(name, tokenizers["first"]) != general


def test_hostile_text_with_the_librarys_sanitiser(tokenizer: PreTrainedTokenizerBase) -> None:
    if "sanitize_control_tokens" not in inspect.signature(tokenizer.apply_chat_template).parameters:
        pytest.skip("this transformers has no sanitize_control_tokens")
    conversation = (text_message("user", "What </s> is <image>?", [0]), assistant("red </s>"))
    got = theirs(as_dicts(conversation), tokenizer, "tiny", sanitize_control_tokens=True)
    specials = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<image>"))
    expected = ours(conversation, tokenizer, "tiny")
    assert [got.count(id_) for id_ in specials] == [expected.count(id_) for id_ in specials] == [1, 1, 1]


@pytest.mark.parametrize("name", ["v1", "tiny"])
def test_the_processor_of_a_checkpoint_gives_our_ids(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """transformers' LlavaProcessor puts the image's tokens in; BOS stays one."""
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    processor = transformers.LlavaProcessor(
        image_processor=kind(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template(name, tokenizer),
    )
    messages = as_dicts(ONE[:1])
    messages[0]["content"][0]["image"] = PIL.Image.new("RGB", (28, 28))
    out = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    image = int(tokenizer.convert_tokens_to_ids("<image>"))
    expected = render(
        ONE[:1],
        tokenizer,
        get_template(name),
        image_lengths=[4],
        image_token_id=image,
        generation_prompt=True,
    )
    assert list(out["input_ids"][0]) == expected.input_ids.tolist()


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "red"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
        [{"role": "tool", "content": "a"}],
        [{"role": "user", "content": [{"type": "video"}]}],
    ],
)
def test_what_cannot_be_rendered_raises(
    tokenizers: dict[str, PreTrainedTokenizerBase], messages: list[dict[str, Any]]
) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match="must"):
        theirs(messages, tokenizers["bytes"], "tiny")


def test_an_unknown_name() -> None:
    with pytest.raises(TemplateError, match="there is no template 'v2'"):
        chat_template("v2")
