from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumice.model import cross_entropy
from pumice.model.cross_entropy import linear_cross_entropy, sums_linear


def grads(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss * 0.37, leaves))


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [7, 64])
def test_equals_torch(monkeypatch: pytest.MonkeyPatch, softcap: float | None, bias: bool, chunk: int) -> None:
    monkeypatch.setattr(cross_entropy, "CPU_SCORES", chunk * 50)
    torch.manual_seed(0)
    head = nn.Linear(12, 50, bias=bias)
    hidden = (torch.randn(30, 12) * 3).requires_grad_()
    labels = torch.randint(0, 50, (30,))
    leaves = [hidden, *head.parameters()]
    own = linear_cross_entropy(hidden, head, labels, softcap)
    scores = head(hidden)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    theirs = F.cross_entropy(scores, labels, reduction="sum")
    torch.testing.assert_close(own, theirs)
    for one, other in zip(grads(own, *leaves), grads(theirs, *leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_autocast_gives_what_a_linear_layer_gives() -> None:
    torch.manual_seed(0)
    head, hidden = nn.Linear(16, 40, bias=False), torch.randn(20, 16, requires_grad=True)
    labels = torch.randint(0, 40, (20,))
    with torch.autocast("cpu", torch.bfloat16):
        own = linear_cross_entropy(hidden, head, labels)
        theirs = F.cross_entropy(head(hidden).float(), labels, reduction="sum")
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-5)
    for one, other in zip(grads(own, hidden, head.weight), grads(theirs, hidden, head.weight), strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 0.01


def test_a_frozen_head_gets_no_gradient_and_nothing_is_kept_of_scores() -> None:
    head, hidden = (
        nn.Linear(8, 1000, bias=False).requires_grad_(False),
        torch.randn(20, 8, requires_grad=True),
    )
    sizes = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = linear_cross_entropy(hidden, head, torch.zeros(20, dtype=torch.int64))
    loss.backward()
    assert head.weight.grad is None
    assert sizes == [20 * 8]


def test_without_gradients_the_loss_is_the_same() -> None:
    head, hidden = nn.Linear(8, 30), torch.randn(20, 8)
    labels = torch.randint(0, 30, (20,))
    with torch.no_grad():
        own = linear_cross_entropy(hidden, head, labels)
    torch.testing.assert_close(own, F.cross_entropy(head(hidden), labels, reduction="sum"))


def test_other_heads_are_not_bypassed() -> None:
    head = nn.Linear(4, 4)
    assert sums_linear(head)
    handle = head.register_forward_hook(lambda module, given, output: output * 2)
    assert not sums_linear(head)
    handle.remove()
    assert sums_linear(head)

    class Scaled(nn.Linear):
        pass

    assert not sums_linear(Scaled(4, 4))


def test_a_second_backward_pass_is_refused() -> None:
    """Its gradients were scaled in place by the first."""
    head, hidden = nn.Linear(4, 10), torch.randn(3, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, head, torch.tensor([0, 1, 2]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
