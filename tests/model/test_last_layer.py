from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pumice.model.last_layer import MOST, last_feed_forward, only_at


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.mlp(x_BTD)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer(), Layer()])

    def forward(self, x_BTD: Tensor) -> Tensor:
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return x_BTD


@pytest.fixture
def body() -> Any:
    torch.manual_seed(0)
    return Body()


def test_places_that_are_read_are_right_with_their_gradients(body: Any) -> None:
    x = torch.randn(2, 6, 4, requires_grad=True)
    rows, columns = torch.tensor([0, 1, 1, 1]), torch.tensor([3, 0, 5, 5])  # one twice, as branches have it
    widths: list[int] = []
    body.layers[2].mlp[0].register_forward_hook(lambda module, given, out: widths.append(given[0].shape[1]))

    def run(trimmed: bool) -> list[Tensor]:
        body.zero_grad()
        x.grad = None
        if trimmed:
            with only_at(body, rows, columns, (2, 6)):
                out = body(x)
        else:
            out = body(x)
        read = out[rows, columns]
        read.square().sum().backward()
        assert x.grad is not None
        return [read.detach(), x.grad, *(p.grad.clone() for p in body.parameters())]

    for own, whole in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(own, whole)
    assert widths == [3, 6], "three places of twelve, then all of each row"
    assert "forward" not in vars(body.layers[2].mlp)


def test_where_most_is_read_or_nothing_all_is_computed(body: Any) -> None:
    x = torch.randn(1, 8, 4)
    many = torch.arange(int(MOST * 8) + 1)
    for columns in (many, many[:0]):
        with only_at(body, columns * 0, columns, (1, 8)):
            assert "forward" not in vars(body.layers[2].mlp)
            torch.testing.assert_close(body(x), Body.forward(body, x))


def test_layers_that_were_replaced_are_left_alone(body: Any) -> None:
    assert last_feed_forward(body) is body.layers[2].mlp
    body.layers[2].forward = body.layers[2].forward  # as activation checkpointing and compiling do
    assert last_feed_forward(body) is None
    assert last_feed_forward(nn.Linear(2, 2)) is None
