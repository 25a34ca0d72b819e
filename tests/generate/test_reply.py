"""generate/reply.py: replies as models write them, and those that are of no use."""

from __future__ import annotations

import pytest

from pumice.generate.reply import Unread, read_dialogue, read_phrases, read_text, read_verdicts


@pytest.mark.parametrize(
    "text",
    [
        "Q: One?\nA: Yes.\nQ: Two?\nA: No.",
        "<think>Q: what?</think>\n\nQ: One?\nA: Yes.\n\nQ: Two?\nA: No.\n",
        "```\nQ: One?\nA: Yes.\nQ: Two?\nA: No.\n```",
        "**Q:** One?\n**A:** Yes.\n**Q:** Two?\n**A:** No.",
        "Question 1: One?\nAnswer 1: Yes.\nQuestion 2: Two?\nAnswer 2: No.",
        "1. Q: One?\nA: Yes.\n2. Q: Two?\nA: No.",
    ],
)
def test_dialogues_in_the_forms_that_models_write(text: str) -> None:
    assert read_dialogue(text) == [("One?", "Yes."), ("Two?", "No.")]


def test_an_answer_may_have_several_lines() -> None:
    assert read_dialogue("Q: How?\nA: First this.\n\nThen that.") == [("How?", "First this.\n\nThen that.")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no question"),
        ("Sure, here you are:\nQ: One?\nA: Yes.", "begins with"),
        ("Q: One?\nQ: Two?\nA: Yes.", "alternate"),
        ("Q: One?\nA: Yes.\nQ: Two?", "alternate"),
    ],
)
def test_what_is_no_dialogue(text: str, why: str) -> None:
    with pytest.raises(Unread, match=why):
        read_dialogue(text)


@pytest.mark.parametrize(
    "text",
    [
        "Certainly! Here is a description:\nA dog.",
        "Here is the description:\n\nA dog.",
        "A dog.\n\nLet me know if you need more.",
        "Q: What?\nA: A dog.",
        "",
    ],
)
def test_texts_that_speak_to_whoever_asked(text: str) -> None:
    with pytest.raises(Unread):
        read_text(text)


def test_texts() -> None:
    assert read_text('"A dog on a lawn."') == "A dog on a lawn."
    assert read_text("Here, a dog sleeps. It is brown.") == "Here, a dog sleeps. It is brown."


def test_phrases_by_number() -> None:
    assert read_phrases("1: the dog\n3. the left car.\n", 3) == {1: "the dog", 3: "the left car"}
    for text, why in (
        ("4: a", "no number 4"),
        ("1: a\n1: b", "twice"),
        ("a dog", "no number"),
        ("", "no phrase"),
    ):
        with pytest.raises(Unread, match=why):
            read_phrases(text, 3)


def test_verdicts() -> None:
    assert read_verdicts("1: yes\n2: no, there is no hat", 2) == {
        1: (True, ""),
        2: (False, "there is no hat"),
    }
    for text, why in (("1: yes", "1 of 2"), ("1: yes\n2: maybe", "neither")):
        with pytest.raises(Unread, match=why):
            read_verdicts(text, 2)
