"""DocVQA and ChartQA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.errors import DataError
from pumice.score import Inputs, score, submit
from pumice.score.documents import anls, distance, relaxed_correct


@given(st.text(max_size=8), st.text(max_size=8))
def test_the_distance_is_one_of_edits(first: str, second: str) -> None:
    found = distance(first, second)
    assert found == distance(second, first)
    assert abs(len(first) - len(second)) <= found <= max(len(first), len(second))
    assert (found == 0) == (first == second)
    assert distance("x" + first, "x" + second) == found


@pytest.mark.parametrize(
    ("raw", "truths", "value"),
    [
        ("ITC", ["itc"], 1.0),
        ("itc ltd", ["itc"], 0.0),  # 4 of 7 differ
        ("abcd", ["abcx"], 0.75),
        ("abcd", ["abxy"], 0.5),  # the edge stays
        ("abcde", ["abxyz"], 0.0),
        ("a  b", ["a b"], 1.0),
        (" ab ", ["ax"], 0.75),  # divided by the length with its spaces
        ("x", ["y", "x"], 1.0),
        ("", [""], 1.0),
        ("", ["a"], 0.0),
    ],
)
def test_anls(raw: str, truths: list[str], value: float) -> None:
    assert anls(raw, truths) == pytest.approx(value)


def test_docvqa_by_type_and_its_submission(whole: Any, answers: Any, tmp_path: Path) -> None:
    data = {
        "dataset_name": "docvqa",
        "data": [
            {
                "questionId": 1,
                "question": "?",
                "answers": ["1 May"],
                "question_types": ["table/list", "form"],
            },
            {"questionId": 2, "question": "?", "answers": ["abcd"], "question_types": ["form"]},
        ],
    }
    labels = whole("val_v1.0_withQT.json", data)
    result = score("docvqa", Inputs(answers({1: "1 may", 2: "abcx"}), labels=labels))
    assert result.metrics == {"anls": 87.5, "accuracy": 50}
    assert result.groups["table/list"].metrics["anls"] == 100
    target = tmp_path / "doc.json"
    submit("docvqa", Inputs(answers({1: "1 May", 2: "x"}), labels), target)
    assert json.loads(target.read_text()) == [
        {"questionId": 1, "answer": "1 May"},
        {"questionId": 2, "answer": "x"},
    ]


@pytest.mark.parametrize(
    ("raw", "truth", "correct"),
    [
        ("105", "100", True),
        ("95", "100", True),
        ("105.1", "100", False),
        ("-100", "100", False),
        ("50%", "0.5", True),
        ("50%", "50", False),
        ("0", "0", True),
        ("0.0", "0", False),  # a true 0 is compared as text
        ("Yes", "yes", True),
        ("Yes.", "yes", False),
        ("1,000", "1000", False),  # no number for Python
        ("100", "hundred", False),
    ],
)
def test_relaxed_accuracy(raw: str, truth: str, correct: bool) -> None:
    assert relaxed_correct(raw, truth) is correct


def test_chartqa_by_who_asked(whole: Any, answers: Any) -> None:
    human = whole("test_human.json", [{"imgname": "a.png", "query": "?", "label": "14"}])
    whole(
        "test_augmented.json",
        [{"imgname": "a.png", "query": "?", "label": "No"}, {"imgname": "b", "query": "?", "label": "3"}],
    )
    given = answers({"test_human/0": "14.5", "test_augmented/0": "no", "test_augmented/1": "4"})
    result = score("chartqa", Inputs(given, labels=human.parent))
    assert result.metrics["relaxed_accuracy"] == pytest.approx(200 / 3)
    assert result.groups["human"].metrics["relaxed_accuracy"] == 100
    assert result.groups["augmented"].n == 2


def test_chartqa_rows_of_the_hub(lines: Any, answers: Any) -> None:
    rows = [{"question_id": 5, "query": "?", "label": ["14"], "human_or_machine": 0}]
    result = score("chartqa", Inputs(answers({5: "14"}), labels=lines("rows.jsonl", rows)))
    assert result.groups["human"].metrics["relaxed_accuracy"] == 100


def test_an_empty_folder(tmp_path: Path, answers: Any) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no test_\*\.json"):
        score("chartqa", Inputs(answers({5: "14"}), labels=tmp_path / "none"))
