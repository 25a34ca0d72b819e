"""Weights in 4 bits (nf4), which QLoRA trains beside: https://arxiv.org/abs/2305.14314, through bitsandbytes.

Each block of 64 weights becomes 64 numbers of 4 bits and one scale; with double quantisation, scales become
8 bits and share theirs by 256. Legend: O outputs, I inputs of a linear layer.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pumice.errors import CheckpointError, MissingExtraError, suggest
from pumice.model.weights import DTYPES

BLOCK = 64
"""Weights of one scale, as in the paper."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights were brought to 4 bits: enough to do it again.

    Attributes:
        double: whether the scales are quantised, too.
        dtype: the type that weights had before, and have again when they are used: ``float32``, ``bfloat16``.
    """

    double: bool
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values of JSON."""
        return {"type": "nf4", "block": BLOCK, "double": self.double, "dtype": self.dtype}

    @staticmethod
    def from_dict(fields: Mapping[str, Any] | None, where: str) -> Quantization | None:
        """What ``to_dict`` wrote; None of None.

        Raises:
            CheckpointError: another kind of quantisation.
        """
        if fields is None:
            return None
        if fields.get("type") != "nf4" or fields.get("block") != BLOCK or fields.get("dtype") not in DTYPES:
            raise CheckpointError(
                f"weights quantised as {dict(fields)} are not known here",
                where=where,
                remedy=f"use the version of Pumice that wrote the folder; dtype: "
                f"{suggest(str(fields.get('dtype')), DTYPES)}",
            )
        return Quantization(bool(fields["double"]), str(fields["dtype"]))


def require_bitsandbytes(where: str) -> None:
    """MissingExtraError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "weights in 4 bits (nf4) need the library bitsandbytes, which is not installed",
            where=where,
            remedy="pip install 'pumice[qlora]'",
        )


def bitsandbytes() -> Any:
    """The library, imported so that it fetches no code.

    On CPUs with AVX-512 BF16 its import asks the package ``kernels``, where that is installed, for compiled
    code from the hub. Here that package cannot be found, and the warning that it is missing is not shown.
    """
    if "bitsandbytes" not in sys.modules:
        logger, held = logging.getLogger("bitsandbytes"), sys.modules.get("kernels")
        level = logger.level
        logger.setLevel(logging.ERROR)
        sys.modules["kernels"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("bitsandbytes")
        finally:
            logger.setLevel(level)
            del sys.modules["kernels"]
            if held is not None:
                sys.modules["kernels"] = held
    return sys.modules["bitsandbytes"]


def quantized(linear: nn.Linear, how: Quantization) -> Any:
    """A frozen ``bitsandbytes.nn.Linear4bit`` of a linear layer, on its device.

    Its bias is a copy in ``how.dtype``: bitsandbytes would cast the original one in place.
    """
    kind = DTYPES[how.dtype]
    with torch.device("meta"):
        layer = bitsandbytes().nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=kind,
            compress_statistics=how.double,
            quant_type="nf4",
        )
    layer.weight = _parameter(linear.weight.detach().to(kind), how, layer)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach().to(kind, copy=True), requires_grad=False)
    # On CPUs with AVX-512 BF16, one pass in evaluation mode would repack the weights for good: their scales
    # would be rounded, and training passes after it would have no gradient.
    layer.support_avx512bf16_for_cpu = False
    layer.train(linear.training)
    return layer


def _parameter(weight_OI: Tensor, how: Quantization, module: Any) -> Any:
    parameter = bitsandbytes().nn.Params4bit(
        weight_OI,
        requires_grad=False,
        blocksize=BLOCK,
        compress_statistics=how.double,
        quant_type="nf4",
        module=module,
    )
    if weight_OI.is_meta:  # sizes are counted; bitsandbytes itself would leave it as it is
        known = bitsandbytes().functional
        known.name2qmap.setdefault("dynamic", known.create_dynamic_map())  # else made there, and kept for all
        return parameter._quantize("meta")
    return parameter.to(weight_OI.device)  # where it is quantised


def dequantized(layer: Any) -> Tensor:
    """The weights [O, I] that a quantised layer computes with, float32."""
    weight_OI: Tensor = bitsandbytes().functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight_OI.float()


def rounded(weight_OI: Tensor, how: Quantization) -> Tensor:
    """Weights [O, I] as they are after quantising, float32."""
    parameter = _parameter(weight_OI.detach().to(DTYPES[how.dtype]), how, None)
    result_OI: Tensor = bitsandbytes().functional.dequantize_4bit(parameter.data, parameter.quant_state)
    return result_OI.float()


def parameter_count(parameter: Tensor) -> int:
    """How many numbers a parameter stands for; of one in 4 bits, two numbers lie in a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())
