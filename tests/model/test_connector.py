from __future__ import annotations

import pytest
import torch
from torch import nn

from pumice.errors import CheckpointError
from pumice.model.connector import build_connector


def test_linear_is_one_layer() -> None:
    connector = build_connector("linear", 3, 5)
    assert [type(layer) for layer in connector] == [nn.Linear]
    assert connector(torch.zeros(2, 4, 3)).shape == (2, 4, 5)


def test_identity_changes_nothing() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(build_connector("identity", 3, 3)(x), x)


def test_identity_needs_equal_sizes() -> None:
    with pytest.raises(CheckpointError, match=r"3 .*takes 4"):
        build_connector("identity", 3, 4)


@pytest.mark.parametrize("depth", [1, 2, 3, 12])
def test_mlp_has_its_depth(depth: int) -> None:
    connector = build_connector(f"mlp{depth}x_gelu", 3, 5)
    kinds = [type(layer) for layer in connector]
    assert kinds == [nn.Linear] + [nn.GELU, nn.Linear] * (depth - 1)
    shapes = [tuple(layer.weight.shape) for layer in connector if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 3)] + [(5, 5)] * (depth - 1)


def test_gelu_is_exact() -> None:
    x = torch.linspace(-4, 4, 101)
    erf = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    assert torch.allclose(build_connector("mlp2x_gelu", 1, 1)[1](x), erf, atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp0x_gelu", "mlp2x_relu", "amlp2x_gelu", "mlp2x_gelu2", "Linear", ""])
def test_unknown_kind_lists_choices(kind: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_connector(kind, 3, 5)
    assert "mlp2x_gelu" in str(caught.value)
    assert repr(kind) in str(caught.value)
