"""Low-rank adapters (LoRA), added to the weights they were trained for.

W' = W + scale * B A, with scale = alpha / r (or alpha / sqrt(r)), computed in float32: what PEFT's
``merge_and_unload`` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.model.stored import Stored
from pumice.model.weights import open_file, read_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_LEAD = "base_model.model."
_NAME = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")


def merged(tensors: Mapping[str, Stored], folder: Path) -> dict[str, Stored]:
    """The same tensors with the adapter of ``folder`` added, each when it is read.

    Args:
        tensors: of the base model, by the names the adapter was trained with.
        folder: has ``adapter_config.json`` and the adapter's weights.

    Raises:
        CheckpointError: a file is missing, the adapter is of another kind than plain LoRA, or it is not for
            these tensors; names the key and both shapes.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    _check_plain(config, folder)
    pairs = _pairs(folder)
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
        result[key] = _sum(tensors[key], sides, _scale(config, module), config, key, folder)
    return result


def _pairs(folder: Path) -> dict[str, dict[str, Stored]]:
    """The matrices A and B of every module that the adapter changes."""
    file = next((folder / name for name in ADAPTERS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"the adapter's weights are missing: {' or '.join(ADAPTERS)}",
            where=str(folder),
            remedy="copy the whole folder",
        )
    pairs: dict[str, dict[str, Stored]] = {}
    for key, tensor in open_file(file).items():
        match = _NAME.fullmatch(key)
        if match is None:
            raise CheckpointError(
                f"the adapter has {key}, which is no LoRA matrix of a linear layer",
                where=str(file),
                remedy="merge it with PEFT first and give the merged model",
            )
        module = match["module"].removeprefix(_LEAD)
        pairs.setdefault(module, {})[match["side"]] = tensor
    for module, sides in pairs.items():
        if set(sides) != {"A", "B"}:
            raise CheckpointError(f"the adapter has half of the pair for {module}", where=str(file))
    return pairs


def _check_plain(config: Mapping[str, Any], folder: Path) -> None:
    wrong = [
        f"{field} {config[field]!r}"
        for field, plain in (("peft_type", "LORA"), ("bias", "none"), ("use_dora", False))
        if config.get(field, plain) != plain
    ]
    wrong += ["modules_to_save"] if config.get("modules_to_save") else []
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


def _sum(
    base: Stored,
    sides: Mapping[str, Stored],
    scale: float,
    config: Mapping[str, Any],
    key: str,
    folder: Path,
) -> Stored:
    down, up = sides["A"], sides["B"]
    turned = bool(config.get("fan_in_fan_out"))
    shape = torch.Size([up.shape[0], down.shape[1]] if len(up.shape) == len(down.shape) == 2 else [])
    if shape != (base.shape[::-1] if turned else base.shape) or up.shape[1] != down.shape[0]:
        raise CheckpointError(
            f"the adapter's matrices for {key} have shapes {list(down.shape)} and {list(up.shape)}, "
            f"which do not fit the base model's {list(base.shape)}",
            where=str(folder),
            remedy="give the base model that the adapter was trained on",
        )

    def add(weight: Tensor) -> Tensor:
        delta = scale * (up.read().float() @ down.read().float())
        return (weight.float() + (delta.T if turned else delta)).to(weight.dtype)

    return base.then(add)
