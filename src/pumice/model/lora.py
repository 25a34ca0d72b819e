"""Low-rank adapters (LoRA and DoRA), added to the weights they were trained for.

W' = W + scale * B A, with scale = alpha / r (or alpha / sqrt(r)), computed in float32: what PEFT's
``merge_and_unload`` does. With DoRA (https://arxiv.org/abs/2402.09353) each row of W' then gets the length
that was trained for it. Legend: O outputs, I inputs of a linear layer, R rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.model.nf4 import Quantization, require_bitsandbytes, rounded
from pumice.model.stored import Stored
from pumice.model.weights import open_file, read_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_LEAD = "base_model.model."
_NAME = re.compile(
    r"(?P<module>.+)\.lora_(?:(?P<side>[AB])(\.default)?\.weight|magnitude_vector(\.default)?(\.weight)?)"
)
_LENGTHS = "magnitude"
_OTHER_KINDS = (
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
)
"""Settings of PEFT that make an adapter more than two matrices and lengths."""
_CHANGE_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq", "mica")
"""First values that PEFT takes from the base weights, and takes away there."""


def combine(
    weight_OI: Tensor, down_RI: Tensor, up_OR: Tensor, scale: float, lengths_O: Tensor | None = None
) -> Tensor:
    """The weights [O, I] that an adapter stands for, float32, on the base weights' device.

    Args:
        weight_OI: the base weights.
        down_RI, up_OR: LoRA's A and B.
        scale: of their product.
        lengths_O: DoRA's trained lengths of the rows; None for plain LoRA.
    """
    place = weight_OI.device
    product_OI = up_OR.to(place, torch.float32) @ down_RI.to(place, torch.float32)
    sum_OI = weight_OI.float() + scale * product_OI
    if lengths_O is None:
        return sum_OI
    factor_O: Tensor = lengths_O.to(place, torch.float32) / torch.linalg.norm(sum_OI, dim=1)
    return factor_O[:, None] * sum_OI


def merged(
    tensors: Mapping[str, Stored], folder: Path, quantization: Quantization | None = None
) -> dict[str, Stored]:
    """The same tensors with the adapter of ``folder`` added, each when it is read.

    Sums are float32 whatever type the base has: they are rounded once, to the type that a model is loaded in.

    Args:
        tensors: of the base model, by the names the adapter was trained with.
        folder: has ``adapter_config.json`` and the adapter's weights.
        quantization: how the weights that the adapter changes were quantised while it was trained: it is
            added to what they were then.

    Raises:
        CheckpointError: a file is missing, the adapter is of another kind than LoRA or DoRA, or it is not for
            these tensors; names the key and both shapes.
        MissingExtraError: ``quantization`` needs a library that is not installed.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    _check_plain(config, folder)
    if quantization is not None:
        require_bitsandbytes(str(folder))
    pairs = _pairs(folder, dora=bool(config.get("use_dora")))
    result = dict(tensors)
    for module, sides in sorted(pairs.items()):
        key = f"{module}.weight"
        if key not in tensors:
            raise CheckpointError(
                f"the adapter changes {module}, which the base model does not have",
                where=str(folder),
                remedy="give the base model that the adapter was trained on: "
                f"{config.get('base_model_name_or_path') or 'see adapter_config.json'}",
            )
        _check_shapes(tensors[key], sides, config, key, folder)
        result[key] = _sum(tensors[key], sides, _scale(config, module), config, quantization)
    return result


