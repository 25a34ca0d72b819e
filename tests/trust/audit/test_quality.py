"""Answers that teach nothing."""

from __future__ import annotations

import pytest

from pumice.trust.audit.check import Row
from pumice.trust.audit.quality import KINDS, Quality, faults
from pumice.types import Origin, Sample, text_message

SENTENCE = "A man in a red coat walks over a bridge while two dogs wait beside the river for him to come. "
FAULTS = [
    ("empty", "What?", " ... "),
    ("refusal", "What?", "As an AI language model, I cannot see pictures."),
    ("refusal", "What?", "I'm sorry, but I can't help with identifying people in images."),
    ("refusal", "What?", "I am unable to provide a description of the image."),
    ("leak", "What?", "According to the caption, a dog sits there."),
    ("leak", "Was ist da?", "Laut der Beschreibung sitzt dort ein Hund."),
    ("loop", "What?", "The dog is big. " * 8),
    ("loop", "What?", "It has a red car, a red car, a red car, a red car, a red car, a red car, a red car."),
    ("echo", "<image>\nWhat is the man there doing?", "What is the man there doing?"),
    ("cut-off", "What?", SENTENCE * 2 + "Behind them there is a"),
]
FINE = [
    ("What?", "3"),
    ("What?", "犬"),
    ("Was?", "👍"),
    ("Why?", "I'm sorry to hear that; she looks unable to walk. " + SENTENCE),
    ("Read it.", "Sorry, we are closed"),
    ("What does the caption say?", "The caption says that the caption says nothing."),
    ("Sing.", "La la la la, la la la la\nSing with me\n" + SENTENCE),
    ("Count.", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
    ("List.", SENTENCE * 2 + "\n- apples\n- pears\n- a long list of other fruit"),
    ("Who?", "A person who calls himself an AI researcher at a language lab."),
]


@pytest.mark.parametrize(("kind", "asked", "answer"), FAULTS)
def test_each_kind_is_found(kind: str, asked: str, answer: str) -> None:
    assert [found for found, _ in faults(asked, answer, True)] == [kind]
    assert kind in KINDS


@pytest.mark.parametrize(("asked", "answer"), FINE)
def test_good_answers_are_left_alone(asked: str, answer: str) -> None:
    assert not list(faults(asked, answer, True))


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("A caf\u00c3\u00a9 in Paris.", True),
        ("It\u00e2\u20ac\u2122s red.", True),
        ("A \ufffd dog.", True),
        ("Tom &amp; Jerry", True),
        ("Write &lt;p&gt; in HTML.", False),
        ("Café, naïve, Ärger, 日本語, â, Ã", False),
    ],
)
def test_broken_letters_are_told_from_foreign_ones(text: str, broken: bool) -> None:
    messages = (text_message("user", "What?"), text_message("assistant", text))
    sample = Sample("1", messages, (), "talk", Origin("talk.json", 0))
    kinds = [kind for kind, _ in Quality().row(Row(0, sample)) or ()]
    assert kinds == (["encoding"] if broken else [])
