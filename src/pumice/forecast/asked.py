"""What a plan says of questions that the model in training is asked: how many, and how long that takes."""

from __future__ import annotations

from typing import Any

from pumice.cost.answers import Asking, answering_seconds
from pumice.cost.hardware import Hardware
from pumice.cost.shape import Shape
from pumice.recipes.evaluation import Evaluation
from pumice.words import counted

ROWS = 64
"""Questions that a run answers at once."""
LONGEST = 128
"""Tokens of the longest answer to a task of which no more is known, as LLaVA's evaluation has it."""
LEAST_TEXT = 64
"""Tokens of text that a question has at least: a template with its system message takes as many."""


def asked(plan: Evaluation, stage: str, steps: int) -> dict[str, Any]:
    """How often the model in training is asked, and how many questions that is at most, about."""
    kinds = len(plan.tasks) + (plan.questions is not None)
    times = plan.asked(steps)
    questions = times * kinds * plan.every_limit
    return {"every": plan.every, "times": times, "questions": questions, "notes": plan.never(stage, steps)}


def asked_seconds(
    plan: Evaluation,
    times: int,
    shape: Shape,
    hardware: Hardware,
    *,
    devices: int,
    text: float,
    picture: tuple[int, int],
    longest: tuple[int, ...],
) -> dict[str, Any]:
    """How long that takes at most, by the figures of the hardware that steps are planned with.

    Args:
        plan: the evaluation.
        times: how often it is asked.
        shape: the model.
        hardware: where it trains.
        devices: how many; of several the first rank answers on its CPU, of which nothing is known.
        text: tokens of text of a question.
        picture: tokens of its picture, and inputs of the tower that it makes.
        longest: of each kind of questions the longest answer in tokens; where empty, ``LONGEST`` for tasks.

    Returns:
        ``seconds``, None where nothing is known, and ``how``, in words.
    """
    if not times:
        return {"seconds": 0.0, "how": ""}
    if devices > 1:
        how = "no time is known: the first rank answers alone, on its CPU, while the others wait"
        return {"seconds": None, "how": how}
    own = (plan.max_new_tokens,) if plan.questions is not None else ()
    kinds = longest or (*own, *(LONGEST for _ in plan.tasks))
    tokens, tiles = picture
    text = max(text, LEAST_TEXT)
    each = [
        answering_seconds(
            shape, Asking(plan.every_limit, text + tokens, tokens, tiles, answer, ROWS), hardware
        )
        for answer in kinds
    ]
    most = f"{min(kinds):,}" if len(set(kinds)) == 1 else f"{min(kinds):,} to {max(kinds):,}"
    how = (
        f"an upper estimate: every answer as long as it may be ({most} tokens), questions of "
        f"{text:,.0f} tokens of text and one picture of {tokens:,} ({counted(tiles, 'tile')}), {ROWS} at once"
    )
    return {"seconds": times * sum(each), "how": how}
