"""Linear layers whose weights stay in 8 or 4 bits (or bfloat16, in the kernel's order), for answering.

Legend: O outputs, I inputs, G groups of 32 inputs, T rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumice.model.quantized.forms import (
    GROUP,
    TILE,
    Form,
    dequantize,
    from_tiles,
    groups_of,
    quantize,
    to_tiles,
)
from pumice.model.quantized.kernel import KINDS, Kernel, Matrix

ATEN_OUTPUTS = 64
"""torch's int4 product on CPUs takes outputs in multiples of this."""


class QuantizedLinear(nn.Module):
    """A linear layer for answering, never for training; its weights have no gradients.

    With a kernel, weights lie in tiles and a row's result does not depend on the rows beside it. Without,
    they lie as on disk and are brought to the input's type for each call; in 4 bits on a CPU torch has a
    product of its own, for bfloat16. Where gradients by the input are wanted, they go through plain weights.

    Args:
        codes, scales: as ``forms.quantize`` gives them; of ``bf16`` the weights [O, I] and None.
        bias: [O], or None.
        form: of the weights.
        inputs: I.
        kernel: computes on the CPU; None for torch.
    """

    codes: Tensor
    scales: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        codes: Tensor,
        scales: Tensor | None,
        bias: Tensor | None,
        form: Form,
        inputs: int,
        kernel: Kernel | None,
    ) -> None:
        super().__init__()
        self.form: Form = form
        self.out_features, self.in_features = codes.shape[0], inputs
        self.kernel = kernel
        self._made: Any = None
        if kernel is not None:
            tiles, scales = to_tiles(codes, scales, form)
            codes = kernel.empty(*tiles.shape, dtype=tiles.dtype).copy_(tiles)
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        self.register_buffer("bias", None if bias is None else _filled(bias), persistent=False)

    @classmethod
    def of(cls, weight_OI: Tensor, bias: Tensor | None, form: Form, kernel: Kernel | None) -> QuantizedLinear:
        """The layer of weights that are quantised here."""
        codes, scales = (weight_OI, None) if form == "bf16" else quantize(weight_OI, form)
        return cls(codes, scales, bias, form, weight_OI.shape[1], kernel)

    def plain(self) -> tuple[Tensor, Tensor | None]:
        """Codes and scales as on disk."""
        if self.kernel is None:
            return self.codes, self.scales
        return from_tiles(self.codes, self.scales, self.form, self.out_features)

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """The weights [O, I] in another type."""
        codes, scales = self.plain()
        if scales is None:
            return codes[:, : self.in_features].to(dtype)
        return dequantize(codes, scales, self.form, self.in_features, dtype)

    def bias_as(self, dtype: torch.dtype) -> Tensor | None:
        """The bias [O] in another type."""
        return None if self.bias is None else self.bias[: self.out_features].to(dtype)

    def forward(self, input_xI: Tensor) -> Tensor:
        """Outputs [..., O] of inputs [..., I], in the inputs' type."""
        if torch.is_grad_enabled() and input_xI.requires_grad:
            # Of products of codes torch knows no derivative by the input; of plain weights it does.
            return F.linear(input_xI, self.weight_as(input_xI.dtype), self.bias_as(input_xI.dtype))
        if self.kernel is not None and input_xI.dtype in (torch.float32, torch.bfloat16):
            rows_TI = input_xI.detach().reshape(-1, self.in_features).contiguous()
            rows_TO = self.kernel.linear(self.matrix(), rows_TI, self.out_features)
            return rows_TO.view(*input_xI.shape[:-1], self.out_features)
        if self._aten(input_xI):
            rows_TI = input_xI.reshape(-1, self.in_features)
            packed, scales = self._packed()
            rows_TO = torch._weight_int4pack_mm_for_cpu(rows_TI, packed, GROUP, scales)
            bias = self.bias_as(rows_TO.dtype)
            if bias is not None:
                rows_TO = rows_TO + bias
            return rows_TO.view(*input_xI.shape[:-1], self.out_features)
        return F.linear(input_xI, self.weight_as(input_xI.dtype), self.bias_as(input_xI.dtype))

    def _aten(self, input_xI: Tensor) -> bool:
        fits = self.out_features % ATEN_OUTPUTS == 0 and self.in_features % GROUP == 0
        few = input_xI.shape[:-1].numel() <= GROUP  # of more, the weights are brought to bfloat16 once
        if input_xI.requires_grad and torch.is_grad_enabled():
            return False  # torch knows no gradient of it
        return self.form == "int4" and input_xI.is_cpu and input_xI.dtype == torch.bfloat16 and fits and few

    def _packed(self) -> tuple[Tensor, Tensor]:
        """The weights in the order of torch's product; made at the first call, instead of ours."""
        if self._made is None:
            low, high = self.codes & 15, self.codes >> 4
            codes = torch.stack((low, high), dim=-1).flatten(1).to(torch.int32)
            assert self.scales is not None
            scale_GO = self.scales.t()
            pair_GO2 = torch.stack((scale_GO, torch.zeros_like(scale_GO)), dim=-1).contiguous()
            self._made = (torch._convert_weight_to_int4pack_for_cpu(codes, 1), pair_GO2)
        packed, pair_GO2 = self._made
        return packed, pair_GO2

    def matrix(self) -> Any:
        """What the kernel calls this layer."""
        if self._made is None:
            self._made = matrix_of(
                self.codes, self.scales, self.bias, self.form, self.out_features, self.in_features
            )
        return self._made

    def view_of(self, codes: Tensor, scales: Tensor | None) -> None:
        """Let the weights lie in another memory, which holds the same."""
        self.codes, self.scales, self._made = codes, scales, None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        """Move to another device; types stay. Away from the CPU, weights leave the kernel's order."""
        device = fn(torch.empty(0, dtype=torch.uint8, device=self.codes.device)).device
        if device != self.codes.device:
            codes, scales = self.plain()
            if self.kernel is not None and self.form == "bf16":
                codes = codes[:, : self.in_features].contiguous()
            self.kernel = None
            self.codes = codes.to(device)
            self.scales = None if scales is None else scales.to(device)
            self.bias = None if self.bias is None else self.bias.to(device)
            self._made = None
        return self

    def extra_repr(self) -> str:
        """As ``nn.Linear``, and the form."""
        path = "torch" if self.kernel is None else self.kernel.path
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.form}, {path}"


def matrix_of(
    codes: Tensor, scales: Tensor | None, bias: Tensor | None, form: Form, outs: int, inputs: int
) -> Any:
    """The kernel's name for tiles; it holds addresses, so the tensors must outlive it."""
    return Matrix(
        codes.data_ptr(),
        None if scales is None else scales.data_ptr(),
        None if bias is None else bias.data_ptr(),
        KINDS[form],
        outs,
        inputs,
        codes.shape[0],
        groups_of(inputs),
    )


def pointer(structure: Any) -> Any:
    """A reference that ctypes passes on."""
    return ctypes.byref(structure)


def _filled(bias: Tensor) -> Tensor:
    """A bias in float32, zeros behind it to a multiple of 16."""
    return F.pad(bias.detach().float(), (0, -bias.shape[0] % TILE))
