"""Writes folders as the original LLaVA's code does, key by key; nothing of Pumice's own writer is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def language_tensors(model: Any, rows: int) -> dict[str, Tensor]:
    """The language model's tensors with the vocabulary cut to ``rows``, as before ``<image>`` was added."""
    tensors = {key: value.detach().clone() for key, value in model.lm.state_dict().items()}
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[key] = tensors[key][:rows].clone()
    return tensors


def projector_tensors(model: Any) -> dict[str, Tensor]:
    """``model.mm_projector.*``; a linear one has no number."""
    tensors = {}
    for key, value in model.connector.state_dict().items():
        name = key.removeprefix("0.") if model.config.connector == "linear" else key
        tensors[f"model.mm_projector.{name}"] = value.detach().clone()
    return tensors


def tower_tensors(model: Any) -> dict[str, Tensor]:
    """The tower as CLIPVisionTower holds it."""
    lead = "model.vision_tower.vision_tower.vision_model."
    return {
        lead + key.removeprefix("vision_model."): value.detach().clone()
        for key, value in model.tower.model.state_dict().items()
    }


def config(model: Any, rows: int, tower: str, **changes: Any) -> dict[str, Any]:
    """``config.json`` of LLaVA 1.5."""
    lm = model.lm.config
    fields = {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "bos_token_id": lm.bos_token_id,
        "eos_token_id": lm.eos_token_id,
        "freeze_mm_mlp_adapter": False,
        "hidden_act": "silu",
        "hidden_size": lm.hidden_size,
        "image_aspect_ratio": "pad",
        "image_grid_pinpoints": None,
        "initializer_range": 0.02,
        "intermediate_size": lm.intermediate_size,
        "max_position_embeddings": lm.max_position_embeddings,
        "mm_hidden_size": model.tower.dim,
        "mm_projector_type": model.config.connector,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": model.config.select_layer,
        "mm_vision_tower": tower,
        "num_attention_heads": lm.num_attention_heads,
        "num_hidden_layers": lm.num_hidden_layers,
        "num_key_value_heads": lm.num_key_value_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": lm.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "tokenizer_model_max_length": 2048,
        "torch_dtype": "float16",
        "transformers_version": "4.31.0",
        "tune_mm_mlp_adapter": False,
        "unfreeze_mm_vision_tower": False,
        "use_cache": True,
        "use_mm_proj": True,
        "vocab_size": rows,
    }
    return {**fields, **changes}


def write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2))


def write_full(
    folder: Path,
    model: Any,
    tokenizer: Any,
    tower: str,
    *,
    pickled: bool = False,
    shards: int = 2,
    inside: bool = False,
    extra: dict[str, Tensor] | None = None,
    **changes: Any,
) -> Path:
    """A whole model, its weights in shards with an index."""
    folder.mkdir(parents=True)
    rows = len(tokenizer)
    tensors = {**language_tensors(model, rows), **projector_tensors(model), **(extra or {})}
    if inside:
        tensors |= tower_tensors(model)
    write_json(folder / "config.json", config(model, rows, tower, **changes))
    tokenizer.save_pretrained(folder)
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    keys = sorted(tensors)
    weight_map = {}
    for number in range(shards):
        name = f"{stem}-{number + 1:05d}-of-{shards:05d}.{ending}"
        shard = {key: tensors[key] for key in keys[number::shards]}
        torch.save(shard, folder / name) if pickled else save_file(shard, folder / name)
        weight_map |= dict.fromkeys(shard, name)
    index = {"metadata": {}, "weight_map": weight_map}
    write_json(folder / f"{stem}.{ending}.index.json", index)
    return folder


def write_projector(folder: Path, model: Any, rows: int, tower: str, **changes: Any) -> Path:
    """What the first stage saves: ``mm_projector.bin`` and the config."""
    extra = changes.pop("extra", {})
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config(model, rows, tower, **changes))
    torch.save({**projector_tensors(model), **extra}, folder / "mm_projector.bin")
    return folder


def write_adapter(folder: Path, model: Any, rows: int, tower: str, **changes: Any) -> Path:
    """What a LoRA run saves: the adapter, ``non_lora_trainables.bin`` and the config."""
    adapter = changes.pop("adapter", {})
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config(model, rows, tower, **changes))
    generator = torch.Generator().manual_seed(8)
    matrices = {}
    for name, weight in model.lm.state_dict().items():
        if name.endswith(("q_proj.weight", "down_proj.weight")):
            lead = f"base_model.model.{name.removesuffix('.weight')}"
            down = torch.randn(4, weight.shape[1], generator=generator) * 0.1
            up = torch.randn(weight.shape[0], 4, generator=generator) * 0.1
            matrices |= {f"{lead}.lora_A.weight": down, f"{lead}.lora_B.weight": up}
    torch.save(matrices, folder / "adapter_model.bin")
    fields = {
        "base_model_name_or_path": "lmsys/vicuna-7b-v1.5",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 4,
        "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    write_json(folder / "adapter_config.json", {**fields, **adapter})
    trained = {f"base_model.model.{key}": value for key, value in projector_tensors(model).items()}
    torch.save(trained, folder / "non_lora_trainables.bin")
    return folder
