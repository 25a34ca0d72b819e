from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from pumice.errors import UsageError
from pumice.infer.sampling import Sampler, Sampling, choose


def drawn(sampling: Sampling, logits: torch.Tensor, n: int = 3000) -> torch.Tensor:
    sampler = Sampler(sampling)
    return (
        torch.bincount(torch.tensor([sampler.draw(logits) for _ in range(n)]), minlength=logits.numel()) / n
    )


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 1.0, "top_k": 3},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 2.0, "top_k": 4, "top_p": 0.7},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1.0, "top_k": 100},
    ],
)
def test_frequencies_are_those_of_transformers(options: dict[str, Any]) -> None:
    logits = torch.tensor([0.3, 2.0, -1.0, 1.2, 1.1, 0.0])
    scores = TemperatureLogitsWarper(float(options["temperature"]))(None, logits[None])
    if "top_k" in options:
        scores = TopKLogitsWarper(options["top_k"])(None, scores)
    if "top_p" in options:
        scores = TopPLogitsWarper(options["top_p"])(None, scores)
    expected = scores[0].softmax(dim=0)
    found = drawn(Sampling(**options), logits)
    assert torch.equal(found > 0, expected > 0)
    assert float((found - expected).abs().max()) < 0.03


def test_greedy_takes_the_most_likely() -> None:
    logits = torch.randn(4, 9)
    assert choose(logits, [Sampler(Sampling())] * 4) == logits.argmax(dim=1).tolist()


def test_rows_draw_by_their_own_settings() -> None:
    logits = torch.randn(3, 9)
    settings = [Sampling(), Sampling(temperature=1.0, seed=7), Sampling(temperature=1.0, seed=8)]
    together = choose(logits, [Sampler(one) for one in settings])
    assert together == [Sampler(one).draw(row) for one, row in zip(settings, logits, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1e-40},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=name):
        Sampling(**options)


def test_the_ends_of_the_settings_draw() -> None:
    logits = torch.tensor([-1e4, 3e4, 2.9e4, float("-inf")])
    assert Sampler(Sampling(temperature=1e-4, seed=2**64 - 1)).draw(logits) == 1
