"""The template learned from a tokenizer's Jinja writes what transformers writes with that Jinja."""

from __future__ import annotations

import dataclasses
from typing import Any

import jinja2
import pytest
from transformers import PreTrainedTokenizerBase

from pumice.errors import TemplateError
from pumice.text import Template, chat_template, learn_template, render, text_encoder
from pumice.text.jinja import TODAY
from pumice.types import IGNORE_INDEX, Encoded, Image, Message, Text, text_message

from .families import FAMILIES, family
from .kinds import image_id

PAIRS = (
    ("What is in the picture?", "A red circle, I think."),
    ("Where is it?", "On the left;\nnot far from 12 objects."),
    ("naïve?", "é 日本"),
)
SYSTEM = "Answer in one word."


def learned(name: str) -> tuple[Template, str, PreTrainedTokenizerBase]:
    jinja, tokenizer = family(name)
    return learn_template(jinja, tokenizer), jinja, tokenizer


def conversation(pairs: int, *, system: bool = False, prompt: bool = False) -> tuple[Message, ...]:
    messages = [text_message("system", SYSTEM)] if system else []
    for question, answer in PAIRS[:pairs]:
        messages += [text_message("user", question), text_message("assistant", answer)]
    return tuple(messages[:-1] if prompt else messages)


def theirs(
    messages: tuple[Message, ...], jinja: str, tokenizer: PreTrainedTokenizerBase, **options: Any
) -> Any:
    dicts = [{"role": message.role, "content": message.text} for message in messages]
    # The library takes today's date where ours is fixed, and thinks where it is not told not to.
    more = {"date_string": TODAY.strftime("%d %b %Y"), "enable_thinking": False, **options}
    return tokenizer.apply_chat_template(dicts, chat_template=jinja, return_dict=False, **more)


def ours(
    messages: tuple[Message, ...], template: Template, tokenizer: PreTrainedTokenizerBase, **options: Any
) -> Encoded:
    images = sum(isinstance(part, Image) for message in messages for part in message.parts)
    return render(
        messages,
        tokenizer,
        template,
        image_lengths=[1] * images,
        image_token_id=image_id(tokenizer),
        **options,
    )


