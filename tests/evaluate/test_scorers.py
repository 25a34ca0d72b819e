from __future__ import annotations

import pytest

from pumice.evaluate.scorers import exact_match, normalise


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
