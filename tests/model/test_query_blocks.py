from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pumice.model import query_blocks
from pumice.model.attention import plain_attention
from pumice.model.query_blocks import attend_in_blocks, suits_blocks

HEADS, KV_HEADS, WIDTH = 4, 2, 8


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_blocks, "FEWEST", 3)
    monkeypatch.setattr(query_blocks, "BLOCK_SCORES", 1)


@pytest.mark.parametrize(("count", "keys"), [(7, 7), (5, 11), (1, 4)])
@pytest.mark.parametrize(
    ("causal", "window", "softcap"),
    [
        (False, None, None),
        (False, None, 2.0),
        (True, None, None),
        (True, 3, None),
        (True, None, 2.0),
        (True, 6, 1.0),
    ],
)
def test_blocks_compute_what_a_mask_does(
    count: int, keys: int, causal: bool, window: int | None, softcap: float | None
) -> None:
    query = numbers(count, HEADS, WIDTH).transpose(0, 1)  # as a projection leaves them
    key, value = (numbers(keys, KV_HEADS, WIDTH, seed=seed).transpose(0, 1) for seed in (1, 2))
    seen = torch.ones(count, keys, dtype=torch.bool)
    if causal:
        seen = seen.tril(keys - count)
        if window is not None:
            seen = seen.triu(keys - count - window + 1)
    found = attend_in_blocks(query, key, value, causal=causal, scaling=0.3, softcap=softcap, window=window)
    exact = plain_attention(
        query[None].float(), key[None].float(), value[None].float(), seen[None, None], scaling=0.3,
        softcap=softcap,
    )[0].transpose(0, 1)  # fmt: skip
    assert found.shape == (HEADS, count, WIDTH)
    torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)


def test_a_tower_in_bfloat16_attends_in_blocks_unless_gradients_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (numbers(2, HEADS, 6, WIDTH, seed=seed) for seed in range(3))
    assert not suits_blocks(query, value)
    with_graph = plain_attention(query, key, value, None)
    with torch.no_grad():
        assert suits_blocks(query, value)
        assert not suits_blocks(query.float(), value.float())
        found = plain_attention(query, key, value, None)
        with torch.autocast("cpu", torch.bfloat16):
            assert not suits_blocks(query, value)
    torch.testing.assert_close(found.float(), with_graph.float(), atol=0.03, rtol=0.03)
