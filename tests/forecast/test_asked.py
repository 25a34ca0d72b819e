"""What a plan says of questions that the model in training is asked."""

from __future__ import annotations

from pumice.forecast.run import _asked
from pumice.recipes.evaluation import Evaluation


def test_a_plan_counts_questions_on_the_way_and_warns_where_there_are_none() -> None:
    plan = Evaluation(questions="q.jsonl", tasks=("pope", "mme"), data="d", every=100, every_limit=50)
    found = _asked(plan, "instruct", 450)
    assert (found["times"], found["questions"], found["notes"]) == (4, 4 * 3 * 50, [])
    found = _asked(plan, "align", 60)
    assert (found["times"], found["questions"]) == (0, 0)
    assert "nothing is asked on its way" in found["notes"][0]
