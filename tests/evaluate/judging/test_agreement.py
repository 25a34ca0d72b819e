"""evaluate/judging/agreement.py, on cases small enough to count by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.evaluate.judging.agreement import agreement


def test_judges_that_agree() -> None:
    scores = {"a": 1.0, "b": 5.0, "c": 10.0}
    found = agreement(scores, scores | {"d": 3.0}, 10.0)
    assert found == pytest.approx(
        {"n": 3, "pearson": 1, "spearman": 1, "difference": 0, "shift": 0, "order": 1, "pairs": 3, "kappa": 1}
    )


def test_by_hand() -> None:
    first = {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.0}
    second = {"a": 0.1, "b": 1.0, "c": 0.5, "d": 1.0}
    found: Any = agreement(first, second)
    assert found["n"] == 4
    assert found["difference"] == pytest.approx(0.275)
    assert found["shift"] == pytest.approx(0.025)
    # pairs: ab +, ac +, ad +, bc -, bd tied in the second, cd tied in the first
    assert (found["order"], found["pairs"]) == (0.75, 4)
    # classes 0,1,2,2 and 0,2,1,2: half agree; by chance 1/16 + 1/16 + 4/16
    assert found["kappa"] == pytest.approx((0.5 - 0.375) / (1 - 0.375))
    # ranks 1,2,3.5,3.5 and 1,3.5,2,3.5
    assert found["spearman"] == pytest.approx(2.25 / 4.5)


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, {"a": 1.0}), ({"a": 1.0}, {"a": 0.0}), ({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0})],
)
def test_what_is_not_defined_is_none(first: dict[str, float], second: dict[str, float]) -> None:
    found = agreement(first, second)
    assert found["pearson"] is None
    assert found["spearman"] is None
    assert found["order"] is None
