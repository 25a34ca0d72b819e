"""Where a model keeps its layers."""

from __future__ import annotations

from torch import nn


def layer_list(module: nn.Module) -> nn.ModuleList | None:
    """The longest list of modules inside a module, which is that of its layers; None where there is none."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) > 0]
    return max(lists, key=len, default=None)
