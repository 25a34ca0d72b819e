from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pumice.errors import UsageError
from pumice.infer.engine.sampler import Sampler, choose, logprobs_of
from pumice.infer.sampling import REPETITION, Sampling

LOGITS = torch.tensor([0.3, 2.0, -1.0, 1.2, 1.1, 0.0])


def drawn(sampling: Sampling, logits: torch.Tensor, n: int = 3000) -> torch.Tensor:
    sampler = Sampler(sampling)
    ids = torch.tensor([sampler.draw(logits) for _ in range(n)])
    return torch.bincount(ids, minlength=logits.numel()) / n


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
    scores = TemperatureLogitsWarper(float(options["temperature"]))(None, LOGITS[None])
    if "top_k" in options:
        scores = TopKLogitsWarper(options["top_k"])(None, scores)
    if "top_p" in options:
        scores = TopPLogitsWarper(options["top_p"])(None, scores)
    expected = scores[0].softmax(dim=0)
    found = drawn(Sampling(**options), LOGITS)
    assert torch.equal(found > 0, expected > 0)
    assert float((found - expected).abs().max()) < 0.03


def test_a_draw_does_not_hang_on_the_last_bit() -> None:
    """Scores of another batch differ in their last bits, also where that changes the order of two."""
    torch.manual_seed(4)
    scores = torch.randn(50, 300)
    scores[:, 7] = scores[:, 8]
    nudged = scores + 1e-7 * torch.randn_like(scores)
    settings = Sampling(temperature=1.0, top_p=0.95, seed=3)
    first, second = Sampler(settings), Sampler(settings)
    assert [first.draw(row) for row in scores] == [second.draw(row) for row in nudged]


def test_rows_draw_by_their_own_settings() -> None:
    logits = torch.randn(3, 9)
    settings = [Sampling(), Sampling(temperature=1.0, seed=7), Sampling(temperature=1.0, seed=8)]
    together = choose(logits, [Sampler(one) for one in settings])
    assert together == [Sampler(one).draw(row) for one, row in zip(settings, logits, strict=True)]
    assert choose(logits[:0], []) == []


def test_greedy_takes_the_most_likely() -> None:
    logits = torch.randn(4, 9)
    assert choose(logits, [Sampler(Sampling())] * 4) == logits.argmax(dim=1).tolist()


def test_the_ends_of_the_settings_draw() -> None:
    logits = torch.tensor([-1e4, 3e4, 2.9e4, float("-inf")])
    assert Sampler(Sampling(temperature=1e-4, seed=2**64 - 1)).draw(logits) == 1


@pytest.mark.parametrize("penalty", REPETITION)
@pytest.mark.parametrize("temperature", [0.0, 1e-4, 2.0])
def test_no_penalty_draws_what_is_barred(penalty: float, temperature: float) -> None:
    logits = torch.tensor([-1e3, 1e3, 0.0, float("-inf")])
    sampler = Sampler(Sampling(repetition_penalty=penalty, temperature=temperature), prompt=range(4))
    assert sampler.draw(logits) != 3
    assert not sampler._adjusted(logits).isnan().any()
    for beyond in (penalty / 10, penalty * 10):
        if not REPETITION[0] <= beyond <= REPETITION[1]:
            with pytest.raises(UsageError, match=r"0\.01 to 100"):
                Sampling(repetition_penalty=beyond)


def test_answers_of_one_request_draw_apart() -> None:
    logits = torch.zeros(500)
    draws = [Sampler(Sampling(temperature=1.0, seed=2**64 - 1), index).draw(logits) for index in range(3)]
    assert len(set(draws)) == 3
    assert draws[1] == Sampler(Sampling(temperature=1.0, seed=0)).draw(logits)


def test_repetition_is_that_of_transformers() -> None:
    sampler = Sampler(Sampling(repetition_penalty=1.7), prompt=[0, 2])
    sampler.take(1)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[0, 2, 1, 1]]), LOGITS[None].clone())[0]
    assert torch.allclose(sampler._adjusted(LOGITS), expected)


def test_presence_and_frequency_count_the_answer_alone() -> None:
    sampler = Sampler(Sampling(presence_penalty=0.5, frequency_penalty=0.25), prompt=[0])
    for token in (1, 1, 3):
        sampler.take(token)
    expected = LOGITS - torch.tensor([0, 0.5 + 2 * 0.25, 0, 0.5 + 0.25, 0, 0])
    assert torch.allclose(sampler._adjusted(LOGITS), expected)
    assert sampler.draw(LOGITS) == 4
    assert LOGITS[1] == 2.0  # what came in stays


def test_bias() -> None:
    assert Sampler(Sampling(logit_bias=((2, 5.0),))).draw(LOGITS) == 2
    banned = drawn(Sampling(temperature=1.0, logit_bias=((1, -100.0),)), LOGITS, 300)
    assert banned[1] == 0


def test_logprobs_are_the_models_own() -> None:
    told = logprobs_of(LOGITS, 0, 2, str)
    expected = LOGITS.log_softmax(0)
    assert (told.chosen.token_id, told.chosen.text) == (0, "0")
    assert told.chosen.logprob == pytest.approx(float(expected[0]))
    assert [one.token_id for one in told.top] == [1, 3]
    assert logprobs_of(LOGITS, 0, 0, str).top == ()
