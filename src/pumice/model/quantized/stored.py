"""Quantised weights as they lie in checkpoint files: codes under a layer's own key, scales beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pumice.model.quantized.forms import GROUP, Form, dequantize, form_of_codes
from pumice.model.stored import Stored

METHOD = "pumice"
"""What ``quantization_config`` of ``config.json`` calls our weights. transformers only warns of a name that
it does not know; what makes it refuse is a ``Limit`` (``pumice.model.limits``)."""
SCALES = "_scale"
"""Behind a weight's key, the key of its scales."""


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedStored(Stored):
    """A quantised weight; read like any other, it comes in float32.

    Attributes:
        codes, scales: as ``forms.quantize`` gives them.
    """

    codes: Stored
    scales: Stored

    @property
    def form(self) -> Form:
        """``int8`` or ``int4``."""
        return form_of_codes(self.codes.dtype)


def with_quantized(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """The same tensors, codes and their scales put together."""
    found: dict[str, Stored] = {}
    for key, stored in tensors.items():
        if key.endswith(SCALES) and key.removesuffix(SCALES) in tensors:
            continue
        scales = tensors.get(f"{key}{SCALES}")
        found[key] = stored if scales is None else _together(stored, scales)
    return found


def _together(codes: Stored, scales: Stored) -> QuantizedStored:
    form = form_of_codes(codes.dtype)
    inputs = codes.shape[1] * (2 if form == "int4" else 1)

    def make() -> torch.Tensor:
        return dequantize(codes.read(), scales.read(), form, inputs, torch.float32)

    return QuantizedStored(torch.Size((codes.shape[0], inputs)), torch.float32, make, codes, scales)


def config_of(form: Form) -> dict[str, Any]:
    """``quantization_config`` of a checkpoint whose linear layers are in ``form``."""
    return {"quant_method": METHOD, "form": form, "group": GROUP, "version": 1}


def is_ours(how: Any) -> bool:
    """Whether a ``quantization_config`` is one of ours, of a version that is known here."""
    return (
        isinstance(how, Mapping)
        and how.get("quant_method") == METHOD
        and how.get("group") == GROUP
        and how.get("version") == 1
    )
