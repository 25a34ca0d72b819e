"""Forms of answers, one by one."""

from __future__ import annotations

import pytest

from pumice.errors import DataError
from pumice.evaluate.dimensions.forms import INSTRUCTIONS, check_form, form_asked, obeys, says
from pumice.evaluate.tasks import prompts


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("word", ["red", "top left", "A."], ["", "The star is red.", "a large red star", "It is."]),
        ("yes-no", ["yes", "No.", " YES "], ["yes it is", "maybe", ""]),
        ("letter", ["B", "B.", "(C)"], ["b", "B. red", "red", ""]),
        ("number", ["3", "three", "12."], ["about 3", "3.5", "many", ""]),
        ("sentence", ["The star is red.", "Is it red?"], ["red", "the star is red.", "The star is red", ""]),
        ("list", ["red, blue", "Red, light blue, and green."], ["red", "red and blue", "a, , b", ""]),
        ("words-3", ["a red star"], ["red star", "a small red star", ""]),
    ],
)
def test_a_form(form: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not obeys(form, text)] == []
    assert [text for text in bad if obeys(form, text)] == []


def test_an_unknown_form_names_the_nearest() -> None:
    check_form("words-12", "here")
    with pytest.raises(DataError, match="leter") as caught:
        check_form("leter", "row 3")
    assert "letter" in str(caught.value)
    assert "row 3" in str(caught.value)


def test_the_form_of_a_benchmarks_prompt() -> None:
    assert {prompts.SHORT, prompts.LETTER, prompts.YES_NO} == set(INSTRUCTIONS)
    assert form_asked(prompts.short("What?")) == "word"
    assert form_asked(f"{prompts.lettered('What?', ['a', 'b'])}\n{prompts.LETTER}") == "letter"
    assert form_asked(f"Is it? {prompts.YES_NO}\n{prompts.SHORT}") == "word", "the last one counts"
    assert form_asked("What is it?") is None


@pytest.mark.parametrize(
    ("form", "raw", "truth", "right"),
    [
        ("sentence", "The star is red.", "red", True),
        ("sentence", "It is reddish.", "red", False),
        ("number", "Three", "3", True),
        ("word", "at the top left", "top left", True),
        ("word", "left top", "top left", False),
        ("list", "blue and red", "red, blue", True),
        ("list", "red, blue, green", "red, blue", False),
        ("letter", "(B)", "B", True),
    ],
)
def test_what_an_answer_says_whatever_its_form(form: str, raw: str, truth: str, right: bool) -> None:
    assert says(form, raw, truth) is right