def adapter_tensors(folder: Path) -> dict[str, Stored]:
    """The tensors of an adapter's folder, none of them read yet.

    Raises:
        CheckpointError: there are none.
    """
    file = next((folder / name for name in ADAPTERS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"the adapter's weights are missing: {' or '.join(ADAPTERS)}",
            where=str(folder),
            remedy="copy the whole folder",
        )
    return open_file(file)


def _pairs(folder: Path, dora: bool) -> dict[str, dict[str, Stored]]:
    """The matrices A and B, and DoRA's lengths, of every module that the adapter changes."""
    pairs: dict[str, dict[str, Stored]] = {}
    for key, tensor in adapter_tensors(folder).items():
        match = _NAME.fullmatch(key)
        if match is None:
            raise CheckpointError(
                f"the adapter has {key}, which is no LoRA matrix of a linear layer",
                where=str(folder),
                remedy="merge it with PEFT first and give the merged model",
            )
        module = match["module"].removeprefix(_LEAD)
        pairs.setdefault(module, {})[match["side"] or _LENGTHS] = tensor
    wanted = {"A", "B", _LENGTHS} if dora else {"A", "B"}
    for module, sides in pairs.items():
        if set(sides) != wanted:
            raise CheckpointError(
                f"the adapter has {', '.join(sorted(sides))} for {module}, but {', '.join(sorted(wanted))} "
                "belong together",
                where=str(folder),
                remedy="copy the whole folder",
            )
    return pairs


def _check_plain(config: Mapping[str, Any], folder: Path) -> None:
    wrong = [
        f"{field} {config[field]!r}"
        for field, plain in (("peft_type", "LORA"), ("bias", "none"))
        if config.get(field, plain) != plain
    ]
    wrong += [field for field in _OTHER_KINDS if config.get(field)]
    first = config.get("init_lora_weights", True)
    wrong += [f"init_lora_weights {first!r}"] if str(first).startswith(_CHANGE_BASE) else []
    if wrong:
        raise CheckpointError(
            f"the adapter has {', '.join(wrong)}, which cannot be merged here",
            where=str(folder / ADAPTER_CONFIG),
            remedy="merge it with PEFT first and give the merged model",
        )


def _scale(config: Mapping[str, Any], module: str) -> float:
    rank = _by_pattern(config.get("rank_pattern"), module, config.get("r"))
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    return float(alpha / (rank**0.5 if config.get("use_rslora") else rank))


def _by_pattern(patterns: Mapping[str, float] | None, module: str, otherwise: float | None) -> float:
    """The value of the first pattern that ends the module's name, as PEFT matches them."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return float(value)
    if otherwise is None:
        raise CheckpointError("the adapter does not tell r and lora_alpha", where=ADAPTER_CONFIG)
    return float(otherwise)


def _check_shapes(
    base: Stored, sides: Mapping[str, Stored], config: Mapping[str, Any], key: str, folder: Path
) -> None:
    down, up = sides["A"], sides["B"]
    shape = torch.Size([up.shape[0], down.shape[1]] if len(up.shape) == len(down.shape) == 2 else [])
    lengths = sides[_LENGTHS].shape if _LENGTHS in sides else shape[:1]
    own = base.shape[::-1] if config.get("fan_in_fan_out") else base.shape
    if shape != own or up.shape[1] != down.shape[0] or lengths != shape[:1]:
        told = f" and lengths {list(lengths)}" if _LENGTHS in sides else ""
        raise CheckpointError(
            f"the adapter's matrices for {key} have shapes {list(down.shape)} and {list(up.shape)}{told}, "
            f"which do not fit the base model's {list(base.shape)}",
            where=str(folder),
            remedy="give the base model that the adapter was trained on",
        )


def _sum(
    base: Stored,
    sides: Mapping[str, Stored],
    scale: float,
    config: Mapping[str, Any],
    quantization: Quantization | None,
) -> Stored:
    turned = bool(config.get("fan_in_fan_out"))

    def add(weight: Tensor) -> Tensor:
        weight_OI = weight.T if turned else weight
        if quantization is not None:
            weight_OI = rounded(weight_OI, quantization)
        lengths = sides[_LENGTHS].read() if _LENGTHS in sides else None
        result_OI = combine(weight_OI, sides["A"].read(), sides["B"].read(), scale, lengths)
        return result_OI.T if turned else result_OI

    return base.then(add)
