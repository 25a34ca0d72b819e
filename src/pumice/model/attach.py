"""Low-rank additions inside a language model, through PEFT: put in, read out, set, merged.

The language model stays what it is, with its own class, names and head: PEFT's layers stand in the places of
its linear ones (``inject_adapter_in_model``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pumice.errors import CheckpointError, MissingExtraError, RunError, suggest
from pumice.model.lora import combine
from pumice.model.nf4 import Quantization, bitsandbytes, dequantized, quantized, require_bitsandbytes, rounded
from pumice.recipes.schema import Lora

LEAD = "base_model.model."
"""What PEFT puts before the names of an adapter's tensors."""
_NAME = "default"
_MARK = "lora_"


def require_peft(where: str) -> None:
    """MissingExtraError where PEFT is not installed."""
    if find_spec("peft") is None:
        raise MissingExtraError(
            "low-rank adapters need the library PEFT, which is not installed",
            where=where,
            remedy="pip install 'pumice[lora]'",
        )


def require_extras(lora: Lora, where: str) -> None:
    """MissingExtraError where a library that a stage's adapters need is not installed."""
    if lora.quantize is not None:
        require_bitsandbytes(f"{where}.quantize")
    require_peft(where)


def is_addition(name: str) -> bool:
    """Whether a parameter of a language model is part of an adapter, by its name."""
    return _MARK in name


def linear_layers(lm: Any) -> dict[str, nn.Linear]:
    """The linear layers of a causal LM by name, without its head."""
    head = lm.get_output_embeddings()
    return {
        name: module
        for name, module in lm.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def target_names(lm: Any, wanted: Sequence[str], where: str) -> list[str]:
    """The last parts of the names of the layers that get an addition: those wanted, or all linear ones.

    Raises:
        RunError: the model has no such linear layer; names those it has.
    """
    known = sorted({name.rpartition(".")[2] for name in linear_layers(lm)})
    if not known:
        raise RunError(
            f"{type(lm).__name__} has no linear layers that additions could be trained for",
            where=where,
            remedy="choose another language model, or remove lora",
        )
    for name in wanted:
        if name not in known:
            raise RunError(
                f"the language model has no linear layer {name!r}",
                where=f"{where}.targets",
                remedy=suggest(name, known),
            )
    return sorted(wanted) or known


def peft() -> Any:
    """The library; what it imports by itself comes in as ``pumice.model.nf4`` wants it."""
    if find_spec("bitsandbytes") is not None:
        bitsandbytes()
    import peft as library

    return library


def new_config(lm: Any, lora: Lora, where: str) -> Any:
    """PEFT's ``LoraConfig`` of a stage's ``lora`` for this language model."""
    return peft().LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_names(lm, lora.targets, where),
        use_dora=lora.dora,
    )


class Attached:
    """A language model with an adapter in it.

    Args:
        lm: a causal LM; its linear layers are replaced, in ``lm`` itself.
        config: PEFT's ``LoraConfig``.
        quantization: hold the weights under the additions in 4 bits; None leaves them as they are.
        seed: of the first values, which do not depend on the device.
    """

    def __init__(self, lm: Any, config: Any, quantization: Quantization | None, *, seed: int = 0) -> None:
        self.lm, self.config, self.quantization = lm, config, quantization
        names = _chosen(lm, config)
        self._biases = {name: lm.get_submodule(name).bias for name in names}
        if quantization is not None:
            for name in names:  # one at a time: the plain weights of each are let go of at once
                _put(lm, name, quantized(lm.get_submodule(name), quantization))
            lm.is_loaded_in_4bit = True  # so that PEFT takes the layers for what they are
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                planned = lm.device.type == "meta"  # sizes alone: additions need no room either
                peft().inject_adapter_in_model(config, lm, adapter_name=_NAME, low_cpu_mem_usage=planned)
        finally:
            if quantization is not None:
                del lm.is_loaded_in_4bit
        # PEFT gives additions the type that 4-bit layers compute in; in bfloat16 small steps would be lost.
        for name, parameter in lm.named_parameters():
            if is_addition(name):
                parameter.data = parameter.data.float()
        config.target_modules = sorted(config.target_modules)
        lm.train(lm.training)  # PEFT's new layers come in training mode, with their dropout

    @property
    def layers(self) -> dict[str, Any]:
        """PEFT's layers by the names of those they stand for."""
        from peft.tuners.lora import LoraLayer

        return {name: layer for name, layer in self.lm.named_modules() if isinstance(layer, LoraLayer)}

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's tensors, float32 on the CPU, by the names in which PEFT saves them."""
        found = peft().get_peft_model_state_dict(self.lm, adapter_name=_NAME, save_embedding_layers=False)
        return {
            LEAD + name: tensor.detach().to("cpu", torch.float32).contiguous()
            for name, tensor in found.items()
        }

    def set(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Put saved tensors in.

        Raises:
            CheckpointError: one is missing, unexpected or of another shape.
        """
        own = self.tensors()
        wrong = sorted(own.keys() ^ tensors.keys())
        wrong += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
        if wrong:
            raise CheckpointError(
                f"the adapter's tensors do not fit this language model: {', '.join(wrong[:6])}",
                where=where,
                remedy="give the base model that the adapter was trained on",
            )
        peft().set_peft_model_state_dict(self.lm, dict(tensors), adapter_name=_NAME)

    @torch.no_grad()
    def merge(self) -> None:
        """Make plain linear layers of the sums, float32 ones; the language model is then as it was before.

        Weights that were quantised become what they were while they trained, and not the ones from before:
        the additions were trained beside their rounding.
        """
        for name, layer in self.layers.items():
            base = layer.get_base_layer()
            weight_OI = base.weight if self.quantization is None else dequantized(base)
            magnitude = layer.lora_magnitude_vector
            sum_OI = combine(
                weight_OI,
                layer.lora_A[_NAME].weight,
                layer.lora_B[_NAME].weight,
                float(layer.scaling[_NAME]),
                magnitude[_NAME].weight if _NAME in magnitude else None,
            )
            with torch.device("meta"):
                plain = nn.Linear(sum_OI.shape[1], sum_OI.shape[0], bias=False)
            plain.weight = nn.Parameter(sum_OI)
            plain.bias = self._biases[name]
            _put(self.lm, name, plain.train(layer.training))
        del self.lm.peft_config


@torch.no_grad()
def round_weights(lm: Any, config: Any, how: Quantization) -> None:
    """Give the layers that an adapter changes the weights that they had in 4 bits, in their own type."""
    for name in _chosen(lm, config):
        weight_OI = lm.get_submodule(name).weight
        weight_OI.copy_(rounded(weight_OI, how))


def _chosen(lm: Any, config: Any) -> list[str]:
    return [name for name in linear_layers(lm) if name.rpartition(".")[2] in config.target_modules]


def _put(lm: Any, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(lm.get_submodule(parent), last, module)
