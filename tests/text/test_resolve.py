"""Which template a checkpoint's Jinja stands for, and which one a recipe means."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from pumice.errors import TemplateError
from pumice.text import (
    TEMPLATES,
    chat_template,
    get_template,
    learn_template,
    resolve_template,
    template_of_chat,
)

from . import families
from .families import family
from .kinds import KINDS, build

TALKING = [name for name, template in TEMPLATES.items() if not template.images_only]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TALKING)
def test_our_own_jinja_tells_its_name(name: str, kind: str) -> None:
    tokenizer = build(kind)
    assert template_of_chat(chat_template(name), tokenizer) is get_template(name)


def test_the_spelling_does_not_matter() -> None:
    tokenizer = build("legacy")
    own = chat_template("tiny", tokenizer)
    other = own.replace("{%- ", "{%-   ").replace("message", "turn").replace("turns", "messages")
    assert other != own
    assert template_of_chat("{# a comment #}" + other, tokenizer) is get_template("tiny")


@pytest.mark.parametrize(
    ("jinja", "kind", "name"),
    [
        (families.LLAVA_1_5_HF, "legacy", "llava_1_5_hf"),
        (families.LLAVA_1_6_VICUNA_HF, "legacy", "llava_v1"),
        (families.LLAVA_1_6_MISTRAL_HF, "legacy", "mistral_instruct"),
        (families.LLAVA_1_5_HF, "first", "llava_1_5_hf"),
        (families.LLAVA_1_6_MISTRAL_HF, "tiktoken", "mistral_instruct"),
    ],
)
def test_transformers_llava_checkpoints(jinja: str, kind: str, name: str) -> None:
    """They leave out or misspell what ends an answer; the named template has it."""
    tokenizer = build(kind)
    assert template_of_chat(jinja, tokenizer) is get_template(name)
    with pytest.raises(TemplateError, match="no model could learn to stop"):
        learn_template(jinja, tokenizer)


def test_a_first_question_with_an_image_reads_as_in_transformers() -> None:
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    text = build("legacy").apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=families.LLAVA_1_5_HF,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == "USER: <image>\nWhat is it? ASSISTANT:"
    ours = chat_template("llava_1_5_hf")
    content[1]["text"] = "\nWhat is it?"
    assert text == build("gpt2").apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=ours,
        tokenize=False,
        add_generation_prompt=True,
    )


def test_chatml_without_the_originals_system_prompt_is_learned() -> None:
    template = template_of_chat(families.LLAVA_1_6_34B_HF, build("legacy"))
    expected = dataclasses.replace(get_template("chatml_direct"), name="chat", system="", chunks=False)
    assert dataclasses.replace(template, control=expected.control) == expected


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_language_models_own_chat_template_is_learned(name: str) -> None:
    jinja, tokenizer = family(name)
    template = template_of_chat(jinja, tokenizer)
    if name == "qwen2":  # the very words of LLaVA-NeXT's template
        assert template is get_template("qwen_1_5")
    else:
        assert template == learn_template(jinja, tokenizer)
        assert template.name == "chat"


def test_what_is_no_template_of_any_kind_says_why() -> None:
    with pytest.raises(TemplateError, match="cannot be written as words around messages"):
        template_of_chat("{{ messages[-1].content }}", build("legacy"))


def test_chat_is_the_tokenizers_own() -> None:
    jinja, tokenizer = family("qwen2.5")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = jinja
    assert resolve_template("chat", tokenizer) == learn_template(jinja, tokenizer)
    tokenizer.chat_template = {"default": jinja, "tool_use": "{{ tools }}"}
    assert resolve_template("chat", tokenizer) == learn_template(jinja, tokenizer)


def test_other_names_need_no_chat_template() -> None:
    tokenizer = build("legacy")
    assert resolve_template("vicuna_v1", tokenizer) is get_template("v1")
    with pytest.raises(TemplateError, match="there is no template 'chatty'"):
        resolve_template("chatty", tokenizer)
    with pytest.raises(TemplateError, match="this tokenizer has no chat template") as caught:
        resolve_template("chat", tokenizer)
    assert "qwen_1_5" in str(caught.value.remedy)
