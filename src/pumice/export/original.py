"""The layout of the original LLaVA, written: what its ``builder.py`` and the tools around it read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import torch
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.model.hub import find_checkpoint
from pumice.model.parts import torch_dtype
from pumice.model.save import canonical, generation_config, write_json, write_tokenizer
from pumice.model.sources import read_processor, vision_source
from pumice.model.stored import Stored, held
from pumice.model.tower import VisionTower
from pumice.model.towers import MultiScaleTower
from pumice.model.vlm import VisionLanguageModel
from pumice.model.vocabulary import added_last, token_id
from pumice.model.weights import read_json, write_tensors

CLASSES: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "llama": ("llava_llama", "LlavaLlamaForCausalLM"),
        "mistral": ("llava_mistral", "LlavaMistralForCausalLM"),
        "mixtral": ("llava_mixtral", "LlavaMixtralForCausalLM"),
        "qwen2": ("llava_qwen", "LlavaQwenForCausalLM"),
        "gemma": ("llava_gemma", "LlavaGemmaForCausalLM"),
    }
)
"""The original's ``model_type`` and class by the language model's ``model_type``."""
TOWERS = ("clip_vision_model", "siglip_vision_model")
TOWER_FOLDER = "vision_tower"
_LEAD = "model.vision_tower.vision_tower."


def write_original(
    model: VisionLanguageModel,
    tokenizer: Any,
    processor: ImageProcessor,
    folder: Path,
    dtype: str,
    vision: str | Path | None,
    shard_bytes: int,
) -> list[str]:
    """Write a model into an empty folder as the original does; returns what a user should know.

    The tower: without ``vision`` it is written to ``folder/vision_tower`` and named so; with it,
    ``mm_vision_tower`` names ``vision``, and its weights are inside the checkpoint unless they are those
    of the tower that is named.

    Raises:
        CheckpointError: the original has no place for the model; says for what of it.
    """
    _check_expressible(model)
    notes: list[str] = []
    own, kind = model.config, torch_dtype(dtype)
    trimmed, rows = trim_tokenizer(tokenizer, folder, model.lm.config.model_type)
    tensors = _language_tensors(model, rows)
    linear = own.connector == "linear"
    for key, tensor in model.connector.state_dict().items():
        tensors[f"model.mm_projector.{key.removeprefix('0.') if linear else key}"] = held(tensor.detach())
    if model.image_newline is not None:
        tensors["model.image_newline"] = held(model.image_newline.detach())
    tower = model.tower.members[0]
    inside = vision is not None and not _same_tower(tower, vision, kind)
    name = TOWER_FOLDER if vision is None else str(vision)
    if vision is None:
        _write_tower(tower, _plain(processor, model), folder / TOWER_FOLDER, dtype, shard_bytes)
        notes.append(
            f"mm_vision_tower is '{TOWER_FOLDER}', inside the export. The original's code looks for it where "
            "it runs: start it in the export's folder, or write the full path into config.json."
        )
    elif inside:
        for key, tensor in canonical(tower.model, set()).items():
            lead = tower.family.prefix
            tensors[f"{_LEAD}{lead}{key.removeprefix(lead)}"] = held(tensor.detach())
        notes.append(f"The tower differs from {name}, so its weights are in the checkpoint.")
    write_tensors(tensors, folder, kind, shard_bytes)
    write_json(folder / "config.json", _config(model, processor, trimmed, rows, name, inside, dtype))
    generation = generation_config(model, trimmed)
    generation.suppress_tokens = None
    generation.save_pretrained(folder)
    if own.tiled and own.flavour == "transformers":
        notes.append("The original lays tiles of small and of some odd shapes of pictures out differently.")
    if own.video is not None:
        notes.append(
            f"The original has no field for how many frames of a video are taken (here {own.video.frames}) "
            f"and how they become squares (here {own.video.aspect})."
        )
    return notes


def _check_expressible(model: VisionLanguageModel) -> None:
    own, lm = model.config, model.lm.config
    if lm.model_type not in CLASSES:
        _refuse(f"its language model is {lm.model_type}; the original has {', '.join(CLASSES)}")
    if len(model.tower.members) > 1:
        _refuse("it reads several vision towers")
    tower = model.tower.members[0]
    if tower.config.model_type not in TOWERS:
        _refuse(f"its tower is {tower.config.model_type}; the original has {', '.join(TOWERS)}")
    layers = int(tower.config.num_hidden_layers)
    if len(tower.depths) > 1:
        _refuse(f"it joins the features of layers {own.select_layer}")
    depth = tower.depths[0]
    if tower.config.model_type == "siglip_vision_model" and depth != layers - 1:
        _refuse(f"it reads layer {depth} of SigLIP; the original reads layer {layers - 1} of {layers}")
    if getattr(model.lm.get_output_embeddings(), "bias", None) is not None:
        _refuse("the head of its language model has a bias")
    if own.newline and "unpad" not in own.merge_type:
        _refuse(f"it has an image_newline, but mm_patch_merge_type {own.merge_type}")


def _refuse(why: str) -> NoReturn:
    raise CheckpointError(
        f"the original layout has no place for this model: {why}",
        where="format llava",
        remedy="export to hf, or use what save_model writes with pumice.load",
    )


def _language_tensors(model: VisionLanguageModel, rows: int) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    tables = [model.lm.get_input_embeddings().weight, model.lm.get_output_embeddings().weight]
    size = tables[0].shape[0]
    for key, tensor in canonical(model.lm, set()).items():
        cut = tensor.shape[0] == size and any(tensor.data_ptr() == table.data_ptr() for table in tables)
        tensors[key] = held(tensor.detach()[:rows] if cut else tensor.detach())
    return tensors


def _config(
    model: VisionLanguageModel,
    processor: ImageProcessor,
    tokenizer: Any,
    rows: int,
    tower: str,
    inside: bool,
    dtype: str,
) -> dict[str, Any]:
    """``config.json``: the language model's fields as old releases of transformers read them, ``mm_*``."""
    own = model.config
    fields: dict[str, Any] = model.lm.config.to_dict()
    for name in ("_name_or_path", "dtype", "architectures", "model_type", "rope_parameters"):
        fields.pop(name, None)
    fields |= _old_rope(model.lm.config)
    kind, architecture = CLASSES[model.lm.config.model_type]
    aspect = own.aspect if own.tiled else ("pad" if processor.mode == "pad" else "square")
    fields |= {
        "model_type": kind,
        "architectures": [architecture],
        "vocab_size": rows,
        "torch_dtype": dtype,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": model.lm.config.eos_token_id,
        "use_mm_proj": True,
        "mm_projector_type": own.connector,
        "mm_hidden_size": model.tower.dim,
        "mm_vision_tower": tower,
        "mm_vision_select_layer": own.select_layer,
        "mm_vision_select_feature": own.select_feature,
        "mm_patch_merge_type": own.merge_type,
        "mm_use_im_start_end": own.image_marks is not None,
        "mm_use_im_patch_token": False,
        "unfreeze_mm_vision_tower": inside,
        "image_aspect_ratio": aspect,
        "image_grid_pinpoints": [list(pair) for pair in own.pinpoints] or None,
        "tokenizer_model_max_length": own.max_length or model.lm.config.max_position_embeddings,
        "tokenizer_padding_side": "right",
    }
    if isinstance(model.tower, MultiScaleTower):
        fields |= {"s2": True, "s2_scales": ",".join(str(scale) for scale in own.scales)}
    if own.video is not None:
        newline = own.video.newline
        fields |= {
            "mm_spatial_pool_stride": own.video.stride,
            "mm_spatial_pool_mode": own.video.pooling,
            "mm_newline_position": "no_token" if newline == "none" else newline,
        }
        if own.video.before_connector:
            fields["mm_resampler_type"] = "spatial_pool"
    return fields


