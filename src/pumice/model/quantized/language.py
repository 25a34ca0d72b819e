"""A language model whose linear layers are quantised as they are read, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, GenerationConfig

from pumice.errors import CheckpointError
from pumice.heap import give_back
from pumice.model.parts import model_class, quiet
from pumice.model.quantized.forms import GROUP, QUANTIZED, Form
from pumice.model.quantized.kernel import Kernel, find_kernel
from pumice.model.quantized.linear import QuantizedLinear
from pumice.model.quantized.stored import QuantizedStored
from pumice.model.sources import language_part
from pumice.model.stored import Stored
from pumice.model.weights import refuse_keys, refuse_shapes

TRIM = 8
"""After so many weights, what reading them left unused goes back to the system."""


def quantized_language(
    config: Any,
    tensors: Mapping[str, Stored],
    form: Form,
    dtype: torch.dtype,
    folder: Path,
    device: torch.device,
) -> Any:
    """A causal LM with linear layers in ``form``, all else in ``dtype``, in evaluation mode.

    Each weight is read, quantised and let go before the next. Of architectures whose tensors transformers
    renames as it loads them, all are read in ``dtype`` first. The head stays plain (unless it lies quantised
    on disk), so that rows can be added to it; ``quantize_head`` follows.

    Raises:
        CheckpointError: as ``language_part``; or the weights are quantised in another form already.
    """
    kernel = find_kernel() if device.type == "cpu" else None
    _check_form(tensors, form, str(folder))
    tensors = {key: value for key, value in tensors.items() if not key.endswith(".inv_freq")}
    lm = _skeleton(config, dtype)
    linears = _linears(lm)
    if not all(f"{name}.weight" in tensors for name in linears):
        lm = language_part(config, tensors, dtype, folder).to(device)
        for name, linear in _linears(lm).items():
            _put(lm, name, quantized(linear, form, kernel))
        return lm
    _check(lm, tensors, str(folder))
    for number, (name, linear) in enumerate(linears.items()):
        _put(lm, name, _read(linear, name, tensors, form, kernel, device))
        if number % TRIM == 0:
            give_back()
    head = next((name for name, one in lm.named_modules() if one is lm.get_output_embeddings()), "")
    if isinstance(tensors.get(f"{head}.weight"), QuantizedStored):
        _put(lm, head, _read(lm.get_output_embeddings(), head, tensors, form, kernel, device))
    for name, _ in list(lm.named_parameters()):
        if name in tensors:
            value = tensors[name].read().to(device, dtype)
            _put(lm, name, nn.Parameter(value, requires_grad=False))
    lm.tie_weights()
    if (folder / "generation_config.json").is_file():
        lm.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    lm.config._name_or_path = ""
    return lm.to(device).eval()


def quantize_head(lm: Any, form: Form) -> None:
    """Quantise the head of a causal LM; in 8 bits where the layers are in 4.

    A head in 4 bits would cost more of the quality than it saves of the memory. One that shares its weights
    with the embeddings gets its own.
    """
    head = lm.get_output_embeddings()
    if not isinstance(head, QuantizedLinear):
        kernel = find_kernel() if head.weight.device.type == "cpu" else None
        lm.set_output_embeddings(quantized(head, "int8" if form == "int4" else form, kernel))


def quantized(linear: nn.Linear, form: Form, kernel: Kernel | None) -> nn.Module:
    """A linear layer in ``form``, on its device; itself where nothing would be gained.

    Layers whose inputs are no multiple of a group stay in bfloat16.
    """
    form = _form_for(form, linear.in_features)
    if form == "bf16" and kernel is None:
        return linear
    given: Any = linear.bias  # torch's types do not say that it may be None
    bias = None if given is None else given.detach()
    return QuantizedLinear.of(linear.weight.detach(), bias, form, kernel)


def form_of(lm: Any) -> Form | None:
    """The form of a causal LM's linear layers; None where all are plain."""
    head = lm.get_output_embeddings()
    found = {one.form for one in lm.modules() if isinstance(one, QuantizedLinear) and one is not head}
    forms: tuple[Form, ...] = ("int4", "int8", "bf16")
    return next((form for form in forms if form in found), None)


def stored_form(tensors: Mapping[str, Stored]) -> Form | None:
    """The form in which linear layers lie on disk; None where they are plain."""
    found = {one.form for one in tensors.values() if isinstance(one, QuantizedStored)}
    return "int4" if "int4" in found else next(iter(found), None)


def _check_form(tensors: Mapping[str, Stored], form: Form, where: str) -> None:
    stored = stored_form(tensors)
    if stored is not None and form in QUANTIZED and form != stored:
        refuse_form(stored, form, where)


def refuse_form(stored: str, asked: str, where: str) -> NoReturn:
    """Refuse to quantise what is quantised.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(
        f"the weights are {stored} already, and {asked} was asked for",
        where=where,
        remedy=f"ask for {stored}, or give the checkpoint that was quantised",
    )


def _form_for(form: Form, inputs: int) -> Form:
    return "bf16" if inputs % GROUP else form


def _read(
    linear: Any,
    name: str,
    tensors: Mapping[str, Stored],
    form: Form,
    kernel: Kernel | None,
    device: torch.device,
) -> nn.Module:
    """The layer of a name, from its files; ``linear`` has its sizes alone."""
    stored, dtype = tensors[f"{name}.weight"], linear.weight.dtype
    bias = tensors[f"{name}.bias"].read() if f"{name}.bias" in tensors else None
    form = _form_for(form, linear.in_features)
    if isinstance(stored, QuantizedStored) and form != "bf16":
        codes, scales = stored.codes.read(), stored.scales.read().to(torch.bfloat16)
        return QuantizedLinear(codes, scales, bias, stored.form, linear.in_features, kernel).to(device)
    if form != "bf16" or kernel is not None:
        return QuantizedLinear.of(stored.read().to(device), bias, form, kernel).to(device)
    plain = nn.Linear(linear.in_features, linear.out_features, bias is not None, device="meta")
    plain.weight = nn.Parameter(stored.read().to(device, dtype), requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.to(device, dtype), requires_grad=False)
    return plain


class _Empty(TorchFunctionMode):
    """Parameters are made on the meta device; what a model computes when it is made (rotations) is real."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _skeleton(config: Any, dtype: torch.dtype) -> Any:
    """A causal LM of a config, its large parameters without memory."""
    kind = model_class(AutoModelForCausalLM, config)
    with torch.random.fork_rng(devices=[]), quiet(), torch.no_grad(), _Empty():
        return kind._from_config(config, dtype=dtype).eval()


def _linears(lm: Any) -> dict[str, nn.Linear]:
    """The linear layers of a causal LM by their names, without its head."""
    head = lm.get_output_embeddings()
    return {name: one for name, one in lm.named_modules() if type(one) is nn.Linear and one is not head}


def _check(lm: Any, tensors: Mapping[str, Stored], where: str) -> None:
    expected = {name: value.shape for name, value in lm.state_dict().items()}
    tied = set(getattr(lm, "_tied_weights_keys", None) or ()) if lm.config.tie_word_embeddings else set()
    refuse_keys(set(expected) - set(tensors) - tied, set(tensors) - set(expected), where)
    wrong = {key: (value.shape, expected[key]) for key, value in tensors.items()}
    refuse_shapes({key: both for key, both in wrong.items() if both[0] != both[1]}, where)


def _put(lm: Any, name: str, value: Tensor | nn.Module) -> None:
    """Put a module or a parameter into the place of the one of that name."""
    owner, _, leaf = name.rpartition(".")
    setattr(lm.get_submodule(owner), leaf, value)
