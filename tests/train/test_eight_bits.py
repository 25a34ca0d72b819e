from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pumice.train.eight_bits import BLOCK, blocks_of, decode, dynamic_codes, encode

WIDTHS = [1, 16, 255, 256, 257, 300, 512, 700]


def scales(scale_RK: Tensor, width: int) -> Tensor:
    """The scale of each number."""
    return scale_RK.repeat_interleave(min(width, BLOCK), dim=1)[:, :width]


def numbers(rows: int, width: int, *, signed: bool, seed: int = 0) -> Tensor:
    """Numbers over eight powers of ten."""
    generator = torch.Generator().manual_seed(seed)
    power = torch.empty(rows, width).uniform_(-8, 0, generator=generator)
    x = torch.randn(rows, width, generator=generator) * 10.0**power
    return x if signed else x.abs()


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_those_of_bitsandbytes(signed: bool) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    theirs = functional.create_dynamic_map(signed=signed)
    torch.testing.assert_close(dynamic_codes(signed=signed), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("signed", [True, False])
def test_every_number_becomes_the_nearest_code(width: int, signed: bool) -> None:
    """Or, where two are nearly as near, one of the two: 9 bits behind the exponent decide."""
    x = numbers(5, width, signed=signed)
    codes, scale = encode(x, signed=signed)
    assert (codes.shape, codes.dtype) == (x.shape, torch.uint8)
    assert (scale.shape, scale.dtype) == ((5, blocks_of(width)), torch.float32)
    share = (x / scales(scale, width)).double()
    values = dynamic_codes(signed=signed).double()
    best = (share[:, :, None] - values).abs().amin(dim=2)
    found = (share - values[codes.long()]).abs()
    lifted = (codes == 1) & (share < values[1]) & torch.tensor(not signed)
    assert bool((found <= best + share.abs() * 2.0**-9 + 1e-12)[~lifted].all())
    assert torch.equal(
        decode(codes, scale, signed=signed), (values[codes.long()].float() * scales(scale, width))
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_largest_is_exact_and_what_divides_is_never_lost(width: int) -> None:
    x = numbers(3, width, signed=False)
    x[0, 0], x[2] = 0.0, 0.0
    codes, scale = encode(x, signed=False)
    back = decode(codes, scale, signed=False)
    assert torch.equal(back == 0, x == 0)
    peak = x == scales(scale, width)
    assert torch.equal(back[peak], x[peak])


@given(st.integers(1, 40), st.sampled_from(WIDTHS), st.integers(1, 6))
def test_parts_cut_between_rows_have_the_codes_of_the_whole(rows: int, width: int, ranks: int) -> None:
    x = numbers(rows, width, signed=True, seed=rows)
    codes, scale = encode(x, signed=True)
    parts = [encode(part, signed=True) for part in x.chunk(ranks)]
    assert torch.equal(torch.cat([part for part, _ in parts]), codes)
    assert torch.equal(torch.cat([part for _, part in parts]), scale)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [256, 300])
def test_what_was_rounded_once_is_not_rounded_further(width: int, signed: bool) -> None:
    first = decode(*encode(numbers(4, width, signed=signed).abs(), signed=signed), signed=signed)
    again = decode(*encode(first, signed=signed), signed=signed)
    torch.testing.assert_close(again, first, rtol=2.0**-8, atol=0)


def test_an_empty_part_is_one() -> None:
    codes, scale = encode(torch.zeros(0, 300), signed=True)
    assert (codes.shape, scale.shape) == ((0, 300), (0, 2))
    assert decode(codes, scale, signed=True).shape == (0, 300)
