from __future__ import annotations

import dataclasses
import hashlib

import pytest

from pumice.errors import TemplateError
from pumice.text import (
    ALIASES,
    TEMPLATES,
    check_template_name,
    get_template,
    mark_images,
    template_names,
)

OURS = {"tiny", "llava_1_5_hf"}
LLAVA = {
    *("v0", "v1", "llama_2", "mistral_instruct", "chatml_direct", "plain", "llava_v0", "llava_v1"),
    *("v0_mmtag", "v1_mmtag", "llava_llama_2", "mpt"),
}
NEXT = {"llava_llama_3", "qwen_1_5", "gemma_instruct"}


def test_the_names_are_exact() -> None:
    assert set(TEMPLATES) == OURS | LLAVA | NEXT
    assert all(get_template(name).name == name for name in TEMPLATES)


def test_aliases_are_the_same_template() -> None:
    assert dict(ALIASES) == {
        "default": "v0",
        "vicuna_v1": "v1",
        "v0_plain": "plain",
        "mistral_direct": "chatml_direct",
        "llava_mistral_instruct": "mistral_instruct",
        "llava_v0_mmtag": "v0_mmtag",
        "llava_v1_mmtag": "v1_mmtag",
        "qwen_2": "qwen_1_5",
    }
    for alias, name in ALIASES.items():
        assert get_template(alias) is TEMPLATES[name]
    assert not set(ALIASES) & set(TEMPLATES)
    assert set(template_names()) == {*TEMPLATES, *ALIASES, "chat"}


LONG_TEXTS = {
    "llama_2": "d52c188a3c96",
    "llava_llama_2": "790f4cfc0552",
    "llava_llama_3": "790f4cfc0552",
    "v0_mmtag": "563c2a621b11",
    "v1_mmtag": "563c2a621b11",
    "mpt": "2bc9733b9782",
}


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_long_system_prompts_are_the_originals_to_the_letter(name: str) -> None:
    """Their hashes, taken from the original's file; the others are spelt out in ``originals``."""
    assert hashlib.sha256(get_template(name).system.encode()).hexdigest()[:12] == LONG_TEXTS[name]


def test_the_example_of_v0_is_the_originals_to_the_letter() -> None:
    ((question, answer),) = get_template("v0").examples
    assert question == "What are the key differences between renewable and non-renewable energy sources?"
    assert hashlib.sha256(answer.encode()).hexdigest()[:12] == "29c0f588aa19"


@pytest.mark.parametrize("name", ["V1", "vicuna", "tin", "", "chat_ml"])
def test_an_unknown_name_is_an_error_with_the_list(name: str) -> None:
    for look_up in (get_template, check_template_name):
        with pytest.raises(TemplateError, match="there is no template") as caught:
            look_up(name)
        assert "tiny, v0, v0_mmtag, v0_plain, v1, v1_mmtag, vicuna_v1" in str(caught.value)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(TemplateError) as caught:
        get_template("tinny")
    assert "did you mean 'tiny'?" in str(caught.value)


def test_chat_needs_a_tokenizer() -> None:
    check_template_name("chat")
    with pytest.raises(TemplateError, match="here is no tokenizer to ask"):
        get_template("chat")


def test_templates_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_template("v1").eos = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        TEMPLATES["mine"] = get_template("v1")  # type: ignore[index]


@pytest.mark.parametrize("name", TEMPLATES)
def test_control_strings_stand_in_the_words(name: str) -> None:
    template = get_template(name)
    words = "".join(value for value in dataclasses.astuple(template) if isinstance(value, str))
    assert all(token in words for token in (*template.control, *template.optional_control))
    assert template.takes_system or not template.system


def test_marks_stand_inside_the_tags_of_an_image() -> None:
    template = mark_images(get_template("v1_mmtag"), "<im_start>", "<im_end>")
    assert (template.image_prefix, template.image_suffix) == ("<Image><im_start>", "<im_end></Image>")
    assert template.control == ("<im_start>", "<im_end>")
    assert template.name == "v1_mmtag"
