"""POPE's rule, its figures, and which label belongs to which question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score
from pumice.score.pope import interval, pope_answer, pope_score


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("No", "no"),
        ("No, there is not.", "no"),
        ("There is no dog", "no"),
        ("It is not there. Yes.", "no"),
        ("Yes. There is no cat.", "yes"),
        ("Yes", "yes"),
        ("nothing", "yes"),
        ("NO", "yes"),  # the official rule knows three spellings
        ("", "yes"),
        ("no\n", "no"),
    ],
)
def test_pope_reads_the_first_sentence(raw: str, said: str) -> None:
    assert pope_answer(raw) == said


def test_pope_figures_by_hand() -> None:
    score = pope_score(["Yes", "Yes", "no", "No.", "Yes"], ["yes", "no", "yes", "no", "yes"])
    assert (score.true_positives, score.false_positives, score.false_negatives, score.true_negatives) == (
        2,
        1,
        1,
        1,
    )
    assert score.accuracy == pytest.approx(0.6)
    assert score.precision == score.recall == score.f1 == pytest.approx(2 / 3)
    assert score.yes_ratio == pytest.approx(0.6)


def test_pope_without_any_yes_is_zero_and_not_an_error() -> None:
    score = pope_score(["no"], ["yes"])
    assert (score.precision, score.recall, score.f1, score.yes_ratio) == (0, 0, 0, 0)


def labelled(truths: str) -> list[dict[str, Any]]:
    """Labels as POPE publishes them: y and n for yes and no."""
    return [
        {"question_id": k + 1, "image": "a.jpg", "text": f"Is there a thing {k} in the image?",
         "label": "yes" if truth == "y" else "no"}
        for k, truth in enumerate(truths)
    ]  # fmt: skip


def asked(category: str, count: int, start: int) -> list[dict[str, Any]]:
    return [
        {
            "question_id": start + k,
            "text": f"Is there a thing {k} in the image?\nAnswer.",
            "category": category,
        }
        for k in range(count)
    ]


def said(texts: list[str], start: int) -> list[dict[str, Any]]:
    return [{"question_id": start + k, "text": text} for k, text in enumerate(texts)]


@pytest.fixture
def two(lines: Any, tmp_path: Path) -> Inputs:
    """Two categories: random all right (2 yes, 2 no), popular with one yes of two right."""
    questions = lines("q.jsonl", asked("random", 4, 101) + asked("popular", 2, 201))
    folder = tmp_path / "coco"
    folder.mkdir()
    lines("coco/coco_pope_random.json", labelled("yynn"))
    lines("coco/coco_pope_popular.json", labelled("yy"))
    texts = said(["Yes", "Yes, it is", "No", "There is no thing"], 101) + said(["Yes", "No"], 201)
    return Inputs(lines("a.jsonl", texts), questions, folder)


def test_categories_and_their_mean(two: Inputs) -> None:
    result = score("pope", two)
    assert result.groups["random"].metrics["f1"] == 100
    assert result.groups["popular"].metrics["f1"] == pytest.approx(200 / 3)
    assert result.metrics["f1"] == pytest.approx((100 + 200 / 3) / 2)
    assert result.metrics["accuracy"] == 75  # the mean of categories; 5 of 6 over all questions
    assert result.metrics["recall"] == 75
    assert result.metrics["yes_ratio"] == 50
    assert result.n == 6
    low, high = result.intervals["f1"]
    assert low < result.metrics["f1"] <= high


def test_all_right_or_all_wrong_is_not_certain() -> None:
    right = np.eye(4)[[0, 3] * 50]
    for name in ("f1", "accuracy", "precision", "recall"):
        low, high = interval(name, [right[:40], right[40:]])
        assert high == 100
        assert 85 < low < 98, name
    assert interval("f1", [right]) == pytest.approx(interval("accuracy", [right])), "as much yes as no"
    assert interval("f1", [right])[0] < interval("f1", [np.tile(right, (10, 1))])[0] < 100
    wrong = np.eye(4)[[1, 2] * 50]
    low, high = interval("f1", [wrong])
    assert low == 0
    assert 2 < high < 10
    never = np.eye(4)[[2, 3] * 50]  # says no to everything
    assert 0 < interval("f1", [never])[1] < 20
    assert 0 < interval("yes_ratio", [never])[1] < 5
    some = np.eye(4)[[0, 3] * 49 + [1, 2]]
    assert interval("f1", [some])[0] < 98 < interval("f1", [some])[1] <= 100


def test_one_label_file_scores_its_category_alone_and_says_what_is_left_out(two: Inputs) -> None:
    assert two.labels is not None
    result = score("pope", Inputs(two.answers, two.questions, two.labels / "coco_pope_popular.json"))
    assert result.n == 2
    assert list(result.groups) == ["popular"]
    assert "4 answers to other categories left out" in result.notes[0]


def test_a_folder_without_labels_of_a_category_is_an_error(two: Inputs, lines: Any) -> None:
    assert two.labels is not None
    lines("coco/coco_pope_third.json", labelled("y"))
    with pytest.raises(DataError, match="of no category of the questions"):
        score("pope", two)
    (two.labels / "coco_pope_third.json").unlink()
    (two.labels / "coco_pope_popular.json").rename(two.labels / "kept.json")
    with pytest.raises(DataError, match="2 answers in categories without labels: 201, 202"):
        score("pope", two)


def test_a_label_of_another_question_is_an_error_that_names_both_lines(two: Inputs, lines: Any) -> None:
    wrong = labelled("yynn")
    wrong[2]["text"] = "Is there a dog in the image?"
    lines("coco/coco_pope_random.json", wrong)
    with pytest.raises(DataError, match="Is there a dog") as caught:
        score("pope", two)
    assert "coco_pope_random.json, line 3" in str(caught.value.where)
    assert "q.jsonl, line 3" in str(caught.value.where)


def test_fewer_labels_than_questions_is_an_error(two: Inputs, lines: Any) -> None:
    lines("coco/coco_pope_random.json", labelled("yyn"))
    with pytest.raises(DataError, match="3 labels for 4 questions"):
        score("pope", two)


def test_without_questions_labels_go_by_id_or_by_order(lines: Any) -> None:
    labels = lines("coco_pope_random.json", labelled("yn"))
    by_id = lines("a.jsonl", [{"question_id": 2, "text": "No"}, {"question_id": 1, "text": "Yes"}])
    assert score("pope", Inputs(by_id, labels=labels)).metrics["accuracy"] == 100
    by_order = lines("b.jsonl", said(["Yes", "No"], 1001))
    assert score("pope", Inputs(by_order, labels=labels)).metrics["accuracy"] == 100
    other = [
        dict(row, prompt=f"Is there a thing {5 - k} in the image?")
        for k, row in enumerate(said(["Yes", "No"], 9))
    ]
    with pytest.raises(DataError, match="the label is for"):
        score("pope", Inputs(lines("c.jsonl", other), labels=labels))


def test_without_questions_llavas_numbers_tell_category_and_label(lines: Any, tmp_path: Path) -> None:
    for category in ("random", "popular", "adversarial"):
        lines(f"coco_pope_{category}.json", labelled("yn"))
    rows = said(["Yes", "No"], 20_000_001) + said(["Yes", "No"], 1) + said(["No", "No"], 10_000_001)
    result = score("pope", Inputs(lines("a.jsonl", reversed(rows)), labels=tmp_path))
    assert {name: group.metrics["accuracy"] for name, group in result.groups.items()} == {
        "random": 50, "popular": 100, "adversarial": 100,
    }  # fmt: skip
    assert [item.id for item in result.items][:2] == ["10000001", "10000002"]
    with pytest.raises(DataError, match="1 of 6 questions have no answer: 10000002"):
        score("pope", Inputs(lines("b.jsonl", rows[:-1]), labels=tmp_path))
    part = score("pope", Inputs(lines("c.jsonl", rows[:2]), labels=tmp_path, missing="skip"))
    assert (list(part.groups), part.n) == (["popular"], 2)
    rows[0]["prompt"] = "Is there another thing?"
    with pytest.raises(DataError, match="the label is for 'Is there a thing 0"):
        score("pope", Inputs(lines("d.jsonl", rows), labels=tmp_path))


def test_a_label_that_is_neither_yes_nor_no(lines: Any) -> None:
    labels = lines("coco_pope_random.json", [{"question_id": 1, "label": "maybe"}])
    with pytest.raises(DataError, match="'maybe'"):
        score("pope", Inputs(lines("a.jsonl", said(["Yes"], 1)), labels=labels))


def test_missing_answers_stop_are_skipped_or_wrong(two: Inputs, lines: Any) -> None:
    few = lines("few.jsonl", said(["Yes", "Yes", "No"], 101) + said(["Yes"], 201))
    with pytest.raises(DataError, match="2 of 6 questions have no answer: 104, 202"):
        score("pope", Inputs(few, two.questions, two.labels))
    skipped = score("pope", Inputs(few, two.questions, two.labels, missing="skip"))
    assert (skipped.n, skipped.metrics["accuracy"]) == (4, 100)
    wrong = score("pope", Inputs(few, two.questions, two.labels, missing="wrong"))
    assert (wrong.n, wrong.metrics["accuracy"]) == (6, (75 + 50) / 2)
