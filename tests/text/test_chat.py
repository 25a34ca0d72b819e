"""The Jinja templates give the renderer's ids, so that other programs ask as we trained."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Sequence
from typing import Any

import jinja2
import PIL.Image
import pytest
import transformers
from transformers import PreTrainedTokenizerBase

from pumice.errors import TemplateError
from pumice.text import (
    TEMPLATES,
    Template,
    chat_template,
    get_template,
    learn_template,
    mark_images,
    render,
)
from pumice.types import Image, Message, Text, text_message

from .families import FAMILIES, family
from .kinds import KINDS, build

TALKING = [name for name, template in TEMPLATES.items() if not template.images_only]


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
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str | Template, **options: Any
) -> list[int]:
    n = sum(isinstance(part, Image) for message in messages for part in message.parts)
    image = int(tokenizer.convert_tokens_to_ids("<image>"))
    template = get_template(name) if isinstance(name, str) else name
    encoded = render(messages, tokenizer, template, image_lengths=[1] * n, image_token_id=image, **options)
    return [int(id_) for id_ in encoded.input_ids]


def theirs(
    messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, name: str | Template, **options: Any
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
    for known in tokenizers.values():
        tokenizer = copy.deepcopy(known)
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


@pytest.mark.parametrize("kind", ["legacy", "first", "gpt2", "tiktoken"])
@pytest.mark.parametrize("name", TALKING)
def test_the_processor_of_a_checkpoint_gives_our_ids(name: str, kind: str) -> None:
    """transformers' LlavaProcessor puts the image's tokens in; BOS stays one."""
    tokenizer = build(kind)
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


IMAGES = (
    Message("user", (Text("Before: "), Image(0), Text("\nAfter: "), Image(1), Text("\nWhat is new?"))),
    assistant("The door,\n\nI think."),
    text_message("user", "And here?", [2]),
    assistant("Nothing (12)."),
)
WELL_FORMED = (ONE, TWO, (*WORDS, text_message("user", "Why?", [0]), assistant("é")), (*WORDS, *ONE), IMAGES)


def conversations(template: Template) -> list[tuple[Message, ...]]:
    found = list(WELL_FORMED)
    if template.takes_system:
        found += [(SYSTEM, *messages) for messages in (TWO, IMAGES)]
    return [*found, (NO_SYSTEM, *TWO)]


def check_all(template: Template, tokenizer: PreTrainedTokenizerBase) -> None:
    for messages in conversations(template):
        assert theirs(as_dicts(messages), tokenizer, template) == ours(messages, tokenizer, template)
        prompt = messages[:-1]
        got = theirs(as_dicts(prompt), tokenizer, template, add_generation_prompt=True)
        assert got == ours(prompt, tokenizer, template, generation_prompt=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TALKING)
def test_every_template_with_every_tokenizer(name: str, kind: str) -> None:
    check_all(get_template(name), build(kind))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_learned_template(name: str) -> None:
    jinja, tokenizer = family(name)
    check_all(learn_template(jinja, tokenizer), tokenizer)


@pytest.mark.parametrize("kind", ["legacy", "first", "tiktoken"])
@pytest.mark.parametrize("name", ["v1", "v1_mmtag", "mistral_instruct", "qwen_1_5", "llava_llama_3"])
def test_tokens_around_images(name: str, kind: str) -> None:
    """Checkpoints with mm_use_im_start_end were trained with a token on each side of an image."""
    template = mark_images(get_template(name), "<im_start>", "<im_end>")
    tokenizer = build(kind)
    check_all(template, tokenizer)
    shown = tokenizer.decode(ours(ONE, tokenizer, template))
    assert "<im_start><image><im_end>" in shown.replace(" ", "")
    if "mmtag" in name:
        assert "<Image><im_start><image><im_end></Image>" in shown.replace(" ", "")


@pytest.mark.parametrize("name", ["gemma_instruct"])
def test_a_system_prompt_that_has_no_place_is_refused_there_too(name: str) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match="no place for a system prompt"):
        theirs(as_dicts((SYSTEM, *WORDS)), build("tiktoken"), name)


@pytest.mark.parametrize("kind", ["legacy", "first", "gpt2"])
def test_blanks_at_the_ends_of_messages(kind: str) -> None:
    """They stay where the template strips nothing, and go where it strips, in both."""
    tokenizer = build(kind)
    messages = (
        Message("user", (Text(" \n"), Text("What "), Image(0), Text("\nis it? "), Text("\n"))),
        assistant("red "),
        Message("user", (Image(1), Text("\n"), Text("Why?\n"))),
        assistant("blue\n"),
    )
    for name in ("v1", "mistral_instruct", "llava_llama_3"):
        assert theirs(as_dicts(messages), tokenizer, name) == ours(messages, tokenizer, name)


@pytest.mark.parametrize("kind", ["tiktoken", "qwen"])
def test_an_answer_that_begins_with_a_line_break(kind: str) -> None:
    """The one case that differs: a string's two line breaks are one token, which spans prompt and answer.

    A model that has read the prompt cannot write that token. Ours are the tokens that it can write.
    """
    tokenizer = build(kind)
    messages = (WORDS[0], assistant("\nred"))
    prompt = ours(messages[:1], tokenizer, "qwen_1_5", generation_prompt=True)
    assert prompt == theirs(as_dicts(messages[:1]), tokenizer, "qwen_1_5", add_generation_prompt=True)
    whole = ours(messages, tokenizer, "qwen_1_5")
    string = theirs(as_dicts(messages), tokenizer, "qwen_1_5")
    assert whole[: len(prompt)] == prompt != string[: len(prompt)]
    assert tokenizer.decode(whole) == tokenizer.decode(string)


SPELT = {
    "plain": "7af7e267f223c933",
    "v1": "6c57eea30e5e6f81",
    "tiny": "fac57f0f3097b9b3",
    "plain first": "a4e82399c424edb5",
    "v1 first": "f6daf1f887108ff5",
    "tiny first": "12c6fa9360b9e4c4",
}


@pytest.mark.parametrize("name", SPELT)
def test_published_chat_templates_keep_their_spelling(
    tokenizers: dict[str, PreTrainedTokenizerBase], name: str
) -> None:
    """Checkpoints hold these files; a new one must not differ from them by a byte."""
    template, _, kind = name.partition(" ")
    text = chat_template(template, tokenizers[kind] if kind else None)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == SPELT[name]
