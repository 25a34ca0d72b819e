"""Goldens: what each template writes, token by token, for three families of tokenizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from pumice.errors import TemplateError
from pumice.text import Template, chat_template, get_template
from pumice.types import IGNORE_INDEX, Encoded, Image, ImageSpan, Message, Text, text_message

from .conftest import ONE, TWO, WORDS_ONLY, Tokenizers, assistant, image_id, write
from .families import family


def tokens(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens([int(id_) for id_ in ids]))


def supervised(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> str:
    """Labels as tokens, a dot where there is none."""
    return " ".join(
        "." if label == IGNORE_INDEX else tokenizer.convert_ids_to_tokens(int(label))
        for label in encoded.labels
    )


TINY_TWO = {
    "bytes": (
        "<s> Q : Ġ <image> <image> Ċ What Ġis Ġit ? Ċ A : Ġred Ġcircle </s> Q : ĠWhy ? Ċ A : Ġblue </s>",
        ". . . . . . . . . . . . . . Ġred Ġcircle </s> . . . . . . . Ġblue </s>",
    ),
    "first": (
        "<s> ▁ Q : ▁ <image> <image> ▁ <0x0A> What ▁is ▁it ? <0x0A> A : ▁red ▁circle </s>"
        " Q : ▁Why ? <0x0A> A : ▁blue </s>",
        ". . . . . . . . . . . . . . . . ▁red ▁circle </s> . . . . . . . ▁blue </s>",
    ),
    "legacy": (
        "<s> ▁ Q : ▁ <image> <image> ▁ <0x0A> What ▁is ▁it ? <0x0A> A : ▁red ▁circle </s>"
        " ▁ Q : ▁Why ? <0x0A> A : ▁blue </s>",
        ". . . . . . . . . . . . . . . . ▁red ▁circle </s> . . . . . . . . ▁blue </s>",
    ),
}


@pytest.mark.parametrize("family", TINY_TWO)
def test_tiny_two_turns(tokenizers: Tokenizers, family: str) -> None:
    tokenizer = tokenizers[family]
    encoded = write(TWO, tokenizer, "tiny", [2])
    assert (tokens(tokenizer, encoded.input_ids), supervised(tokenizer, encoded)) == TINY_TWO[family]
    (span,) = encoded.image_spans
    assert span == ImageSpan(0, tokens(tokenizer, encoded.input_ids).split().index("<image>"), 2)
    assert encoded.position_ids.tolist() == list(range(len(encoded)))
    assert not encoded.branch_ids.any()
    arrays = (encoded.input_ids, encoded.labels, encoded.position_ids, encoded.branch_ids)
    assert all(array.dtype == np.int64 and array.shape == (len(encoded),) for array in arrays)


def test_tiny_in_numbers(tokenizers: Tokenizers) -> None:
    """The golden above once more, as the ids themselves."""
    tokenizer = tokenizers["bytes"]
    encoded = write(ONE, tokenizer, "tiny", [1])
    assert encoded.input_ids.tolist() == [
        *(1, 51, 28, 223, 303, 201, 261, 292, 293, 33, 201, 35, 28),
        *(295, 297, 2),
    ]
    assert encoded.labels.tolist() == [-100] * 13 + [295, 297, 2]


def test_tiny_with_a_system_message(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    encoded = write((Message("system", (Text("red"),)), *WORDS_ONLY), tokenizer, "tiny")
    assert tokens(tokenizer, encoded.input_ids) == ("<s> red Ċ Q : ĠWhat Ġis Ġit ? Ċ A : Ġred Ġcircle </s>")
    assert supervised(tokenizer, encoded) == ". . . . . . . . . . . . Ġred Ġcircle </s>"


PLAIN_ONE = {
    "bytes": ("<s> <image> <image> red Ġcircle Ċ", ". . . red Ġcircle Ċ"),
    "first": ("<s> <image> <image> ▁red ▁circle <0x0A>", ". . . ▁red ▁circle <0x0A>"),
    "legacy": ("<s> <image> <image> ▁red ▁circle <0x0A>", ". . . ▁red ▁circle <0x0A>"),
}


@pytest.mark.parametrize("family", PLAIN_ONE)
def test_plain_keeps_the_image_and_drops_the_words_of_the_user(tokenizers: Tokenizers, family: str) -> None:
    tokenizer = tokenizers[family]
    encoded = write(ONE, tokenizer, "plain", [2])
    assert (tokens(tokenizer, encoded.input_ids), supervised(tokenizer, encoded)) == PLAIN_ONE[family]
    assert encoded.image_spans == (ImageSpan(0, 1, 2),)


V1_TWO = {
    "bytes": (
        "USER : Ġ <image> Ċ What Ġis Ġit ? ĠASSISTANT : Ġred Ġcircle </s>"
        " USER : ĠWhy ? ĠASSISTANT : Ġblue </s>",
        ". . . . . . . . . . . Ġred Ġcircle </s> . . . . . . Ġblue </s>",
    ),
    "first": (
        "USER : ▁ <image> ▁ <0x0A> What ▁is ▁it ? ▁ASSISTANT : ▁red ▁circle </s>"
        " USER : ▁Why ? ▁ASSISTANT : ▁blue </s>",
        ". . . . . . . . . . . . ▁red ▁circle </s> . . . . . . ▁blue </s>",
    ),
    "legacy": (
        "USER : ▁ <image> ▁ <0x0A> What ▁is ▁it ? ▁ASSISTANT : ▁red ▁circle </s>"
        " ▁USER : ▁Why ? ▁ASSISTANT : ▁blue </s>",
        ". . . . . . . . . . . . ▁red ▁circle </s> . . . . . . ▁blue </s>",
    ),
}


@pytest.mark.parametrize("family", V1_TWO)
def test_v1_two_turns(tokenizers: Tokenizers, family: str) -> None:
    tokenizer = tokenizers[family]
    encoded = write(TWO, tokenizer, "v1", [1])
    ids, labels = V1_TWO[family]
    head = tokens(tokenizer, encoded.input_ids).split()[: -len(ids.split()) + 1]
    text = tokenizer.decode(tokenizer.convert_tokens_to_ids(head[1:]))
    assert head[0] == "<s>"
    assert text.replace("<s>", "") == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the user's questions. USER"
    )
    # The first word keeps the space before it, which the golden leaves out.
    assert tokens(tokenizer, encoded.input_ids[len(head) :]) == ids.split(" ", 1)[1]
    assert supervised(tokenizer, encoded) == ". " * len(head) + labels.split(" ", 1)[1]


def original_v1(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, image: int
) -> tuple[list[int], list[int]]:
    """LLaVA's way: one string, cut at the placeholders, each piece encoded whole with its own BOS."""
    system = get_template("v1").system
    prompt, rounds = system + " ", []
    for question, answer in zip(messages[::2], messages[1::2], strict=True):
        asked = "".join("<image>" if isinstance(part, Image) else part.text for part in question.parts)
        rounds.append((f"USER: {asked} ASSISTANT:", f" {answer.text}</s>"))
        prompt += "".join(rounds[-1])
    ids = [1]
    for number, piece in enumerate(prompt.split("<image>")):
        ids += ([image] if number else []) + tokenizer(piece).input_ids[1:]
    # The rule of its labels: an answer and its </s>, nothing else. An EOS ends each round.
    labels: list[int] = []
    for id_block, (_, answer) in zip(_rounds(ids), rounds, strict=True):
        n = len(tokenizer("?" + answer).input_ids) - len(tokenizer("?").input_ids)
        labels += [IGNORE_INDEX] * (len(id_block) - n) + id_block[-n:]
    return ids, labels


