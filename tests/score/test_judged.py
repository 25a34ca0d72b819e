"""LLaVA-Bench and MM-Vet: what judges gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.score import Inputs, score, submit
from pumice.score.llava_bench import parse_review, relative
from pumice.score.mm_vet import parse_grade


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8 10\nWell.", (8.0, 10.0)),
        ("9 8.5", (9.0, 8.5)),
        ("8,10", (8.0, 10.0)),
        ("8, 10", None),  # a comma becomes a space: three words
        ("8  10", None),
        ("8 10 ", None),
        ("Scores: 8 10", None),
        ("8/10", None),
        ("nan 8", None),
        ("\n8 10", None),
        ("", None),
    ],
)
def test_reviews_are_parsed_by_the_first_line(text: str, pair: tuple[float, float] | None) -> None:
    assert parse_review(text) == pair


def test_the_ratio_is_of_means_and_not_a_mean_of_ratios() -> None:
    assert relative([(10, 5), (2, 2)]) == pytest.approx(700 / 12)


def review(id: int, first: float, second: float, kind: str = "conv") -> dict[str, Any]:
    return {"id": id + 1, "question_id": id, "category": f"llava_bench_{kind}", "tuple": [first, second],
            "content": f"{first:g} {second:g}\nBecause."}  # fmt: skip


def test_overall_and_by_category(lines: Any) -> None:
    rows = [review(0, 10, 5), review(1, 8, 8, "detail"), review(2, 9, 9, "complex"), review(3, 5, 10)]
    result = score("llava-bench", Inputs(reviews=(lines("r.jsonl", rows),)))
    assert list(result.metrics) == ["overall", "conv", "detail", "complex"]
    assert result.metrics["overall"] == 100
    assert result.metrics["conv"] == 100
    assert result.groups["conv"].n == 2
    assert "60 questions" in result.notes[0]
    low, high = result.intervals["overall"]
    assert low < 100 < high


def test_a_review_without_scores_is_counted_and_not_averaged_as_minus_one(lines: Any) -> None:
    rows = [review(0, 10, 5), review(1, -1, -1) | {"content": "I cannot."}]
    result = score("llava-bench", Inputs(reviews=(lines("r.jsonl", rows),)))
    assert (result.metrics["overall"], result.n, result.counts["unparsed"]) == (50, 1, 1)


def test_scores_are_parsed_where_none_are_written_and_differences_counted(lines: Any) -> None:
    bare = {"question_id": 1, "text": "8 4\nFine."}
    other = review(2, 10, 5) | {"content": "First, I solve it."}
    result = score("llava-bench", Inputs(reviews=(lines("r.jsonl", [bare, other]),)))
    assert result.metrics == {"overall": 50, "conv": 50}
    assert result.counts["scores_not_in_words"] == 1


def test_runs_of_the_judge_are_averaged(lines: Any) -> None:
    first = lines("a.jsonl", [review(0, 10, 5), review(1, 10, 5)])
    second = lines("b.jsonl", [review(0, 10, 10), review(1, 10, 10)])
    result = score("llava-bench", Inputs(reviews=(first, second)))
    assert result.metrics["overall"] == 75
    assert result.groups["run 2"].metrics["relative"] == 100
    assert result.intervals["overall"] == (75, 75)  # both questions are alike in each run


def test_two_reviews_of_a_question_and_reviews_of_other_questions(lines: Any) -> None:
    twice = lines("r.jsonl", [review(0, 10, 5), review(0, 10, 5)])
    with pytest.raises(DataError, match="question 0 is reviewed twice") as caught:
        score("llava-bench", Inputs(reviews=(twice,)))
    assert str(caught.value.where).endswith("r.jsonl, line 2")
    asked = lines("q.jsonl", [{"question_id": 0, "text": "?"}, {"question_id": 7, "text": "?"}])
    with pytest.raises(DataError, match="1 of 2 questions have no review: 7"):
        score("llava-bench", Inputs(questions=asked, reviews=(lines("one.jsonl", [review(0, 10, 5)]),)))
    with pytest.raises(DataError, match="1 review of no question: 3"):
        score(
            "llava-bench",
            Inputs(questions=asked, reviews=(lines("x.jsonl", [review(0, 1, 1), review(3, 1, 1)]),)),
        )


def test_a_tuple_of_three_and_a_file_cut_off(lines: Any) -> None:
    with pytest.raises(DataError, match="tuple is"):
        score("llava-bench", Inputs(reviews=(lines("r.jsonl", [review(0, 1, 1) | {"tuple": [1, 2, 3]}]),)))
    cut = lines("cut.jsonl", [review(0, 10, 5), review(1, 10, 5)])
    cut.write_text(cut.read_text()[:-40])
    with pytest.raises(DataError, match="breaks off") as caught:
        score("llava-bench", Inputs(reviews=(cut,)))
    assert str(caught.value.where).endswith("cut.jsonl, line 2")


def test_no_reviews_at_all() -> None:
    with pytest.raises(UsageError, match="reviews is missing"):
        score("llava-bench", Inputs())


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("0.4", 0.4),
        ("1.0 yes", 1.0),
        ("0.5\n", 0.5),
        ("1.1", None),
        ("-0.1", None),
        ("x", None),
        ("", None),
        ("nan", None),
    ],
)
def test_grades(text: str, grade: float | None) -> None:
    assert parse_grade(text) == grade


def graded(*scores: float, content: str | None = None) -> dict[str, Any]:
    return {"model": ["gpt-4"] * len(scores), "score": list(scores),
            "content": [content or str(score) for score in scores]}  # fmt: skip


def test_total_runs_and_capabilities(whole: Any) -> None:
    grades = whole(
        "g.json",
        {
            "v1_0": graded(1.0, 0.5),
            "v1_1": graded(0.0, 0.5),
            "v1_2": graded(0.0, content="?") | {"score": [0.0, 0.0], "content": ["?", "0.0"]},
        },
    )
    asked = {
        "v1_0": {"question": "?", "answer": "x", "capability": ["ocr", "math"]},
        "v1_1": {"question": "?", "answer": "x", "capability": ["rec"]},
        "v1_2": {"question": "?", "answer": "x", "capability": ["ocr"]},
    }
    result = score("mm-vet", Inputs(grades=grades, questions=whole("mm-vet.json", asked)))
    assert result.metrics["total"] == pytest.approx(100 / 3)
    assert result.groups["run 1"].metrics["score"] == pytest.approx(100 / 3)
    assert result.groups["ocr"].metrics["score"] == pytest.approx(37.5)
    assert result.groups["ocr_math"].metrics["score"] == 75
    assert result.groups["rec"].n == 1
    assert result.counts["unparsed"] == 1
    assert "218 questions" in score("mm-vet", Inputs(grades=grades)).notes[0]


def test_grades_that_are_unfinished_out_of_range_or_of_no_question(whole: Any) -> None:
    with pytest.raises(DataError, match="1 questions do not have 2 grades as the others: c"):
        score(
            "mm-vet", Inputs(grades=whole("g.json", {"a": graded(1, 1), "b": graded(1, 1), "c": graded(1)}))
        )
    with pytest.raises(DataError, match="the grade is 10") as caught:
        score("mm-vet", Inputs(grades=whole("g.json", {"a": graded(10)})))
    assert "'a'" in str(caught.value.where)
    asked = whole("q.json", {"a": {"capability": ["rec"]}, "b": {"capability": ["rec"]}})
    with pytest.raises(DataError, match="1 of 2 questions have no grade: b"):
        score("mm-vet", Inputs(grades=whole("g.json", {"a": graded(1)}), questions=asked))
    wrong = Inputs(grades=whole("g.json", {"a": graded(1)}), questions=asked, missing="wrong")
    assert score("mm-vet", wrong).metrics["total"] == 50
    with pytest.raises(DataError, match="1 grades of no question: c"):
        score("mm-vet", Inputs(grades=whole("g.json", {"c": graded(1)}), questions=asked))


def test_the_results_file_of_mm_vet(answers: Any, whole: Any, tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    assert submit("mm-vet", Inputs(answers({0: "x is 3", 1: "y"})), target) == 2
    assert json.loads(target.read_text()) == {"v1_0": "x is 3", "v1_1": "y"}
    asked = whole("mm-vet.json", {"v1_0": {}, "v1_1": {}, "v1_2": {}})
    with pytest.raises(DataError, match="1 of 3 questions have no answer: v1_2"):
        submit("mm-vet", Inputs(answers({0: "x is 3", 1: "y"}), asked), target)


def test_missing_reviews_may_be_skipped_where_the_questions_are_known(lines: Any, whole: Any) -> None:
    reviews = (lines("one.jsonl", [review(0, 10, 5)]),)
    asked = lines("q.jsonl", [{"question_id": 0, "text": "?"}, {"question_id": 7, "text": "?"}])
    assert (
        score("llava-bench", Inputs(questions=asked, reviews=reviews, missing="skip")).metrics["overall"]
        == 50
    )
    with pytest.raises(UsageError, match="told by its questions alone"):
        score("llava-bench", Inputs(reviews=reviews, missing="skip"))
    with pytest.raises(UsageError, match="no score stands for"):
        score("llava-bench", Inputs(questions=asked, reviews=reviews, missing="wrong"))
    with pytest.raises(UsageError, match="told by its questions alone"):
        score("mm-vet", Inputs(grades=whole("g.json", {"a": graded(1)}), missing="wrong"))


def test_a_grade_that_stands_twice_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    path.write_text('{"a": {"score": [1]},\n "a": {"score": [0]}}')
    with pytest.raises(DataError, match="'a' stands twice, before in line 1") as caught:
        score("mm-vet", Inputs(grades=path))
    assert str(caught.value.where) == f"{path}, line 2 ('a')"