def ids_without_added_bos(
    encoded: Encoded, template: Template, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Where the Jinja writes no BOS, we write the one that the tokenizer adds to a text by itself."""
    ids: list[int] = encoded.input_ids.tolist()
    if template.bos == "tokenizer" and text_encoder(tokenizer, image_id(tokenizer)).adds_bos:
        assert ids.pop(0) == tokenizer.bos_token_id
    return ids


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_are_those_of_transformers(name: str) -> None:
    template, jinja, tokenizer = learned(name)
    for pairs in (1, 2, 3):
        for system in (False, True) if template.takes_system else (False,):
            messages = conversation(pairs, system=system, prompt=True)
            expected = theirs(messages, jinja, tokenizer, add_generation_prompt=True)
            got = ours(messages, template, tokenizer, generation_prompt=True)
            assert ids_without_added_bos(got, template, tokenizer) == expected
            whole = conversation(pairs, system=system)
            expected = theirs(whole, jinja, tokenizer)
            got = ours(whole, template, tokenizer)
            ids = ids_without_added_bos(got, template, tokenizer)
            assert ids == expected[: len(ids)]
            rest = tokenizer.decode(expected[len(ids) :]).replace(str(tokenizer.eos_token), "")
            assert rest.strip() == "", "only blanks, and Phi's EOS, come after what ends the last answer"


ENDS = {
    **dict.fromkeys(("qwen2", "qwen2.5", "qwen3", "smollm"), "<|im_end|>"),
    **dict.fromkeys(("llama3", "llama3.2"), "<|eot_id|>"),
    **dict.fromkeys(("gemma2", "gemma3"), "<end_of_turn>"),
    "phi3": "<|end|>",
    "zephyr-bytes": "<|im_end|>",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_and_their_end_are_supervised_and_nothing_else(name: str) -> None:
    template, _, tokenizer = learned(name)
    encoded = ours(conversation(3, system=template.takes_system), template, tokenizer)
    lit = encoded.labels != IGNORE_INDEX
    starts = [i for i in range(len(encoded)) if lit[i] and not lit[i - 1]]
    assert len(starts) == 3
    end = ENDS.get(name, "</s>")
    for start, (_, answer) in zip(starts, PAIRS, strict=True):
        stop = next(i for i in range(start, len(encoded) + 1) if i == len(encoded) or not lit[i])
        assert encoded.labels[start:stop].tolist() == encoded.input_ids[start:stop].tolist()
        assert int(encoded.input_ids[stop - 1]) == tokenizer.convert_tokens_to_ids(end)
        assert tokenizer.decode(encoded.input_ids[start : stop - 1]).strip() == answer


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_is_a_prefix_of_the_whole(name: str) -> None:
    template, _, tokenizer = learned(name)
    prompt = ours(conversation(2, prompt=True), template, tokenizer, generation_prompt=True)
    whole = ours(conversation(2), template, tokenizer)
    assert whole.input_ids[: len(prompt)].tolist() == prompt.input_ids.tolist()
    assert whole.labels[: len(prompt)].tolist() == prompt.labels.tolist()
    assert prompt.labels[-1] == IGNORE_INDEX != whole.labels[len(prompt)]


@pytest.mark.parametrize("name", FAMILIES)
def test_our_own_jinja_teaches_the_same_template_again(name: str) -> None:
    template, _, tokenizer = learned(name)
    again = learn_template(chat_template(template, tokenizer), tokenizer)
    if template.bos == "tokenizer" and text_encoder(tokenizer, -1).adds_bos:
        again = dataclasses.replace(again, bos="tokenizer")
    assert again == template


@pytest.mark.parametrize("name", FAMILIES)
def test_branches_hold_for_learned_templates(name: str) -> None:
    template, _, tokenizer = learned(name)
    for image in (False, True):
        first = text_message("user", PAIRS[0][0], images=[0] if image else [])
        messages = (first, *conversation(3)[1:])
        encoded = ours(messages, template, tokenizer, branch_turns=True)
        for number, (question, answer) in enumerate(PAIRS, start=1):
            alone = (
                text_message("user", question, images=[0] if image else []),
                text_message("assistant", answer),
            )
            single = ours(alone, template, tokenizer)
            mine = (encoded.branch_ids == 0) | (encoded.branch_ids == number)
            assert encoded.input_ids[mine].tolist() == single.input_ids.tolist()
            assert encoded.labels[mine].tolist() == single.labels.tolist()


@pytest.mark.parametrize("name", ["gemma2", "mistral1", "mistral3"])
def test_a_template_without_a_system_prompt_says_so_when_one_is_given(name: str) -> None:
    """Gemma 2 and the first Mistral refuse one; the third moves it to the last question."""
    template, _, tokenizer = learned(name)
    assert not template.takes_system
    with pytest.raises(TemplateError, match="has no place for a system prompt") as caught:
        ours(conversation(1, system=True), template, tokenizer)
    assert caught.value.where == "message 0 (system)"


def test_a_default_system_prompt_is_replaced_or_taken_away() -> None:
    template, _, tokenizer = learned("qwen2.5")
    assert template.system == "You are Qwen, a helpful assistant."
    empty = ours((text_message("system", ""), *conversation(1)), template, tokenizer)
    assert tokenizer.decode(empty.input_ids).startswith("<|im_start|>user\n")


def test_a_date_does_not_change_over_night() -> None:
    template, _, tokenizer = learned("llama3.2")
    assert "Today Date: 26 Jul 2024\n\n<|eot_id|>" in template.without_system
    assert "Today Date: 26 Jul 2024" in tokenizer.decode(ours(conversation(1), template, tokenizer).input_ids)


@pytest.mark.parametrize(("name", "roles"), [("llama3", {"system", "user", "assistant"}), ("qwen2", set())])
def test_messages_are_stripped_where_the_jinja_strips_them(name: str, roles: set[str]) -> None:
    template, jinja, tokenizer = learned(name)
    assert template.strip == roles
    messages = (
        text_message("system", " \n" + SYSTEM),
        text_message("user", "  What is it?\n "),
        text_message("assistant", " A circle. "),
    )
    expected = theirs(messages, jinja, tokenizer)
    ids = ours(messages, template, tokenizer).input_ids.tolist()
    assert ids == expected[: len(ids)]


def test_blanks_beside_an_image_stay() -> None:
    template, _, tokenizer = learned("llama3")
    messages = (
        Message("user", (Text(" "), Text("\n"), Image(0), Text("\nWhat?"), Text(" "), Text("\n"))),
        text_message("assistant", "red"),
    )
    text = tokenizer.decode(ours(messages, template, tokenizer).input_ids)
    assert "<|end_header_id|>\n\n<image>\nWhat?<|eot_id|>" in text


def test_tokens_that_swallow_blanks_do_so_in_ours() -> None:
    """Phi-3's role tokens take the line break after them, and the blanks that a message begins with."""
    template, jinja, tokenizer = learned("phi3")
    messages = (text_message("user", "\n  What?"), text_message("assistant", " red"))
    ids = ours(messages, template, tokenizer).input_ids.tolist()
    assert ids == theirs(messages, jinja, tokenizer)[: len(ids)]
    newline = tokenizer.convert_tokens_to_ids("<0x0A>")
    assert newline not in ids
    image = (text_message("user", "What?", images=[0]), text_message("assistant", "red"))
    assert newline in ours(image, template, tokenizer).input_ids, "after an image it stays"


def test_reasoning_in_an_answer_is_refused_where_the_jinja_would_rewrite_it() -> None:
    template, _, tokenizer = learned("qwen3")
    assert template.last_assistant_prefix == "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    messages = (text_message("user", "Why?"), text_message("assistant", "<think>\nhm\n</think>\n\nSo."))
    with pytest.raises(TemplateError, match="'</think>', and the chat template") as caught:
        ours(messages, template, tokenizer)
    assert caught.value.where == "message 1 (assistant)"
    dicts = [{"role": message.role, "content": message.text} for message in messages]
    with pytest.raises(jinja2.TemplateError, match="must not hold </think>"):
        tokenizer.apply_chat_template(dicts, chat_template=chat_template(template, tokenizer))
    other, _, plain = learned("qwen2")
    assert ours(messages, other, plain).supervised > 0


REFUSED = {
    "not a template": ("{% for %}", "not a Jinja template"),
    "drops old turns": (
        "{% for m in messages[-2:] %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
        r"words of a message \(user\) are missing or changed",
    ),
    "numbers turns": (
        "{% for m in messages %}<|im_start|>{{ loop.index }} {{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{{ messages | length + 1 }} assistant\n{% endif %}",
        "the words depend on how long the conversation is",
    ),
    "shouts": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | upper }}<|im_end|>\n{% endfor %}",
        "missing or changed",
    ),
    "says it twice": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content * 2 }}<|im_end|>\n{% endfor %}",
        "stand there twice",
    ),
    "never ends an answer": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        "no token of the tokenizer: no model could learn to stop",
    ),
    "asks otherwise than it answers": (
        "{% for m in messages %}<|im_start|>{{ m.role }} \n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "a prompt ends with .* but an answer comes after",
    ),
    "always thinks": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
        "a prompt ends with",
    ),
    "refuses to talk": ("{{ raise_exception('not today') }}", "not today"),
    "reaches into Python": ("{{ messages.__class__.__mro__[-1].__subclasses__() }}", "refuses|missing"),
    "counts without end": ("{% for i in range(10 ** 9) %}{{ i }}{% endfor %}", "refuses an ordinary"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_than_words_around_messages_is_refused(name: str) -> None:
    jinja, reason = REFUSED[name]
    with pytest.raises(TemplateError, match=reason) as caught:
        learn_template(jinja, family("qwen2")[1])
    assert "cannot be written as words around messages" in caught.value.what
    assert caught.value.remedy


def test_learning_needs_no_special_tokens_but_an_end() -> None:
    """Any added token may end an answer; roles may be words."""
    jinja = (
        "{% for m in messages %}{{ 'Q: ' if m.role == 'user' else 'A: ' }}{{ m.content }}"
        "{{ '<tool_call>' if m.role == 'assistant' }}\n{% endfor %}"
        "{% if add_generation_prompt %}A: {% endif %}"
    )
    _, tokenizer = family("qwen2")
    template = learn_template(jinja, tokenizer)
    assert (template.user_prefix, template.user_suffix, template.assistant_prefix) == ("Q: ", "\n", "A: ")
    assert (template.assistant_suffix, template.separator) == ("<tool_call>", "\n")
