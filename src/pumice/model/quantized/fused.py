"""Decoder layers of Llama's kind as one call of the kernel, where an engine answers many sequences at once.

A layer keeps its modules and its own ``forward``; a faster one stands before it and takes what it can: rows
of sequences whose keys lie in the engine's memory (``Ragged``). Everything else goes the old way.

Legend: T new tokens, S sequences of one new token, H heads of queries, h of keys, P places of the memory, D
width of a head, W width of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from pumice.heap import give_back
from pumice.model.filling import CARRIED
from pumice.model.layers import layer_list
from pumice.model.quantized.forms import TILE
from pumice.model.quantized.kernel import Kernel, Layer, Pass
from pumice.model.quantized.linear import QuantizedLinear, matrix_of
from pumice.model.ragged import CarriedRagged, Ragged, stretches_attention

KNOWN = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")
"""Layers of transformers that the kernel computes: RMS norms, rotated halves, SiLU, sums of two kinds."""
ALL, BEFORE, BEHIND = 0, 1, 2


def fuse(lm: Any) -> int:
    """Let the kernel compute whole layers of a causal LM; how many it does.

    Weights of queries, keys and values come to lie behind each other, and those of gate and up.

    Args:
        lm: its linear layers are ``QuantizedLinear`` with a kernel.
    """
    fused = [one for one in lm.modules() if isinstance(one, GradientCheckpointingLayer) and fits(one)]
    layers = layer_list(lm)
    for layer in fused:
        layer.forward = FusedLayer(layer, layer.forward, last=layers is not None and layer is layers[-1])
        give_back()  # where its weights lay before: of 7B in 4 bits 2.4 GB would stay with the process
    return len(fused)


def fits(layer: Any) -> bool:
    """Whether the kernel can compute a layer."""
    if type(layer).__name__ not in KNOWN:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    linears = [
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    ]
    if not all(isinstance(one, QuantizedLinear) and one.kernel is not None for one in linears):
        return False
    together = (linears[:3], linears[4:6])
    return (isinstance(mlp.act_fn, nn.SiLU) or type(mlp.act_fn).__name__ == "SiLUActivation") and all(
        len({one.form for one in group}) == 1 and all(one.out_features % TILE == 0 for one in group)
        for group in together
    )


class FusedLayer:
    """What is called in the place of a layer's ``forward``.

    Args:
        layer: the layer; its weights are moved, and stay its own.
        before: its ``forward``.
        last: whether no layer follows, so that only tokens count from which something is drawn.
    """

    def __init__(self, layer: Any, before: Callable[..., Any], *, last: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._before, self._last = before, last
        self._index = int(attention.layer_idx)
        self._kernel: Kernel = attention.q_proj.kernel
        self._linears = {
            "qkv": (attention.q_proj, attention.k_proj, attention.v_proj),
            "out": (attention.o_proj,),
            "gate_up": (mlp.gate_proj, mlp.up_proj),
            "down": (mlp.down_proj,),
        }
        self._held: list[Tensor] = []
        norms = [one.weight.detach().float().contiguous() for one in _norms(layer)]
        self._held += norms
        self.heads = attention.q_proj.out_features // attention.head_dim
        self.head_dim = int(attention.head_dim)
        self.scaling = float(attention.scaling)
        self._layer = Layer(
            *(self._joined(group) for group in self._linears.values()),
            norms[0].data_ptr(),
            norms[1].data_ptr(),
            *(float(one.variance_epsilon) for one in _norms(layer)),
            self.scaling,
            attention.q_proj.in_features,
            self.heads,
            attention.k_proj.out_features // attention.head_dim,
            self.head_dim,
            mlp.down_proj.in_features,
        )

    def _joined(self, group: tuple[QuantizedLinear, ...]) -> Any:
        """One matrix of several layers of the same input; they become views of it."""
        if len(group) == 1:
            return group[0].matrix()
        first = group[0]
        counts = [one.codes.shape[0] for one in group]
        codes = self._kernel.empty(sum(counts), first.codes.shape[1], dtype=torch.uint8)
        torch.cat([one.codes for one in group], out=codes)
        scales = None
        if first.scales is not None:
            scales = torch.cat([one.scales for one in group if one.scales is not None])
        bias = None
        if any(one.bias is not None for one in group):
            bias = torch.cat(
                [torch.zeros(one.out_features) if one.bias is None else one.bias for one in group]
            )
        start = 0
        for one, count in zip(group, counts, strict=True):
            one.view_of(
                codes[start : start + count], None if scales is None else scales[start : start + count]
            )
            start += count
        self._held += [made for made in (codes, scales, bias) if made is not None]
        outs = sum(one.out_features for one in group)
        return matrix_of(codes, scales, bias, first.form, outs, first.in_features)

    def __call__(
        self,
        hidden_states: Tensor,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: Any = False,
        position_embeddings: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As the layer's own ``forward``."""
        carried = getattr(attention_mask, CARRIED, None)
        if isinstance(carried, CarriedRagged) and not torch.is_grad_enabled():
            memory = _memory(past_key_values, self._index)
            kinds = (torch.float32, torch.bfloat16)
            same = position_embeddings[0].dtype == hidden_states.dtype and hidden_states.dtype in kinds
            if memory is not None and same and memory[0].is_cpu and memory[0].dtype in kinds:
                return self._compute(hidden_states, carried, position_embeddings, *memory)
        return self._before(
            hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            position_embeddings=position_embeddings,
            **kwargs,
        )

    def _compute(
        self,
        hidden_1TW: Tensor,
        carried: CarriedRagged,
        rotations: tuple[Tensor, Tensor],
        keys_hPD: Tensor,
        values_hPD: Tensor,
    ) -> Tensor:
        ragged = carried.ragged
        room = _room(carried, self.heads * self.head_dim)
        input_TW = hidden_1TW[0].contiguous()
        output_TW = torch.empty_like(input_TW)
        cos, sin = (one.contiguous() for one in rotations)
        call = Pass(
            input_TW.data_ptr(),
            output_TW.data_ptr(),
            int(input_TW.dtype == torch.bfloat16),
            ragged.tokens,
            ragged.singles,
            cos.data_ptr(),
            sin.data_ptr(),
            ragged.places().data_ptr(),
            room.starts.data_ptr(),
            room.counts.data_ptr(),
            keys_hPD.data_ptr(),
            values_hPD.data_ptr(),
            keys_hPD.shape[1],
            int(keys_hPD.dtype == torch.bfloat16),
            room.query.data_ptr(),
            room.attended.data_ptr(),
            torch.get_num_threads(),
            ALL,
        )
        if ragged.singles == len(ragged.stretches):
            self._kernel.layer(self._layer, call)
            return output_TW[None]
        call.stage = BEFORE
        self._kernel.layer(self._layer, call)
        if self._last and ragged.drawing is not None:
            return self._ends(call, carried, room, input_TW, keys_hPD, values_hPD)
        query_HTD = room.query.view(-1, self.heads, self.head_dim).transpose(0, 1).to(keys_hPD.dtype)
        found_THD = room.attended.view(-1, self.heads, self.head_dim)
        stretches_attention(
            query_HTD, keys_hPD, values_hPD, carried, self.scaling, None, found_THD, first=ragged.singles
        )
        call.stage = BEHIND
        self._kernel.layer(self._layer, call)
        return output_TW[None]

    def _ends(
        self,
        call: Any,
        carried: CarriedRagged,
        room: _Room,
        input_TW: Tensor,
        keys_hPD: Tensor,
        values_hPD: Tensor,
    ) -> Tensor:
        """What follows the keys of the last layer, for the R ends that something is drawn from: [1, R, W]."""
        drawn_R = torch.tensor(carried.ragged.drawn, dtype=torch.int64)
        input_RW = input_TW[drawn_R]
        output_RW = torch.empty_like(input_RW)
        if not drawn_R.numel():
            return output_RW[None]
        found_RX, query_RX = room.attended[drawn_R], room.query[drawn_R]
        singles = sum(number < carried.ragged.singles for number in carried.ragged.drawing or ())
        stretches_attention(
            query_RX.view(-1, self.heads, self.head_dim).transpose(0, 1).to(keys_hPD.dtype),
            keys_hPD,
            values_hPD,
            CarriedRagged(carried.ragged.ends(), carried.window),
            self.scaling,
            None,
            found_RX.view(-1, self.heads, self.head_dim),
            first=singles,
        )
        call.input, call.output, call.rows = input_RW.data_ptr(), output_RW.data_ptr(), len(drawn_R)
        call.attended, call.stage = found_RX.data_ptr(), BEHIND
        self._kernel.layer(self._layer, call)
        return output_RW[None]


