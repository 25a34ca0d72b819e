"""VQAv2, VizWiz, TextVQA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score, submit
from pumice.score.vqa import agreement, prompt_question, textvqa_accuracy, vqa_accuracy


def people(**counts: int) -> list[str]:
    return [answer for answer, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(("same", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_agreement_is_averaged_over_ten_sets_of_nine(same: int, value: float) -> None:
    truths = ["red"] * same + ["blue"] * (10 - same)
    assert agreement("red", truths) == pytest.approx(value)
    by_hand = [min(1, sum(t == "red" for k, t in enumerate(truths) if k != left) / 3) for left in range(10)]
    assert agreement("red", truths) == pytest.approx(sum(by_hand) / 10)


def test_vqa_normalises_only_where_people_differ() -> None:
    assert vqa_accuracy("2", people(two=5, three=5)) == 1
    assert vqa_accuracy("2", people(two=10)) == 0
    assert vqa_accuracy("two", people(two=10)) == 1
    assert vqa_accuracy("The dog.", ["a dog"] * 9 + ["cat"]) == 1


def test_textvqa_normalises_always() -> None:
    assert textvqa_accuracy("2", people(two=10)) == 1
    assert textvqa_accuracy("STOP.", ["stop"] * 2 + ["go"] * 8) == pytest.approx(0.6)
    assert textvqa_accuracy("the", ["a"] * 4 + ["x"] * 6) == 1  # both become empty


def annotations(*truths: list[str]) -> dict[str, Any]:
    return {
        "annotations": [
            {
                "question_id": 10 + k,
                "answer_type": "number" if k else "yes/no",
                "answers": [{"answer": text, "answer_id": n} for n, text in enumerate(every)],
            }
            for k, every in enumerate(truths)
        ]
    }


def test_vqav2_by_answer_type(whole: Any, answers: Any) -> None:
    labels = whole("v2.json", annotations(["yes"] * 10, ["2"] * 3 + ["3"] * 7))
    result = score("vqav2", Inputs(answers({10: "Yes", 11: "Two."}), labels=labels))
    assert result.metrics["accuracy"] == pytest.approx(95)
    assert result.groups["yes/no"].metrics["accuracy"] == 100
    assert result.groups["number"].metrics["accuracy"] == pytest.approx(90)


def test_a_question_without_ten_people_is_an_error(whole: Any, answers: Any) -> None:
    labels = whole("v2.json", annotations(["yes"] * 9))
    with pytest.raises(DataError, match="9 true answers, not 10"):
        score("vqav2", Inputs(answers({10: "yes"}), labels=labels))


def test_vqav2_submission_has_every_question_once_and_processed(
    lines: Any, answers: Any, tmp_path: Path
) -> None:
    asked = lines("q.jsonl", [{"question_id": 3, "image": "a"}, {"question_id": 1, "image": "b"}])
    target = tmp_path / "upload.json"
    given = answers({1: "The Dog.", 3: "None"})
    assert submit("vqav2", Inputs(given, asked), target) == 2
    assert json.loads(target.read_text()) == [
        {"question_id": 3, "answer": "0"},
        {"question_id": 1, "answer": "dog"},
    ]
    with pytest.raises(DataError, match="1 of 2 questions have no answer: 3"):
        submit("vqav2", Inputs(answers({1: "x"}), asked), target)
    submit("vqav2", Inputs(answers({1: "x"}), asked, missing="wrong"), target)
    assert json.loads(target.read_text())[0] == {"question_id": 3, "answer": ""}


def test_vizwiz_scores_by_picture_and_submits_pictures(
    lines: Any, whole: Any, answers: Any, tmp_path: Path
) -> None:
    asked = lines("llava_test.jsonl", [{"question_id": 7, "image": "v7.jpg", "text": "What?"}])
    rows = [
        {
            "image": "v7.jpg",
            "answer_type": "other",
            "answers": [{"answer": "basil"}] * 4 + [{"answer": "no"}] * 6,
        }
    ]
    labels = whole("val.json", rows)
    given = answers({7: "Basil."})
    result = score("vizwiz", Inputs(given, asked, labels))
    assert result.metrics["accuracy"] == 100
    assert result.groups["other"].n == 1
    by_name = answers({"v7.jpg": "basil"}, "by_name.jsonl")
    assert score("vizwiz", Inputs(by_name, labels=labels)).metrics["accuracy"] == 100
    target = tmp_path / "vizwiz.json"
    submit("vizwiz", Inputs(given, asked), target)
    assert json.loads(target.read_text()) == [{"image": "v7.jpg", "answer": "basil"}]


@pytest.mark.parametrize(
    "prompt",
    [
        "What is it?\nAnswer the question using a single word or phrase.",
        "What is it?\nReference OCR token: STOP, GO\nAnswer the question using a single word or phrase.",
        "Reference OCR token: STOP, GO\nWhat is it?\nAnswer the question using a single word or phrase.",
        "OCR tokens: STOP. Question: What is it? Short answer:",
    ],
)
def test_the_question_is_found_in_every_prompt_of_llava(prompt: str) -> None:
    assert prompt_question(prompt, "here") == "What is it?"


def test_a_prompt_of_another_form_is_an_error() -> None:
    with pytest.raises(DataError, match="cannot be found in the prompt"):
        prompt_question("one\ntwo\nthree", "here")


def test_textvqa_finds_questions_by_picture_and_prompt_or_by_id(lines: Any, whole: Any, answers: Any) -> None:
    data = {
        "data": [
            {"question_id": 1, "image_id": "p", "question": "What is IT?", "answers": ["stop"] * 10},
            {"question_id": 2, "image_id": "p", "question": "who?", "answers": ["me"] * 10},
        ]
    }
    labels = whole("TextVQA_0.5.1_val.json", data)
    rows = [
        {"question_id": "p", "prompt": "who?\nAnswer.", "text": "You"},
        {"question_id": "p", "prompt": "what is it?\nReference OCR token: A\nAnswer.", "text": "Stop"},
    ]
    assert score("textvqa", Inputs(lines("a.jsonl", rows), labels=labels)).metrics["accuracy"] == 50
    assert score("textvqa", Inputs(answers({1: "stop", 2: "me"}), labels=labels)).metrics["accuracy"] == 100
    rows[0]["prompt"] = "why?\nAnswer."
    with pytest.raises(DataError, match="no question 'why\\?'") as caught:
        score("textvqa", Inputs(lines("b.jsonl", rows), labels=labels))
    assert "b.jsonl, line 1" in str(caught.value.where)


def test_a_question_file_beside_the_labels_says_what_is_asked(lines: Any, whole: Any, answers: Any) -> None:
    labels = whole("v2.json", annotations(["yes"] * 10, ["2"] * 10))
    given = answers({11: "2"})
    with pytest.raises(DataError, match="1 of 2 questions have no answer: 10"):
        score("vqav2", Inputs(given, labels=labels))
    asked = whole("questions.json", {"questions": [{"question_id": 11, "question": "?"}]})
    assert score("vqav2", Inputs(given, asked, labels)).n == 1
    other = lines("q.jsonl", [{"question_id": 12, "text": "?"}])
    with pytest.raises(DataError, match="1 question without a label: 12") as caught:
        score("vqav2", Inputs(given, other, labels))
    assert str(caught.value.where).endswith("q.jsonl, line 1")


def test_the_question_file_of_llava_for_textvqa(lines: Any, whole: Any) -> None:
    row = {"question_id": 1, "image_id": "p", "question": "Who?", "answers": ["me"] * 10}
    labels = whole("t.json", {"data": [row, row | {"question_id": 2, "question": "What?"}]})
    prompt = "who?\nReference OCR token: A\nAnswer."
    asked = lines("q.jsonl", [{"question_id": "p", "text": prompt}])
    given = lines("a.jsonl", [{"question_id": "p", "prompt": prompt, "text": "Me"}])
    result = score("textvqa", Inputs(given, asked, labels))
    assert (result.n, result.metrics["accuracy"]) == (1, 100)


def test_a_picture_that_is_asked_the_same_twice_is_scored_with_the_last_answers(
    lines: Any, whole: Any
) -> None:
    row = {"question_id": 1, "image_id": "p", "question": "Who?", "answers": ["me"] * 10}
    labels = whole("t.json", {"data": [row, row | {"question_id": 2, "answers": ["you"] * 10}]})
    said = {"question_id": "p", "prompt": "Who?\nAnswer.", "text": "you"}
    result = score("textvqa", Inputs(lines("a.jsonl", [said, said]), labels=labels))
    assert (result.n, result.metrics["accuracy"]) == (2, 100)
    with pytest.raises(DataError, match="answered twice"):
        score("textvqa", Inputs(lines("b.jsonl", [said] * 3), labels=labels))


def test_labels_that_stand_twice(whole: Any, answers: Any) -> None:
    twice = annotations(["yes"] * 10)
    twice["annotations"] *= 2
    with pytest.raises(DataError, match="'10' stands twice"):
        score("vqav2", Inputs(answers({10: "yes"}), labels=whole("v2.json", twice)))
