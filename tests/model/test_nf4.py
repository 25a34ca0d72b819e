"""Weights in 4 bits: what bitsandbytes makes of them, here and in training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pumice.errors import CheckpointError
from pumice.model.nf4 import Quantization, dequantized, parameter_count, quantized, rounded

CODE = (
    -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
"""The 16 numbers of nf4 (QLoRA, appendix E)."""


def test_each_block_is_16_numbers_times_its_largest() -> None:
    """The rule of the paper, without double quantisation."""
    weight = torch.randn(6, 128, generator=torch.Generator().manual_seed(1))
    found = rounded(weight, Quantization(double=False, dtype="float32"))
    blocks = weight.reshape(-1, 64)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    code = torch.tensor(CODE)
    wanted = code[(blocks[:, :, None] / largest[:, :, None] - code).abs().argmin(dim=2)] * largest
    torch.testing.assert_close(found, wanted.reshape(weight.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_with_the_rounded_weights(dtype: str, double: bool, bias: bool) -> None:
    linear = nn.Linear(96, 40, bias=bias)
    how = Quantization(double, dtype)
    layer = quantized(linear, how)
    assert torch.equal(dequantized(layer), rounded(linear.weight, how))
    assert not torch.equal(dequantized(layer), linear.weight)
    assert parameter_count(layer.weight) == 96 * 40
    states = torch.randn(5, 96, requires_grad=True)
    result = layer(states)
    wanted = nn.functional.linear(states, dequantized(layer), linear.bias)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 0.02, "atol": 0.05}
    torch.testing.assert_close(result, wanted, **tolerance)
    result.sum().backward()
    gradient = dequantized(layer).sum(dim=0).expand(5, 96)
    torch.testing.assert_close(states.grad, gradient, rtol=0.02, atol=1e-4 if dtype == "float32" else 0.2)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_a_pass_in_evaluation_mode_changes_nothing() -> None:
    """bitsandbytes would repack the weights on some CPUs: rounded scales, and no gradient any more."""
    linear = nn.Linear(128, 64, bias=True)
    before = linear.bias.detach().clone()
    layer = quantized(linear, Quantization(double=True, dtype="bfloat16"))
    weights = dequantized(layer)
    layer.eval()
    with torch.no_grad():
        layer(torch.randn(3, 128))
    layer.train()
    assert torch.equal(dequantized(layer), weights)
    states = torch.randn(3, 128, requires_grad=True)
    layer(states).sum().backward()
    assert states.grad is not None
    assert bool(states.grad.any())
    assert torch.equal(linear.bias, before)
    assert linear.bias.dtype == torch.float32


def test_a_record_goes_there_and_back() -> None:
    how = Quantization(double=True, dtype="bfloat16")
    assert Quantization.from_dict(how.to_dict(), "here") == how
    assert Quantization.from_dict(None, "here") is None
    with pytest.raises(CheckpointError, match="fp4"):
        Quantization.from_dict({**how.to_dict(), "type": "fp4"}, "here")


@pytest.mark.slow
def test_bitsandbytes_comes_without_code_from_the_hub(tmp_path: Path) -> None:
    """Its import asks the package ``kernels``, where there is one, for compiled code."""
    fake = "def get_kernel(*given, **named):\n    open('asked', 'w').close()\n"
    (tmp_path / "kernels.py").write_text(fake, encoding="utf-8")
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pumice.model.attach import peft\n"
        "peft().LoraConfig\n"
        "assert 'bitsandbytes' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "asked").exists()
    assert "kernels" not in done.stderr
