"""VQA-RAD, SLAKE, PathVQA."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score
from pumice.score.medical import bleu, closed_correct, closed_published, overlap


def test_overlap_counts_a_true_word_as_often_as_it_is_said() -> None:
    assert overlap("The left lung.", "left lung") == (1, 1, 1)
    assert overlap("right lung", "left lung") == (0.5, 0.5, 0.5)
    f1, precision, recall = overlap("lung lung", "left lung")
    assert (precision, recall) == (1, pytest.approx(2 / 3))
    assert f1 == pytest.approx(0.8)
    assert overlap("", "x") == (0, 0, 0)
    assert overlap("two", "2") == (1, 1, 1)


def test_bleu_by_hand() -> None:
    assert bleu("a red big dog", "red big dog", 1) == 1  # the article goes
    assert bleu("red dog", "red big dog", 1) == pytest.approx(2.718281828 ** (1 - 3 / 2))
    assert bleu("red red", "red dog", 1) == 0.5  # clipped
    assert bleu("w x y z", "w x y z") == pytest.approx(1)
    assert bleu("red dog", "red dog") == 0  # no groups of four words
    assert bleu("", "x") == 0


@pytest.mark.parametrize(
    ("raw", "truth", "correct", "published"),
    [
        ("Yes", "Yes", True, True),
        ("No, it is not.", "no", True, True),
        ("Yes", "no", False, None),  # the script drops it
        ("It is normal", "no", False, True),  # "no" is in "normal"
        ("It is fine", "no", False, False),
        ("MRI", "MRI", True, False),  # the script wants yes or no
        ("an MRI scan", "mri", True, False),
        ("yes, no mass", "no", False, True),
    ],
)
def test_closed_answers_here_and_as_published(
    raw: str, truth: str, correct: bool, published: bool | None
) -> None:
    assert closed_correct(raw, truth) is correct
    assert closed_published(raw, truth) is published


def test_open_and_closed_apart(lines: Any, answers: Any) -> None:
    rows = [
        {"qid": 1, "question": "?", "answer": "left lung", "answer_type": "OPEN"},
        {"qid": 2, "question": "?", "answer": "Yes", "answer_type": "CLOSED "},
        {"qid": 3, "question": "?", "answer": "No", "answer_type": "CLOSED"},
        {"qid": 4, "question": "?", "answer": 4, "answer_type": "OPEN"},
    ]
    result = score(
        "vqa-rad", Inputs(answers({1: "lung", 2: "Yes", 3: "Yes", 4: "four"}), labels=lines("t.jsonl", rows))
    )
    assert result.metrics["open_recall"] == 75
    assert result.metrics["closed_accuracy"] == 50
    assert result.metrics["closed_as_published"] == 100
    assert result.metrics["open_exact"] == 50
    assert result.counts == {"open": 2, "closed": 2}
    assert "drops wrong answers" in result.notes[0]


def test_the_files_of_llava_med(whole: Any, answers: Any) -> None:
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "liver"}]
    rows = [{"id": "a", "conversatons": turns, "answer_type": "OPEN"}]
    result = score("slake", Inputs(answers({"a": "The liver"}), labels=whole("test.json", rows)))
    assert result.metrics["open_recall"] == 100


def test_slake_in_english_alone_and_pathvqa_without_types(lines: Any, answers: Any) -> None:
    rows = [
        {"qid": 1, "answer": "liver", "answer_type": "OPEN", "q_lang": "en"},
        {"qid": 2, "answer": "肝", "answer_type": "OPEN", "q_lang": "zh"},
    ]
    labels = lines("slake.jsonl", rows)
    result = score("slake", Inputs(answers({1: "liver", 2: "x"}), labels=labels))
    assert (result.n, result.counts["not_english"]) == (1, 1)
    assert score("slake", Inputs(answers({1: "liver"}), labels=labels)).n == 1
    path = lines("path.jsonl", [{"question": "?", "answer": "yes"}, {"question": "?", "answer": "cells"}])
    result = score("pathvqa", Inputs(answers({0: "yes", 1: "cells"}), labels=path))
    assert result.counts == {"open": 1, "closed": 1}


def test_ids_that_stand_twice(lines: Any, answers: Any) -> None:
    labels = lines("t.jsonl", [{"qid": 1, "answer": "x"}, {"qid": 1, "answer": "y"}])
    with pytest.raises(DataError, match=r"'1' stands twice, before in .*line 1"):
        score("vqa-rad", Inputs(answers({1: "x"}), labels=labels))
