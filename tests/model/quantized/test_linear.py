"""Linear layers in few bits: every way through the kernel, and torch, beside the weights they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pumice.model.quantized.forms import dequantize, from_tiles, quantize, to_tiles
from pumice.model.quantized.kernel import PATHS, find_kernel, paths_here
from pumice.model.quantized.linear import QuantizedLinear

FORMS = ("bf16", "int8", "int4")
SHAPES = ((64, 96), (50, 70), (16, 32))


def kernel_of(path: str) -> Any:
    if path not in paths_here():
        pytest.skip(f"this CPU has no {path}")
    kernel = find_kernel(path)
    if kernel is None:
        pytest.skip("there is no compiler")
    return kernel


def drawn(outs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    # One input far larger than the others, as in language models.
    input_TI = torch.randn(19, inputs)
    input_TI[:, 3] *= 30
    return torch.randn(outs, inputs) * 0.05, torch.randn(outs), input_TI


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("form", FORMS)
def test_the_kernel_computes_what_the_weights_stand_for(path: str, form: Any) -> None:
    kernel = kernel_of(path)
    for outs, inputs in SHAPES:
        weight_OI, bias_O, input_TI = drawn(outs, inputs)
        layer = QuantizedLinear.of(weight_OI, bias_O, form, kernel)
        wanted_TO = F.linear(input_TI, layer.weight_as(torch.float32), bias_O)
        found_TO = layer(input_TI)
        # Inputs are rounded to 8 bits by groups of 32, or to bfloat16.
        assert (found_TO - wanted_TO).norm() < 0.01 * wanted_TO.norm()
        half_TO = layer(input_TI.bfloat16())
        assert half_TO.dtype == torch.bfloat16
        assert (half_TO.float() - wanted_TO).norm() < 0.015 * wanted_TO.norm()


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("form", FORMS)
def test_a_row_does_not_depend_on_the_rows_beside_it(path: str, form: Any) -> None:
    weight_OI, bias_O, input_TI = drawn(50, 70)
    layer = QuantizedLinear.of(weight_OI, bias_O, form, kernel_of(path))
    together_TO = layer(input_TI)
    for first, count in ((0, 1), (3, 2), (4, 3), (1, 7), (2, 9), (0, 16)):
        assert torch.equal(layer(input_TI[first : first + count]), together_TO[first : first + count])


@pytest.mark.parametrize("form", FORMS)
def test_without_a_kernel_torch_computes(form: Any) -> None:
    for dtype, rows, tolerance in (
        (torch.float32, 19, 1e-5),
        (torch.bfloat16, 3, 0.01),
        (torch.bfloat16, 40, 0.01),
    ):
        weight_OI, bias_O = torch.randn(64, 96) * 0.05, torch.randn(64)
        input_TI = torch.randn(rows, 96).to(dtype)
        layer = QuantizedLinear.of(weight_OI, bias_O, form, None)
        wanted_TO = F.linear(input_TI.float(), layer.weight_as(torch.float32), bias_O)
        assert (layer(input_TI).float() - wanted_TO).norm() < tolerance * wanted_TO.norm()


@pytest.mark.parametrize("form", FORMS)
def test_without_a_kernel_gradients_pass(form: Any) -> None:
    """Also of few rows: torch's own product in 4 bits has none."""
    layer = QuantizedLinear.of(torch.randn(64, 96), None, form, None)
    input_TI = torch.randn(3, 96, dtype=torch.bfloat16, requires_grad=True)
    (gradient_TI,) = torch.autograd.grad(layer(input_TI).sum(), input_TI)
    assert torch.allclose(gradient_TI[0].float(), layer.weight_as(torch.float32).sum(0), rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("form", "most"), [("int8", 0.006), ("int4", 0.09)])
def test_what_quantising_costs(form: Any, most: float) -> None:
    torch.manual_seed(0)
    weight_OI = torch.randn(64, 256) * 0.02
    codes, scales = quantize(weight_OI, form)
    back_OI = dequantize(codes, scales, form, 256, torch.float32)
    assert (back_OI - weight_OI).norm() < most * weight_OI.norm()
    if form == "int4":  # llama.cpp's q4_0: the number of largest size becomes -8
        groups = weight_OI.view(64, -1, 32)
        far = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
        plain = (groups / (far / -8)).round().clamp(-8, 7) * (far / -8)
        assert (back_OI - weight_OI).norm() < 0.98 * (plain.view(64, -1) - weight_OI).norm()


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-7, 1e30])
def test_weights_of_any_size(form: Any, size: float) -> None:
    weight_OI = torch.randn(16, 64) * size
    codes, scales = quantize(weight_OI, form)
    back_OI = dequantize(codes, scales, form, 64, torch.float32)
    assert torch.isfinite(back_OI).all()
    if size > 1e-30:
        assert (
            back_OI - weight_OI
        ).double().norm() < 0.1 * weight_OI.double().norm()  # 1e30 ** 2 is no float32


@pytest.mark.parametrize("form", FORMS)
def test_tiles_hold_the_same(form: Any) -> None:
    weight_OI = (torch.randn(50, 96) * 0.05).bfloat16()
    codes, scales = (weight_OI, None) if form == "bf16" else quantize(weight_OI, form)
    back = from_tiles(*to_tiles(codes, scales, form), form, 50)
    assert torch.equal(back[0], codes)
    assert (scales is None and back[1] is None) or torch.equal(scales, back[1])


def test_inputs_of_zeros_and_no_rows() -> None:
    kernel = find_kernel()
    layer = QuantizedLinear.of(torch.randn(32, 64), None, "int8", kernel)
    assert torch.equal(layer(torch.zeros(2, 64)), torch.zeros(2, 32))
    assert layer(torch.zeros(0, 64)).shape == (0, 32)
