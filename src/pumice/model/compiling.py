"""Layers that are compiled: each one's forward pass alone, in place, so that nothing changes its name.

Layers of a model share their code, so it is compiled once and not once a layer. Sizes are left open
(``dynamic``): rows of another length use the same code. Attention of packed rows is plain Python over blocks
and stays what it is (``attention.auto_attention``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from pumice.errors import CheckpointError, RunError

VARIANTS = 64
"""How often the code of a layer may be compiled anew: for one row or several, in training or not, with
gradients or not, one kind of layer or another. Beyond torch's own 8 it would go on uncompiled."""
OPTIONS: dict[str, Any] = {"fallback_random": True}
"""Dropout draws what it draws uncompiled."""


def layers_of(part: nn.Module) -> list[nn.Module]:
    """The layers of a transformer.

    Raises:
        CheckpointError: it has none that transformers knows as such.
    """
    found: list[nn.Module] = [one for one in part.modules() if isinstance(one, GradientCheckpointingLayer)]
    if not found:
        raise CheckpointError(
            f"{type(part).__name__} has no layers that can be compiled",
            where="compile",
            remedy="leave compile out",
        )
    return found


@contextmanager
def compiled(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Compile the layers of some parts when they are first called; behind it, all is as it was.

    Where layers are computed again in the backward pass, what is compiled is what is computed again.
    """
    layers = [layer for part in parts for layer in layers_of(part)]
    before = [layer.__dict__.get("forward") for layer in layers]
    if not layers:
        yield
        return
    # What an earlier stage met must not decide what this one computes: a resume has not met it.
    torch._dynamo.reset()
    for layer, own in zip(layers, before, strict=True):
        layer.forward = _compile(layer.forward) if own is None else _inside(own)
    try:
        with torch._dynamo.config.patch(recompile_limit=VARIANTS):
            yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True, options=OPTIONS)
    return compiled


def _inside(wrapped: Any) -> Callable[..., Any]:
    """What ``set_gradient_checkpointing`` made, around the compiled function."""
    assert isinstance(wrapped, partial)
    function, *rest = wrapped.args
    return partial(wrapped.func, _compile(function), *rest, **wrapped.keywords)


def check_compiler(device: torch.device, where: str) -> None:
    """Compile something small.

    Raises:
        RunError: torch.compile does not work here, with the reason.
    """
    try:
        numbers = torch.arange(8.0, device=device)
        found = torch.compile(_trial, options=OPTIONS)(numbers)
    except Exception as error:  # of the compiler, its driver, Triton or Python's headers: each has its own
        raise RunError(
            f"torch.compile does not work here ({_reason(error)})",
            where=where,
            remedy=_remedy(device),
        ) from error
    assert torch.equal(found, _trial(numbers))


def _trial(numbers: torch.Tensor) -> torch.Tensor:
    return numbers * 2 + 1


def _remedy(device: torch.device) -> str:
    off = "or leave compile out"
    if device.type == "cpu":
        return f"install a C++ compiler (g++ or clang++; CXX names another one) and Python's headers, {off}"
    return f"install Triton, a C compiler (gcc; CC names another one) and Python's headers, {off}"


def _reason(error: BaseException) -> str:
    """The first line of what went wrong, and whether a compiler is there at all."""
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    said = str(error).strip()
    line = said.splitlines()[0] if said else type(error).__name__
    missing = not any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    return f"no C++ compiler was found; {line}" if missing else line
