"""What a plan says of questions that the model in training is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pumice.cost.hardware import get_hardware
from pumice.cost.shape import LanguageShape, Shape, TowerShape
from pumice.forecast.asked import asked, asked_seconds
from pumice.recipes.evaluation import Evaluation


def test_a_plan_counts_questions_on_the_way_and_warns_where_there_are_none() -> None:
    plan = Evaluation(questions="q.jsonl", tasks=("pope", "mme"), data="d", every=100, every_limit=50)
    found = asked(plan, "instruct", 450)
    assert (found["times"], found["questions"], found["notes"]) == (4, 4 * 3 * 50, [])
    found = asked(plan, "align", 60)
    assert (found["times"], found["questions"]) == (0, 0)
    assert "nothing is asked on its way" in found["notes"][0]


SEVEN = Shape(
    TowerShape(303_000_000, 290_000_000, 23, 1024, 577),
    21_000_000,
    LanguageShape(
        6_476_000_000, 131_000_000, 131_000_000, 32, 4096, 4096, 11008, 32000, tied=False, heads=32
    ),
)


def seconds(plan: Evaluation, hardware: Any, **changes: Any) -> Any:
    given: dict[str, Any] = {"devices": 1, "text": 100.0, "picture": (576, 1), "longest": ()} | changes
    return asked_seconds(plan, 4, SEVEN, hardware, **given)


def test_questions_take_time_for_reading_and_for_every_token_of_the_longest_answers() -> None:
    plan = Evaluation(tasks=("pope",), data="d", every=100, every_limit=64)
    card = get_hardware("a100-80g")
    short, long = (seconds(plan, card, longest=(tokens,)) for tokens in (16, 128))
    # 64 rows read 676 tokens each; then each token needs 26 GB of weights, and some cache.
    read = 2 * 6.6e9 * 676 * 64 / (312e12 * 0.5)
    assert 4 * (read + 16 * 26.4e9 / 2.039e12) < short["seconds"] < 8 * (read + 16 * 26.4e9 / 2.039e12)
    assert long["seconds"] > 1.5 * short["seconds"]
    assert "128 tokens" in long["how"]
    assert seconds(plan, card)["seconds"] == long["seconds"], "what LLaVA allows, where nothing is known"
    quick = replace(card, bandwidth=1e30)
    assert seconds(plan, quick)["seconds"] < long["seconds"]
    both = plan.model_copy(update={"questions": "q.jsonl", "max_new_tokens": 16})
    assert seconds(both, card)["seconds"] == pytest.approx(short["seconds"] + long["seconds"])


def test_of_several_ranks_nobody_knows_the_time() -> None:
    plan = Evaluation(questions="q.jsonl", every=100)
    told = seconds(plan, get_hardware("h100"), devices=8)
    assert told["seconds"] is None
    assert "on its CPU" in told["how"]
