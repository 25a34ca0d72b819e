"""How much of a machine a model may take: whether its weights fit, and places for how many tokens."""

from __future__ import annotations

import torch

from pumice.errors import UsageError
from pumice.infer.ends import context_of
from pumice.infer.engine.arena import token_bytes
from pumice.infer.engine.memory import free_bytes
from pumice.model.vlm import VisionLanguageModel

CONTEXT = 4096
"""Tokens of one answer where a model does not say how many it takes."""
LEAST_BYTES = 128 << 20
"""Keys and values of a small model: its weights would leave room for too few."""
SHARE = {"cuda": 0.85, "cpu": 0.5}
"""Of the free memory. A GPU belongs to the server; a machine's memory has other users."""
ACTIVATIONS = 1.1
"""Weights and what is computed with them, over the weights."""


def default_tokens(model: VisionLanguageModel, running: int, models: int = 1) -> int:
    """How many tokens' keys and values to reserve where nobody says.

    At most what ``running`` answers can fill, all as long as the model's context. On a CPU no more than half
    the weights' bytes (but ``LEAST_BYTES``), and nowhere more than ``SHARE`` of what is free. One answer of
    full length always has room.

    Args:
        model: on its device.
        running: answers that are computed at once.
        models: that share what is free, this one included.

    Raises:
        UsageError: not even one such answer fits; says what it takes and what is free.
    """
    each = max(1, token_bytes(model))
    context = context_of(model) or CONTEXT
    most = running * context
    if model.device.type == "cpu":
        most = min(most, max(LEAST_BYTES, weight_bytes(model) // 2) // each)
    most = max(most, context)
    free = free_bytes(model.device)
    if free is None:
        return most
    room = int(free * SHARE.get(model.device.type, SHARE["cpu"]) / models) // each
    if room >= context:
        return min(most, room)
    raise UsageError(
        f"the model takes {context} tokens, whose keys and values need {_gib(context * each)} GiB, and "
        f"{_gib(free)} GiB are free on {model.device.type} beside its weights",
        where="tokens",
        remedy=f"give the memory that others use back, or reserve fewer: --tokens {max(2, room)} allows "
        "questions and answers of that length together",
    )


def weight_bytes(model: VisionLanguageModel) -> int:
    """Bytes of a model's weights and buffers."""
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}
    return sum(one.numel() * one.element_size() for one in tensors.values())


def check_weights(parameters: int, bytes_: int, device: torch.device) -> None:
    """Refuse weights that the memory of a device cannot hold, before any is read.

    Args:
        parameters: numbers in the weights.
        bytes_: that they take, once loaded.
        device: where they go.

    Raises:
        UsageError: they do not fit; says both numbers.
    """
    free = free_bytes(device)
    needed = int(bytes_ * ACTIVATIONS)
    if free is None or needed <= free:
        return
    raise UsageError(
        f"the model's {parameters / 1e9:.1f} billion weights take {_gib(needed)} GiB at "
        f"{8 * bytes_ / max(1, parameters):.3g} bits, and "
        f"{_gib(free)} GiB are free on {device.type}",
        where="weights",
        remedy="load them in fewer bits, free memory, or take a smaller model",
    )


def _gib(bytes_: int) -> str:
    return f"{bytes_ / 2**30:.1f}"