def _old_rope(config: Any) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` of the one ``rope_parameters`` that transformers has today."""
    parameters: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" not in parameters:
        return {}
    scaling = {key: value for key, value in parameters.items() if key not in ("rope_theta", "rope_type")}
    kind = parameters.get("rope_type", "default")
    return {
        "rope_theta": parameters["rope_theta"],
        "rope_scaling": None if kind == "default" else {"type": kind, "rope_type": kind, **scaling},
    }


def _same_tower(tower: VisionTower, vision: str | Path, dtype: torch.dtype) -> bool:
    """Whether the tower in a folder has the same weights, in ``dtype``; False where it is not here."""
    try:
        folder = find_checkpoint(vision)
    except CheckpointError:
        return False
    config, tensors = vision_source(folder)
    lead = tower.family.prefix
    if config.model_type != tower.config.model_type or read_processor(folder).image_size != tower.image_size:
        raise CheckpointError(
            "the vision tower that is to be named is of another kind or size than the model's",
            where=str(vision),
            remedy="name the tower that the model was built from",
        )
    others = {key.removeprefix(lead): tensor for key, tensor in tensors.items()}
    for key, tensor in canonical(tower.model, set()).items():
        other = others.get(key.removeprefix(lead))
        if other is None or other.shape != tensor.shape:
            return False
        if not torch.equal(_cast(other.read(), dtype), _cast(tensor.detach().cpu(), dtype)):
            return False
    return True


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype).float() if tensor.is_floating_point() else tensor


def _write_tower(
    tower: VisionTower, processor: ImageProcessor, folder: Path, dtype: str, shard_bytes: int
) -> None:
    """The tower as a folder of its own, as transformers reads it."""
    folder.mkdir()
    config = tower.config.to_dict() | {"_name_or_path": "", "dtype": dtype, "torch_dtype": dtype}
    config["architectures"] = [type(tower.model).__name__]
    write_json(folder / "config.json", config)
    lead = tower.family.prefix
    tensors = {
        f"{lead}{key.removeprefix(lead)}": held(tensor.detach())
        for key, tensor in canonical(tower.model, set()).items()
    }
    write_tensors(tensors, folder, torch_dtype(dtype), shard_bytes)
    write_json(folder / "preprocessor_config.json", processor.to_dict())


def _plain(processor: ImageProcessor, model: VisionLanguageModel) -> ImageProcessor:
    """The tower's own image processor: padding and tiles are the original's, and come before it."""
    tower = model.tower.members[0]
    squashes = processor.mode == "squash" and not (model.config.tiled and tower.class_tokens)
    one = processor.with_mode("squash" if squashes else "crop")
    edge = one.shortest_edge if one.image_size == tower.image_size else tower.image_size
    return replace(one, image_size=tower.image_size, shortest_edge=edge)


def trim_tokenizer(tokenizer: Any, folder: Path, language: str) -> tuple[Any, int]:
    """Save the tokenizer without ``<image>`` and our padding token; it and how many tokens it knows.

    The original has no token for pictures: it cuts the text at ``<image>``. Tokens in the middle of the
    vocabulary cannot be taken out, they stay. ``language`` is the language model's ``model_type``.
    """
    from transformers import AutoTokenizer

    write_tokenizer(tokenizer, folder)
    total = len(tokenizer)
    removed = added_last(tokenizer)
    if removed:
        _edit(folder, tokenizer, removed)
    _name_class(folder, language)
    trimmed = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if len(trimmed) != total - len(removed):
        raise CheckpointError(
            f"the tokenizer still knows {len(trimmed)} tokens without {', '.join(removed)}, of {total}",
            where=str(folder),
            remedy="please report this with the model's tokenizer.json",
        )
    return trimmed, len(trimmed)


def _name_class(folder: Path, language: str) -> None:
    """Name the class that the original is to load: with ``use_fast=False`` it takes the one named here.

    Llama's and Gemma's own classes read ``tokenizer.model``; without it, it is that of ``tokenizer.json``.
    """
    file = folder / "tokenizer_config.json"
    fields = read_json(file)
    if (folder / "tokenizer.model").is_file():
        own = "GemmaTokenizer" if language == "gemma" else "LlamaTokenizer"
        fields = {"add_bos_token": True, "legacy": False, **fields, "tokenizer_class": own}
    else:
        fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(file, fields)


def _edit(folder: Path, tokenizer: Any, removed: list[str]) -> None:
    """Take tokens out of the files of a saved tokenizer."""
    instead = tokenizer.unk_token or tokenizer.eos_token
    numbers = {str(token_id(tokenizer, token)) for token in removed}
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        file = folder / name
        if not file.is_file():
            continue
        fields = json.loads(file.read_text(encoding="utf-8"))
        if name == "tokenizer.json":
            fields["added_tokens"] = [
                token for token in fields["added_tokens"] if token["content"] not in removed
            ]
        elif name == "added_tokens.json":
            fields = {key: value for key, value in fields.items() if key not in removed}
        else:
            decoder = fields.get("added_tokens_decoder")
            if decoder is not None:
                fields["added_tokens_decoder"] = {k: v for k, v in decoder.items() if k not in numbers}
            for key, value in list(fields.items()):
                content = value.get("content") if isinstance(value, dict) else value
                if isinstance(content, str) and content in removed:
                    fields[key] = instead
                elif isinstance(value, list):
                    fields[key] = [item for item in value if item not in removed]
        file.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
