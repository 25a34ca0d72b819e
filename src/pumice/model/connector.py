"""Connectors: what turns a vision feature into an embedding of the language model.

The grammar is LLaVA's ``mm_projector_type``: ``linear``, ``identity`` or ``mlpNx_gelu``, which is a
linear layer followed by N-1 times [exact (erf) GELU, linear layer].
"""

from __future__ import annotations

import re

import torch
from torch import nn

from pumice.errors import CheckpointError, suggest

CHOICES = ("linear", "identity", "mlp2x_gelu", "mlpNx_gelu")
_MLP = re.compile(r"mlp([1-9]\d*)x_gelu")


def connector_depth(kind: str) -> int:
    """How many linear layers the connector ``kind`` has.

    Raises:
        CheckpointError: there is no such connector.
    """
    if kind == "identity":
        return 0
    if kind == "linear":
        return 1
    match = _MLP.fullmatch(kind)
    if match is None:
        raise CheckpointError(
            f"there is no connector {kind!r}", where="connector", remedy=suggest(kind, CHOICES)
        )
    return int(match.group(1))


def build_connector(kind: str, in_dim: int, out_dim: int, *, seed: int = 0) -> nn.Sequential:
    """A connector from ``in_dim`` (vision) to ``out_dim`` (language), float32, torch's own initialisation.

    The weights follow from ``seed`` alone, and the global generator is left as it was. Linear layers
    stand at the indices 0, 2, 4, ... as in the original's ``mm_projector``.

    Raises:
        CheckpointError: there is no such connector, or ``identity`` between unequal sizes.
    """
    depth = connector_depth(kind)
    if depth == 0 and in_dim != out_dim:
        raise CheckpointError(
            f"the connector 'identity' needs equal sizes, but the tower gives {in_dim} and the "
            f"language model takes {out_dim}",
            where="connector",
            remedy="choose linear or mlp2x_gelu",
        )
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in range(depth):
            if index:
                layers.append(nn.GELU())
            layers.append(nn.Linear(in_dim if index == 0 else out_dim, out_dim))
    return nn.Sequential(*layers)
