"""How often a recipe's evaluation asks on the way."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import RecipeError
from pumice.recipes import load_recipe
from pumice.recipes.evaluation import Evaluation


def test_questions_on_the_way_are_counted_and_none_is_told() -> None:
    plan = Evaluation(questions="q.jsonl", every=100)
    assert (plan.asked(250), plan.asked(99)) == (2, 0)
    assert plan.never("align", 100) == []
    (said,) = plan.never("align", 99)
    assert "evaluation.every is 100 and the stage align has 99 steps" in said
    silent = Evaluation(questions="q.jsonl")
    assert (silent.asked(250), silent.never("align", 3)) == (0, [])


VALIDATION = "stages.instruct.validation"
EVALUATION = "evaluation={tasks: [pope], data: d, every: 50, allow_bad: 2}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([f"{VALIDATION}={{keep_best: pope.f1}}"], "the evaluation asks none"),
        ([EVALUATION, f"{VALIDATION}={{keep_best: popr.f1}}"], "did you mean 'pope'"),
        ([EVALUATION, "evaluation.every=null", f"{VALIDATION}={{keep_best: pope.f1}}"], "evaluation.every"),
        ([f"{VALIDATION}={{keep_best: best}}"], "TASK.FIGURE"),
        ([f"{VALIDATION}={{keep_best: 3}}"], "TASK.FIGURE"),
        ([f"{VALIDATION}={{keep_best: true}}"], "name a source"),
        ([EVALUATION, f"{VALIDATION}={{keep_best: pope.f1, every: 5}}"], "leave every out"),
        (["evaluation.allow_bad=1"], "allow_bad is of tasks"),
    ],
)
def test_a_best_model_is_chosen_by_what_is_measured(changes: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        tiny(*changes)
    assert said in str(caught.value)


def test_a_figure_of_a_task_chooses_the_best_model_with_and_without_validation_data() -> None:
    for more in ("", ", source: val"):
        recipe = tiny(EVALUATION, f"{VALIDATION}={{keep_best: pope.f1{more}}}")
        assert recipe.figures == {"pope.f1": "instruct"}
    own = "evaluation={tasks: [mine/task.yaml], every: 50}"
    assert tiny(own, f"{VALIDATION}={{keep_best: my.own.accuracy}}").figures == {
        "my.own.accuracy": "instruct"
    }
    assert tiny().figures == {}


def tiny(*changes: str) -> Any:
    return load_recipe("tiny", list(changes), variables={"data": "d"})
