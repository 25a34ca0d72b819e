from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumice.errors import CheckpointError
from pumice.model.attention import auto_attention, plain_attention, set_attention, visibility_mask


def test_mask_by_hand() -> None:
    """A trunk of two, two branches of one, a second sample of one, a padding token."""
    segments = torch.tensor([[1, 1, 1, 1, 2, 0]])
    branches = torch.tensor([[0, 0, 1, 2, 0, 0]])
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert visibility_mask(segments, branches)[0].int().tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8))
def test_mask_is_the_rule(tokens: list[tuple[int, int]]) -> None:
    segments, branches = (torch.tensor([column]) for column in zip(*tokens, strict=True))
    mask = visibility_mask(segments, branches)[0]
    for q, (q_segment, q_branch) in enumerate(tokens):
        for k, (k_segment, k_branch) in enumerate(tokens):
            seen = k <= q and q_segment == k_segment > 0 and k_branch in (0, q_branch)
            assert bool(mask[q, k]) == (seen or q == k)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("masked", [True, False])
def test_plain_equals_sdpa(heads: tuple[int, int], masked: bool) -> None:
    query = torch.randn(2, heads[0], 5, 8)
    key, value = torch.randn(2, heads[1], 7, 8), torch.randn(2, heads[1], 7, 8)
    mask = (torch.rand(2, 1, 5, 7) > 0.4) | torch.eye(5, 7, dtype=torch.bool) if masked else None
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
    torch.testing.assert_close(plain_attention(query, key, value, mask).transpose(1, 2), expected)


def test_plain_softcap() -> None:
    query, key, value = torch.randn(3, 1, 2, 4, 8).unbind()
    scores = query @ key.transpose(2, 3) * 0.5
    expected = torch.softmax(3 * torch.tanh(scores / 3), dim=-1) @ value
    found = plain_attention(query, key, value, None, scaling=0.5, softcap=3.0)
    torch.testing.assert_close(found.transpose(1, 2), expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_auto_without_a_mask_is_causal_as_the_module_says(causal: bool, dtype: torch.dtype) -> None:
    query, key, value = torch.randn(3, 1, 2, 6, 8).to(dtype).unbind()
    module: Any = SimpleNamespace(is_causal=causal, num_key_value_groups=1)
    found, _ = auto_attention(module, query, key, value, None, scaling=8**-0.5)
    mask = torch.ones(6, 6, dtype=torch.bool).tril() if causal else None
    expected = plain_attention(query.float(), key.float(), value.float(), mask)
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)


def test_unknown_attention_lists_choices(tiny: Any) -> None:
    with pytest.raises(CheckpointError, match="did you mean 'sdpa'"):
        set_attention(tiny.model.lm, "sdpaa")