def _rounds(ids: list[int]) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    for id_ in ids:
        blocks[-1].append(id_)
        if id_ == 2:
            blocks.append([])
    return blocks[:-1]


@pytest.mark.parametrize(
    "messages",
    [
        ONE,
        TWO,
        WORDS_ONLY,
        (*WORDS_ONLY, *WORDS_ONLY),
        (Message("user", (Text("What is\n"), Image(0))), assistant("A.\nB")),
        (text_message("user", "Why?", [0]), assistant("[0.1, 0.25]\n\nred"), *WORDS_ONLY),
    ],
)
def test_v1_is_what_llava_makes(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> None:
    n_images = sum(isinstance(part, Image) for message in messages for part in message.parts)
    encoded = write(messages, tokenizer, "v1", [1] * n_images)
    ids, labels = original_v1(messages, tokenizer, image_id(tokenizer))
    assert encoded.input_ids.tolist() == ids
    assert encoded.labels.tolist() == labels


def test_an_answer_that_holds_the_template_keeps_its_label(tokenizer: PreTrainedTokenizerBase) -> None:
    """The original masks the whole sample when an answer contains " ASSISTANT: "."""
    messages = (text_message("user", "Why?"), assistant("red ASSISTANT: blue USER: red"))
    encoded = write(messages, tokenizer, "v1")
    assert tokenizer.decode(encoded.labels[encoded.labels >= 0][:-1]).strip() == messages[1].text


@pytest.mark.parametrize("name", ["v1", "tiny", "plain"])
def test_bos_stands_once(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    assert tokenizer("What").input_ids[0] == tokenizer.bos_token_id
    encoded = write(ONE, tokenizer, name, [3])
    assert encoded.input_ids[0] == tokenizer.bos_token_id
    assert (encoded.input_ids == tokenizer.bos_token_id).sum() == 1


def test_several_images_in_the_order_of_their_places(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    question = Message("user", (Image(1), Image(0), Text(" it "), Image(2), Text("?")))
    encoded = write((question, assistant("red")), tokenizer, "tiny", [1, 2, 3])
    assert tokens(tokenizer, encoded.input_ids) == (
        "<s> Q : Ġ <image> <image> <image> Ġit Ġ <image> <image> <image> ? Ċ A : Ġred </s>"
    )
    assert encoded.image_spans == (ImageSpan(1, 4, 2), ImageSpan(0, 6, 1), ImageSpan(2, 9, 3))


def test_an_image_of_a_later_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = (*ONE, text_message("user", "Why?", [1]), assistant("blue"))
    encoded = write(messages, tokenizer, "tiny", [2, 3])
    for span, (index, length) in zip(encoded.image_spans, [(0, 2), (1, 3)], strict=True):
        assert (span.image, span.length) == (index, length)
        assert (encoded.input_ids[span.start : span.start + length] == image_id(tokenizer)).all()
    assert (encoded.input_ids == image_id(tokenizer)).sum() == 5


@pytest.mark.parametrize("name", ["v1", "tiny", "plain"])
@pytest.mark.parametrize("answer", ["red circle", " red", "\nred", "[0.1]", "é ✓", "A: </s> Q:", "12"])
def test_a_generation_prompt_is_a_prefix_of_the_whole(
    tokenizer: PreTrainedTokenizerBase, name: str, answer: str
) -> None:
    turns = ONE[:1] if name == "plain" else (*TWO, text_message("user", "What is it?"))
    prompt = write(turns, tokenizer, name, [2], generation_prompt=True)
    whole = write((*turns, assistant(answer)), tokenizer, name, [2])
    assert len(whole) > len(prompt)
    assert whole.input_ids[: len(prompt)].tolist() == prompt.input_ids.tolist()
    assert whole.labels[: len(prompt)].tolist() == prompt.labels.tolist()
    assert (whole.labels[len(prompt) :] != IGNORE_INDEX).all()
    assert whole.labels[len(prompt) - 1] == IGNORE_INDEX


def test_a_generation_prompt_may_supervise_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    assert write(ONE[:1], tokenizer, "tiny", [1], generation_prompt=True).supervised == 0


def test_an_empty_system_message_takes_the_prompt_away(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    encoded = write((Message("system", (Text(""),)), *WORDS_ONLY), tokenizer, "v1")
    assert tokens(tokenizer, encoded.input_ids) == (
        "<s> USER : ĠWhat Ġis Ġit ? ĠASSISTANT : Ġred Ġcircle </s>"
    )


CHATML = Template(
    name="chatml",
    system="it",
    system_prefix="<|im_start|>system\n",
    system_suffix="[REGION]\n",
    user_prefix="<|im_start|>user\n",
    user_suffix="[REGION]\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="[REGION]",
    separator="\n",
    bos="never",
    eos=False,
    control=("<|im_start|>", "[REGION]"),
)
LLAMA_2 = Template(
    name="llama_2",
    system="it",
    system_prefix="<<SYS>>\n",
    system_suffix="\n<</SYS>>\n\n",
    system_inside_user=True,
    user_prefix="[INST] ",
    user_suffix=" [/INST]",
    assistant_prefix=" ",
    assistant_suffix=" ",
    bos="pair",
    supervised=frozenset({"answer", "suffix"}),
)


def test_other_templates_are_data_only_chatml(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    encoded = write(TWO, tokenizer, CHATML, [1])
    shown = tokenizer.decode(encoded.input_ids)
    assert shown == (
        "<|im_start|>system\nit[REGION]\n<|im_start|>user\n<image>\nWhat is it?[REGION]\n"
        "<|im_start|>assistant\nred circle[REGION]\n<|im_start|>user\nWhy?[REGION]\n"
        "<|im_start|>assistant\nblue[REGION]"
    )
    assert tokens(tokenizer, encoded.labels[encoded.labels >= 0]) == "red Ġcircle [REGION] blue [REGION]"
    control = tokenizer.convert_tokens_to_ids(["<|im_start|>", "[REGION]"])
    assert [int((encoded.input_ids == id_).sum()) for id_ in control] == [5, 5]


def test_other_templates_are_data_only_llama_2(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["legacy"]
    encoded = write(TWO, tokenizer, LLAMA_2, [1])
    text = (
        "[INST] <<SYS>>\nit\n<</SYS>>\n\n<image>\nWhat is it? [/INST] red circle </s>"
        "<s>[INST] Why? [/INST] blue </s>"
    )
    assert encoded.input_ids.tolist() == tokenizer(text).input_ids
    assert tokens(tokenizer, encoded.labels[encoded.labels >= 0]) == "▁red ▁circle ▁ ▁blue ▁"


def test_a_tokenizer_without_the_templates_control_token(tokenizers: Tokenizers) -> None:
    template = dataclasses.replace(CHATML, user_prefix="<|user|>", control=("<|user|>",))
    with pytest.raises(TemplateError, match=r"'<\|user\|>'"):
        write(WORDS_ONLY, tokenizers["bytes"], template)


def test_words_that_are_tokens_of_some_tokenizers_only() -> None:
    """Mistral's first tokenizers spell [INST], later ones have a token for it."""
    template = get_template("mistral_instruct")
    for name in ("mistral2", "mistral2-tokens"):
        _, tokenizer = family(name)
        prompt = "[INST] What is it? [/INST] red circle </s>"
        ids = write(WORDS_ONLY, tokenizer, template).input_ids.tolist()
        assert ids == tokenizer(prompt).input_ids
        known = tokenizer.convert_tokens_to_ids("[INST]")
        assert (known in ids) == (name == "mistral2-tokens")


def test_examples_stand_in_every_prompt_and_are_never_supervised(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    template = dataclasses.replace(get_template("tiny"), examples=(("Why?", "blue"), ("What?", "it")))
    encoded = write(ONE, tokenizer, template, [1])
    assert tokenizer.decode(encoded.input_ids) == (
        "<s>Q: Why?\nA: blue</s>Q: What?\nA: it</s>Q: <image>\nWhat is it?\nA: red circle</s>"
    )
    assert tokens(tokenizer, encoded.labels[encoded.labels >= 0]) == "Ġred Ġcircle </s>"
    prompt = write(ONE[:1], tokenizer, template, [1], generation_prompt=True)
    assert encoded.input_ids[: len(prompt)].tolist() == prompt.input_ids.tolist()


def test_examples_hold_the_system_prompt_where_it_stands_inside_a_question(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    template = dataclasses.replace(LLAMA_2, examples=(("Why?", "blue"),))
    encoded = write(WORDS_ONLY, tokenizer, template)
    assert tokenizer.decode(encoded.input_ids) == (
        "<s>[INST] <<SYS>>\nit\n<</SYS>>\n\nWhy? [/INST] blue </s>"
        "<s>[INST] What is it? [/INST] red circle </s>"
    )
    jinja = chat_template(template, tokenizer)
    dicts = [{"role": message.role, "content": message.text} for message in WORDS_ONLY]
    expected = tokenizer.apply_chat_template(dicts, chat_template=jinja, return_dict=False)
    assert encoded.input_ids.tolist() == expected


def test_words_in_place_of_a_system_prompt(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["bytes"]
    template = dataclasses.replace(get_template("tiny"), without_system="(none)\n")
    for system, text in ((), "(none)\nQ:"), ((Message("system", (Text("it"),)),), "it\nQ:"):
        encoded = write((*system, *WORDS_ONLY), tokenizer, template)
        assert tokenizer.decode(encoded.input_ids).startswith("<s>" + text)
