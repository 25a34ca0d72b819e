"""Time of answering questions on one device: what is read at once, then a token at a time.

Reading goes at the rate of training. A token at a time goes at that rate, or as quickly as memory gives the
weights and what earlier tokens left, whichever takes longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pumice.cost.estimate import FP32, stage_flops
from pumice.cost.hardware import Hardware
from pumice.cost.shape import Load, Shape


@dataclass(frozen=True, slots=True)
class Asking:
    """Some questions of one kind.

    Attributes:
        questions: how many.
        prompt: tokens of each, those of its picture included.
        image_tokens: of its picture.
        tiles: inputs of the tower that its picture makes.
        answer: tokens of each answer.
        rows: questions that are answered at once.
    """

    questions: int
    prompt: float
    image_tokens: float
    tiles: float
    answer: int
    rows: int


def answering_seconds(shape: Shape, asking: Asking, hardware: Hardware) -> float:
    """Seconds that the answers take, with weights in float32 as a model in training has them."""
    n = asking.questions
    read = _flops(shape, n * asking.prompt, n * asking.prompt**2, n, asking)
    whole = asking.prompt + asking.answer
    said = _flops(shape, n * asking.answer, 2 * n * asking.answer * whole, n * asking.answer, None)
    rate = hardware.peak * hardware.share["none"]
    language = shape.language
    rounds = math.ceil(n / asking.rows) * asking.answer
    weights = FP32 * (language.body + language.vocabulary * language.width)
    # Keys and values of all heads, as if no group of them shared any.
    earlier = 2 * FP32 * language.layers * language.attention_width * whole * min(n, asking.rows)
    return read / rate + max(said / rate, rounds * (weights + earlier) / hardware.bandwidth)


def _flops(shape: Shape, tokens: float, squares: float, logits: float, pictures: Asking | None) -> float:
    images = pictures.questions * pictures.tiles if pictures else 0.0
    image_tokens = pictures.questions * pictures.image_tokens if pictures else 0.0
    load = Load(
        steps=1, tokens=tokens, squares=squares, logits=logits, images=images, image_tokens=image_tokens,
        row=1, rows=1, images_per_step=images, logits_per_row=logits,
    )  # fmt: skip
    found = stage_flops(shape, load, (), checkpointing=False)
    return sum(found.values()) - found["head"] / 2  # no backward pass
