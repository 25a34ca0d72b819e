"""Two answers to the last question: trunk and branch are the conversation that has this answer alone."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from pumice.errors import DataError
from pumice.text import TEMPLATES, get_template, render
from pumice.types import IGNORE_INDEX, Encoded, Message, Text, text_message

from .conftest import BUILT
from .kinds import KINDS, build

SYSTEM = Message("system", (Text("it is"),))
ANSWERS = [
    ("A circle.\n\nRed.", "blue"),
    (" Because\n", "Because"),
    ("</s>", "\n\n12?"),
    ("red", "red circle"),
    ("é", "<image>"),
]


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


def write(
    messages: tuple[Message, ...],
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    images: int,
    rejected: str | None = None,
    max_length: int | None = None,
) -> Encoded:
    return render(
        messages,
        tokenizer,
        get_template(name),
        image_lengths=[3] * images,
        image_token_id=int(tokenizer.convert_tokens_to_ids("<image>")),
        rejected=rejected,
        max_length=max_length,
    )


def test_golden() -> None:
    tokenizer = BUILT["bytes"]
    messages = (
        text_message("user", "What is it?", [0]),
        assistant("red"),
        text_message("user", "Why?"),
        assistant("blue circle"),
    )
    encoded = write(messages, tokenizer, "tiny", 1, "red")
    assert " ".join(tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())) == (
        "<s> Q : Ġ <image> <image> <image> Ċ What Ġis Ġit ? Ċ A : Ġred </s> Q : ĠWhy ? Ċ A : "
        "Ġblue Ġcircle </s> Ġred </s>"
    )
    assert encoded.branch_ids.tolist() == [0] * 24 + [1] * 3 + [2] * 2
    assert encoded.position_ids.tolist() == [*range(27), 24, 25]
    # Of the earlier answer nothing is learnt: both sides have it.
    assert [i for i, label in enumerate(encoded.labels) if label >= 0] == [24, 25, 26, 27, 28]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name, one in TEMPLATES.items() if not one.images_only])
@pytest.mark.parametrize("images", [0, 2])
def test_every_template_has_two_answers(name: str, kind: str, images: int) -> None:
    tokenizer = build(kind)
    opening = (SYSTEM,) if get_template(name).takes_system else ()
    first = (text_message("user", "What is it?", range(images)), assistant("A circle."))
    for before in ((), first):
        shown = () if before else range(images)
        prompt = (*opening, *before, text_message("user", "Why?", shown))
        for chosen, rejected in ANSWERS:
            encoded = write((*prompt, assistant(chosen)), tokenizer, name, images, rejected)
            trunk = int((encoded.branch_ids == 0).sum())
            assert (encoded.labels[:trunk] == IGNORE_INDEX).all()
            for branch, answer in ((1, chosen), (2, rejected)):
                alone = write((*prompt, assistant(answer)), tokenizer, name, images)
                mine = (encoded.branch_ids == 0) | (encoded.branch_ids == branch)
                assert encoded.input_ids[mine].tolist() == alone.input_ids.tolist()
                assert encoded.position_ids[mine].tolist() == alone.position_ids.tolist()
                assert encoded.labels[mine][trunk:].tolist() == alone.labels[trunk:].tolist()
                assert encoded.image_spans == alone.image_spans


def test_a_caption_has_two_answers() -> None:
    messages = (text_message("user", "", [0]), assistant("red circle"))
    encoded = write(messages, BUILT["bytes"], "plain", 1, "blue")
    assert encoded.branch_ids.tolist() == [0] * 4 + [1] * 3 + [2] * 2


def test_both_answers_count_and_neither_is_cut() -> None:
    messages = (text_message("user", "Why?"), assistant("red"))
    length = len(write(messages, BUILT["bytes"], "tiny", 0, "blue circle"))
    assert length == len(write(messages, BUILT["bytes"], "tiny", 0)) + 3
    with pytest.raises(DataError, match=f"has {length} tokens"):
        write(messages, BUILT["bytes"], "tiny", 0, "blue circle", max_length=length - 1)


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        write((text_message("user", "Why?"), assistant("red")), BUILT["bytes"], "tiny", 0, "  ")
