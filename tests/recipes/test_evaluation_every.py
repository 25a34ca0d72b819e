"""How often a recipe's evaluation asks on the way."""

from __future__ import annotations

from pumice.recipes.evaluation import Evaluation


def test_questions_on_the_way_are_counted_and_none_is_told() -> None:
    plan = Evaluation(questions="q.jsonl", every=100)
    assert (plan.asked(250), plan.asked(99)) == (2, 0)
    assert plan.never("align", 100) == []
    (said,) = plan.never("align", 99)
    assert "evaluation.every is 100 and the stage align has 99 steps" in said
    silent = Evaluation(questions="q.jsonl")
    assert (silent.asked(250), silent.never("align", 3)) == (0, [])
