from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pumice.evaluate.scorers import exact_match, normalise, pope_answer, pope_score


@pytest.mark.parametrize(
    ("raw", "truth"),
    [
        ("Red", "red"),
        (" red. ", "red"),
        ("the red\n circle", "Red circle"),
        ("two", "2"),
        ("Twenty.", "20"),
        ("A", "a"),
        ("upper  left", "upper left"),
    ],
)
def test_answers_that_are_the_same(raw: str, truth: str) -> None:
    assert exact_match(raw, truth)
    assert exact_match(truth, raw)


@pytest.mark.parametrize(
    ("raw", "truth"),
    [("dark red", "red"), ("", "red"), ("a", "b"), ("red, blue", "red"), ("12", "2"), ("A1", "1")],
)
def test_answers_that_are_not(raw: str, truth: str) -> None:
    assert not exact_match(raw, truth)


def test_a_sign_that_reads_like_an_article_is_kept() -> None:
    assert normalise("the A") == "a"
    assert normalise("a") == "a"


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


@pytest.mark.skipif(
    "PUMICE_REAL_DATA" not in os.environ, reason="PUMICE_REAL_DATA names no folder of published data"
)
@pytest.mark.parametrize(("setting", "f1", "n"), [("random", 87.14, 2910), ("popular", 86.25, 3000)])
def test_pope_gives_the_published_figures_of_llava(setting: str, f1: float, n: int) -> None:
    folder = Path(os.environ["PUMICE_REAL_DATA"]) / "pope"

    def rows(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    answers = [row["text"] for row in rows(f"answers_llava-v1.5-13b_{setting}.jsonl")]
    truths = [row["label"] for row in rows(f"coco_pope_{setting}.json")]
    score = pope_score(answers, truths)
    assert score.n == n
    assert round(100 * score.f1, 2) == f1