class _Room(NamedTuple):
    """What all layers of a pass share: where keys begin, how many there are, queries, what they found."""

    starts: Tensor
    counts: Tensor
    query: Tensor
    attended: Tensor


def _room(carried: CarriedRagged, wide: int) -> _Room:
    ragged: Ragged = carried.ragged
    name = ("fused", carried.window, wide)
    if name not in ragged.made:
        singles = ragged.stretches[: ragged.singles]
        window = carried.window
        counts = [one.keys if window is None else min(one.keys, window) for one in singles]
        starts = [one.start + one.keys - count for one, count in zip(singles, counts, strict=True)]
        ragged.made[name] = _Room(
            torch.tensor(starts, dtype=torch.int64),
            torch.tensor(counts, dtype=torch.int64),
            torch.empty(ragged.tokens, wide),
            torch.empty(ragged.tokens, wide),
        )
    found: _Room = ragged.made[name]
    return found


def _memory(cache: Any, index: int) -> tuple[Tensor, Tensor] | None:
    """The keys and values [h, P, D] of an engine's memory; None for any other cache."""
    found = getattr(cache.layers[index], "memory", None) if cache is not None else None
    return None if found is None else found()


def _norms(layer: Any) -> tuple[Any, Any]:
    return layer.input_layernorm, layer.post_attention_layernorm
