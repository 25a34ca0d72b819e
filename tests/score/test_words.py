"""The two answer processors, quirk by quirk."""

from __future__ import annotations

import pytest

from pumice.score.words import CONTRACTIONS, evaluation_answer, process_punctuation, submission_answer


@pytest.mark.parametrize(
    ("raw", "processed"),
    [
        ("Red", "red"),
        ("none", "0"),
        ("None of the ten", "0 of 10"),
        ("eleven", "eleven"),  # numbers go to ten
        ("a.b", "ab"),
        ("a. b.", "b"),
        ("3.5", "3.5"),
        ("3.", "3"),
        (".5", ".5"),
        ("1,000", "1000"),
        ("1, 2", "1 2"),
        ("the a an", ""),
        ("A", ""),
        ("dogs?", "dogs"),
        ("red-blue", "red blue"),
        ("red - blue", "red blue"),
        ("red- blue-green", "red bluegreen"),  # one dash beside a space takes all dashes out
        ("red-blue - green", "redblue green"),
        ("what's", "what 's"),
        ("dont", "don't"),
        ("somebody'd", "somebodyd"),
        ("couldnt've", "couldn't've"),
        ("Im", "im"),  # the table has "Im", but words are lower case by then
        ("two\nlines\there", "2 lines here"),
        ("  spaces   here ", "spaces here"),
        ("it's 5:30 p.m.", "it 's 5:30 pm"),
        ("", ""),
    ],
)
def test_the_processor_of_submissions(raw: str, processed: str) -> None:
    assert submission_answer(raw) == processed


def test_only_the_first_32_full_stops_go() -> None:
    assert submission_answer("." * 40) == "." * 8


@pytest.mark.parametrize(
    ("raw", "processed"),
    [
        ("what's", "what's"),  # no space before 's, unlike a submission
        ("1,000?", "1000"),
        ("yes, sir", "yes sir"),
        ("yes,sir", "yes sir"),
        ("12-3,4", "1234"),  # a comma between digits deletes every mark
    ],
)
def test_the_processor_of_the_evaluation(raw: str, processed: str) -> None:
    assert evaluation_answer(raw) == processed


def test_a_mark_is_a_space_only_where_none_of_its_kind_stands_beside_one() -> None:
    assert process_punctuation("a/b") == "a b"
    assert process_punctuation("a/b /c") == "ab c"
    assert process_punctuation("a:b") == "a:b"  # a colon is no mark


def test_contractions_have_one_apostrophe_less_than_their_words() -> None:
    wrong = {key: word for key, word in CONTRACTIONS.items() if key.count("'") != word.count("'") - 1}
    assert wrong == {"somebody'd": "somebodyd"}
    assert CONTRACTIONS["y'all'dve"] == "y'all'd've"
    assert "shed" not in CONTRACTIONS
