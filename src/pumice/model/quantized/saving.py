"""The tensors of quantised layers under their names on disk, made one at a time as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pumice.model.quantized.forms import QUANTIZED, groups_of
from pumice.model.quantized.linear import QuantizedLinear
from pumice.model.quantized.stored import SCALES
from pumice.model.stored import Stored, held


def quantized_tensors(lm: Any) -> Iterator[tuple[str, Stored]]:
    """The names of a causal LM's quantised layers' tensors, and the tensors; a head that is tied is left out.

    Loading makes such a head anew, from the embeddings.
    """
    head = lm.get_output_embeddings()
    tied = bool(getattr(lm.config, "tie_word_embeddings", False))
    for name, layer in lm.named_modules():
        if isinstance(layer, QuantizedLinear) and not (tied and layer is head):
            yield from _layer(name, layer)


def _layer(name: str, layer: QuantizedLinear) -> Iterator[tuple[str, Stored]]:
    outs, inputs = layer.out_features, layer.in_features
    if layer.form in QUANTIZED:
        whole = layer.form == "int8"
        shape = torch.Size((outs, inputs if whole else inputs // 2))
        yield f"{name}.weight", Stored(shape, torch.int8 if whole else torch.uint8, lambda: layer.plain()[0])
        scales = torch.Size((outs, groups_of(inputs)))
        yield f"{name}.weight{SCALES}", Stored(scales, torch.bfloat16, lambda: _scales(layer))
    else:
        shape = torch.Size((outs, inputs))
        yield f"{name}.weight", Stored(shape, torch.bfloat16, lambda: layer.weight_as(torch.bfloat16))
    bias = layer.bias_as(torch.float32)
    if bias is not None:
        yield f"{name}.bias", held(bias)


def _scales(layer: QuantizedLinear) -> torch.Tensor:
    scales = layer.plain()[1]
    assert scales is not None
    return scales
