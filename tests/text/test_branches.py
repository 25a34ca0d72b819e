"""Trunk and branch k together are the conversation that has pair k alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from pumice.errors import TemplateError
from pumice.text import TEMPLATES, get_template, render
from pumice.types import Encoded, Image, Message, Part, Text, text_message

from .conftest import BUILT
from .kinds import KINDS, build

SYSTEM = Message("system", (Text("it is"),))


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


def write(
    messages: tuple[Message, ...],
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    n_images: int,
    *,
    branch_turns: bool = True,
    generation_prompt: bool = False,
) -> Encoded:
    return render(
        messages,
        tokenizer,
        get_template(name),
        image_lengths=[3] * n_images,
        image_token_id=int(tokenizer.convert_tokens_to_ids("<image>")),
        branch_turns=branch_turns,
        generation_prompt=generation_prompt,
    )


def seen_by(encoded: Encoded, branch: int) -> dict[str, list[int]]:
    """What a token of this branch sees."""
    mine = (encoded.branch_ids == 0) | (encoded.branch_ids == branch)
    fields = ("input_ids", "labels", "position_ids")
    return {field: getattr(encoded, field)[mine].tolist() for field in fields}


def test_golden() -> None:
    tokenizer = BUILT["bytes"]
    messages = (
        text_message("user", "What is it?", [0]),
        assistant("red"),
        text_message("user", "Why?"),
        assistant("blue circle"),
    )
    encoded = write(messages, tokenizer, "tiny", 1)
    assert " ".join(tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())) == (
        "<s> Q : Ġ <image> <image> <image> Ċ What Ġis Ġit ? Ċ A : Ġred </s> Ċ Why ? Ċ A : Ġblue Ġcircle </s>"
    )
    assert encoded.branch_ids.tolist() == [0] * 7 + [1] * 10 + [2] * 9
    assert encoded.position_ids.tolist() == [*range(17), *range(7, 16)]
    assert [i for i, label in enumerate(encoded.labels) if label >= 0] == [15, 16, 23, 24, 25]


def test_golden_without_an_image() -> None:
    tokenizer = BUILT["bytes"]
    messages = (
        SYSTEM,
        text_message("user", "Why?"),
        assistant("red"),
        text_message("user", "What is it?"),
        assistant("blue"),
    )
    encoded = write(messages, tokenizer, "tiny", 0)
    assert " ".join(tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())) == (
        "<s> it Ġis Ċ Q : ĠWhy ? Ċ A : Ġred </s> ĠWhat Ġis Ġit ? Ċ A : Ġblue </s>"
    )
    assert encoded.branch_ids.tolist() == [0] * 6 + [1] * 7 + [2] * 9


text = st.lists(
    st.sampled_from(["What", "is", "red", " ", " ", "\n", "?", ":", "</s>", "<image>", "é", "12"]), min_size=1
).map("".join)
words = text.filter(lambda value: bool(value.strip()))


@pytest.mark.parametrize("family", sorted(BUILT))
@pytest.mark.parametrize("name", ["v1", "tiny"])
@given(
    pairs=st.lists(st.tuples(words, words), min_size=1, max_size=4),
    n_images=st.integers(0, 2),
    glue=st.sampled_from(["\n", "", " ", "\n\n"]),
    before=st.sampled_from(["", "is", "\n"]),
    system=st.booleans(),
)
def test_trunk_and_branch_are_the_single_pair(
    family: str,
    name: str,
    pairs: list[tuple[str, str]],
    n_images: int,
    glue: str,
    before: str,
    system: bool,
) -> None:
    tokenizer = BUILT[family]
    head: tuple[Part, ...] = ()
    if n_images:
        head = (Text(before), *(Image(index) for index in range(n_images)))
        # The first question's own leading blanks would count as glue.
        pairs = [(question.strip() or "?", answer) for question, answer in pairs]
    opening = (SYSTEM,) if system else ()

    def alone(question: str, answer: str) -> tuple[Message, ...]:
        parts = (*head, Text((glue if head else "") + question))
        return (*opening, Message("user", parts), assistant(answer))

    messages = alone(*pairs[0])
    for question, answer in pairs[1:]:
        messages += (text_message("user", question), assistant(answer))
    encoded = write(messages, tokenizer, name, n_images)
    assert encoded.branch_ids.max() == len(pairs)
    for number, pair in enumerate(pairs, start=1):
        single = write(alone(*pair), tokenizer, name, n_images, branch_turns=False)
        expected = {
            "input_ids": single.input_ids.tolist(),
            "labels": single.labels.tolist(),
            "position_ids": single.position_ids.tolist(),
        }
        assert seen_by(encoded, number) == expected
        assert encoded.image_spans == single.image_spans
    if n_images:
        trunk = int((encoded.branch_ids == 0).sum())
        assert trunk == encoded.image_spans[-1].start + encoded.image_spans[-1].length


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name, one in TEMPLATES.items() if not one.images_only])
def test_every_template_branches(name: str, kind: str) -> None:
    tokenizer = build(kind)
    pairs = [("What is it?", "A circle.\n\nRed."), ("\nWhy?", " Because\n"), ("12?", "é")]
    if "user" in get_template(name).strip:
        pairs[1] = ("Why?", pairs[1][1])  # after an image the message does not begin with its own blanks
    opening = (SYSTEM,) if get_template(name).takes_system else ()
    for n_images in (0, 2):

        def alone(question: str, answer: str, n_images: int = n_images) -> tuple[Message, ...]:
            return (text_message("user", question, images=range(n_images)), assistant(answer))

        messages = (*opening, *alone(*pairs[0]))
        for question, answer in pairs[1:]:
            messages += (text_message("user", question), assistant(answer))
        encoded = write(messages, tokenizer, name, n_images)
        for number, pair in enumerate(pairs, start=1):
            single = write((*opening, *alone(*pair)), tokenizer, name, n_images, branch_turns=False)
            seen = seen_by(encoded, number)
            assert seen["input_ids"] == single.input_ids.tolist()
            assert seen["labels"] == single.labels.tolist()
            assert seen["position_ids"] == single.position_ids.tolist()


def test_captions_branch_too() -> None:
    messages = (text_message("user", "What is it?", [0]), assistant("red circle"))
    for tokenizer in BUILT.values():
        encoded = write(messages, tokenizer, "plain", 1)
        single = write(messages, tokenizer, "plain", 1, branch_turns=False)
        assert encoded.branch_ids.tolist() == [0] * 4 + [1] * 3
        assert encoded.input_ids.tolist() == single.input_ids.tolist()


def test_an_image_of_a_later_question_is_refused() -> None:
    messages = (
        text_message("user", "What is it?", [0]),
        assistant("red"),
        text_message("user", "Why?", [1]),
        assistant("blue"),
    )
    with pytest.raises(TemplateError, match="pair 2 shows an image of its own"):
        write(messages, BUILT["bytes"], "tiny", 2)


def test_a_question_before_its_image_is_refused() -> None:
    messages = (
        Message("user", (Text("What is it?\n"), Image(0))),
        assistant("red"),
        text_message("user", "Why?"),
        assistant("blue"),
    )
    with pytest.raises(TemplateError, match="stands before its image"):
        write(messages, BUILT["bytes"], "tiny", 1)


def test_a_prompt_has_no_branches() -> None:
    with pytest.raises(TemplateError, match="cannot have branches"):
        write((text_message("user", "Why?"),), BUILT["bytes"], "tiny", 0, generation_prompt=True)
