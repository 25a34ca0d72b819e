from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumice.train.codec import LARGEST, Packed, deviation, joined, pack, rounded, tile_bytes, unpack


def drawn(seed: int, spread: float = 0.0) -> torch.Tensor:
    """Features like a CLIP's: most near 1, a few channels far larger."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 5, 64, generator=generator)
    features[..., 7] *= 60
    return features * torch.exp(spread * torch.randn(3, 5, 1, generator=generator))


@given(st.integers(0, 50), st.sampled_from([0.0, 3.0, 20.0]))
def test_fp8_is_off_by_no_more_than_its_mantissa_and_its_smallest_step(seed: int, spread: float) -> None:
    features = drawn(seed, spread)
    packed = pack(features, "fp8")
    assert packed.scales is not None
    assert (torch.frexp(packed.scales)[0] == 0.5).all(), "scales are powers of two"
    largest = features.abs().amax(dim=2)
    assert (largest <= LARGEST * packed.scales).all()
    assert (largest > LARGEST / 2 * packed.scales).all(), "no smaller scale would do"
    bound = torch.maximum(features.abs() / 16, packed.scales[..., None] / 1024)
    assert ((unpack(packed) - features).abs() <= bound).all()
    lost, whole = deviation(features, packed)
    error = (lost / whole) ** 0.5
    assert error <= 1 / 16
    assert spread or 0.01 < error < 0.04, "else one token is nearly all there is"


def test_a_bf16_is_torchs_own_and_fp32_is_untouched() -> None:
    features = drawn(1)
    assert torch.equal(unpack(pack(features, "bf16")), features.bfloat16().float())
    assert torch.equal(unpack(pack(features, "fp32")), features)
    assert deviation(features, pack(features, "fp32"))[0] == 0
    lost, whole = deviation(features, pack(features, "bf16"))
    assert 0.0005 < (lost / whole) ** 0.5 < 0.004


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp8"])
def test_what_was_rounded_is_not_rounded_again(kind: str) -> None:
    once = rounded(drawn(2), kind)  # type: ignore[arg-type]
    assert torch.equal(rounded(once, kind), once)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp8"])
def test_what_is_not_finite_does_not_become_so(kind: str, value: float) -> None:
    features = drawn(3)
    features[1, 2, 3] = value
    found = rounded(features, kind)  # type: ignore[arg-type]
    assert not torch.isfinite(found[1, 2, 3])
    assert torch.isfinite(found[0]).all()


def test_nothing_and_the_smallest_numbers_come_back() -> None:
    features = torch.zeros(1, 3, 4)
    features[0, 1] = 2.0**-149
    features[0, 2] = 1e38
    found = rounded(features, "fp8")
    assert torch.equal(found[0, 0], features[0, 0])
    assert torch.isfinite(found).all()
    assert torch.allclose(found[0, 2], features[0, 2], rtol=1 / 16)


def test_bytes_are_those_that_are_promised() -> None:
    features = drawn(4)
    for kind, size in (("fp32", 256), ("bf16", 128), ("fp8", 68)):
        packed = pack(features, kind)  # type: ignore[arg-type]
        assert packed.nbytes == 3 * tile_bytes(5, 64, kind) == 3 * 5 * size  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp8"])
def test_parts_are_joined_in_order_whatever_the_precision_around(kind: str) -> None:
    packed = pack(drawn(5), kind)  # type: ignore[arg-type]
    whole = unpack(packed)
    with torch.autocast("cpu", torch.bfloat16):
        again = joined([packed.rows(0, 1), packed.rows(1, 3).clone()])
        assert isinstance(again, Packed)
        assert torch.equal(unpack(again), whole)
