"""What a server reserves by itself, and what it refuses, with the numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pumice.errors import UsageError
from pumice.infer.engine import room
from pumice.infer.engine.arena import Arena, token_bytes
from pumice.infer.engine.room import check_weights, default_tokens, weight_bytes

CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what is free."""

    def set_(bytes_: int | None) -> None:
        monkeypatch.setattr(room, "free_bytes", lambda device: bytes_)

    return set_


def context(model: Any) -> int:
    return int(model.lm.config.max_position_embeddings)


def test_what_a_token_takes_is_what_the_arena_says(tiny: Any) -> None:
    assert token_bytes(tiny.model) == Arena(tiny.model, 4).token_bytes > 0


def test_no_more_than_all_answers_can_fill(tiny: Any, free: Any) -> None:
    for bytes_ in (None, 1 << 50):
        free(bytes_)
        assert default_tokens(tiny.model, 2) == 2 * context(tiny.model)


def test_a_cpu_keeps_to_half_the_weights(tiny: Any, free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free(1 << 50)
    monkeypatch.setattr(room, "LEAST_BYTES", 0)
    monkeypatch.setattr(room, "weight_bytes", lambda model: 2 * 3 * context(model) * token_bytes(model))
    assert default_tokens(tiny.model, 100) == 3 * context(tiny.model)
    monkeypatch.setattr(room, "weight_bytes", lambda model: 0)
    assert default_tokens(tiny.model, 100) == context(tiny.model)  # one whole answer always has room


def test_a_share_of_what_is_free_and_models_share_it(tiny: Any, free: Any) -> None:
    one = context(tiny.model) * token_bytes(tiny.model)
    free(12 * one)
    assert default_tokens(tiny.model, 100) == 6 * context(tiny.model)
    assert default_tokens(tiny.model, 100, models=3) == 2 * context(tiny.model)


def test_a_model_whose_one_answer_does_not_fit_is_refused(tiny: Any, free: Any) -> None:
    free(context(tiny.model) * token_bytes(tiny.model))
    with pytest.raises(UsageError, match=rf"{context(tiny.model)} tokens.* GiB are free on cpu") as caught:
        default_tokens(tiny.model, 1)
    assert caught.value.remedy is not None
    assert f"--tokens {context(tiny.model) // 2} " in caught.value.remedy


def test_weights_that_do_not_fit_are_refused_with_both_numbers(free: Any) -> None:
    free(8 << 30)
    check_weights(7_000_000_000, 3_500_000_000, CPU)
    with pytest.raises(UsageError, match=r"7\.0 billion weights take 14\.3 GiB at 16 bits, and 8\.0 GiB are"):
        check_weights(7_000_000_000, 14_000_000_000, CPU)
    free(None)
    check_weights(7_000_000_000, 14_000_000_000, CPU)


def test_weights_are_counted_once(tiny: Any) -> None:
    named = sum(one.numel() * one.element_size() for one in tiny.model.parameters())
    assert named <= weight_bytes(tiny.model) < 2 * named
