"""Where a part's config and tensors come from: folders of one part, and whole LLaVA folders in any layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoModel, AutoModelForCausalLM, GenerationConfig

from pumice.errors import CheckpointError, suggest
from pumice.image.process import ImageProcessor
from pumice.model.names import LmNames, Part, from_disk
from pumice.model.original_config import is_original, text_config
from pumice.model.parts import WHOLE, body_name, load_config, load_part
from pumice.model.stored import Stored
from pumice.model.tower import FAMILIES, FLEXIBLE, tower_family
from pumice.model.weights import check_keys, open_weights, read_json

_TWO_TOWERED = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Contrastive checkpoints, of which only the vision half is read."""
_OTHER_HALF = ("text_model.", "text_projection.", "visual_projection.", "logit_")
_WITH_TEXT_HALF = ("gemma3",)
"""Other vision-language checkpoints, of which only the language half is read."""
_OTHER_PARTS = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.")
_CUTTING = ("image_grid_pinpoints", "do_pad")
_NOT_LANGUAGE = ("model.mm_projector.", "model.vision_tower.", "model.image_newline")


def load_vision(folder: Path, dtype: torch.dtype) -> Any:
    """The vision model of a folder, in ``dtype``; of a LLaVA folder, its tower."""
    config, tensors = vision_source(folder)
    return vision_part(config, tensors, dtype, str(folder))


def vision_source(folder: Path) -> tuple[Any, dict[str, Stored]]:
    """The vision config and tensors of a folder; of a two-towered or LLaVA folder, its vision half.

    Raises:
        CheckpointError: the folder holds no vision model that is known here.
    """
    config = vision_config(folder)
    model_type = str(load_config(folder).model_type)
    tensors = open_weights(folder)
    if model_type in WHOLE:
        return config, split_parts(tensors, LmNames(), folder)["tower"]
    if model_type in _TWO_TOWERED:
        return config, {key: item for key, item in tensors.items() if not key.startswith(_OTHER_HALF)}
    return config, tensors


def vision_config(folder: Path) -> Any:
    """The vision config of a folder; of a two-towered or LLaVA folder, that of its vision half.

    Raises:
        CheckpointError: the folder holds no vision model that is known here.
    """
    if folder.is_dir() and is_original(read_json(folder / "config.json")):
        raise CheckpointError(
            "an original LLaVA folder names its vision tower and does not describe it",
            where=str(folder),
            remedy="give the folder of its tower (mm_vision_tower), or export the model to hf first",
        )
    config = load_config(folder)
    model_type = str(config.model_type)
    if model_type in WHOLE or model_type in _TWO_TOWERED:
        return config.vision_config
    if model_type in FLEXIBLE:
        tower_family(model_type)
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"a checkpoint of model_type {model_type!r} is no vision tower that is known here",
            where=str(folder / "config.json"),
            remedy=suggest(model_type, [*_TWO_TOWERED, *FAMILIES, *WHOLE]),
        )
    return config


def vision_part(config: Any, tensors: Mapping[str, Stored], dtype: torch.dtype, where: str) -> Any:
    """A vision model of its config and tensors, named with or without the family's prefix."""
    prefix = tower_family(config.model_type).prefix
    named = {f"{prefix}{key.removeprefix(prefix)}": value for key, value in tensors.items()}
    named = {key: value for key, value in named.items() if not key.endswith(".position_ids")}
    return load_part(AutoModel, config, named, dtype, where)


def load_language(folder: Path, dtype: torch.dtype) -> Any:
    """The causal LM of a folder, in ``dtype``; of a LLaVA folder in any layout, its language model."""
    config, tensors = language_source(folder)
    return language_part(config, tensors, dtype, folder)


def language_source(folder: Path) -> tuple[Any, dict[str, Stored]]:
    """The LM's config and tensors of a folder; of a whole model, its language half.

    Raises:
        CheckpointError: the folder holds no language model that can be told.
    """
    if not folder.is_dir():
        load_config(folder)
    fields = read_json(folder / "config.json")
    if is_original(fields):
        tensors = open_weights(folder)
        own = {key: value for key, value in tensors.items() if not key.startswith(_NOT_LANGUAGE)}
        return text_config(fields, str(folder)), own
    config = load_config(folder)
    tensors = open_weights(folder)
    if config.model_type in WHOLE:
        text = config.text_config
        return text, split_parts(tensors, LmNames(body=body_name(text)), folder)["lm"]
    if config.model_type in _WITH_TEXT_HALF:
        text = config.text_config
        half = {key: value for key, value in tensors.items() if _OTHER_PARTS.match(key) is None}
        return text, split_parts(half, LmNames(body=body_name(text)), folder)["lm"]
    return config, tensors


def language_config(folder: Path) -> Any:
    """The LM's config of a folder; of a whole model, that of its language half.

    Raises:
        CheckpointError: there is no such folder, or no configuration that can be read.
    """
    if folder.is_dir() and is_original(fields := read_json(folder / "config.json")):
        return text_config(fields, str(folder))
    config = load_config(folder)
    return config.text_config if config.model_type in (*WHOLE, *_WITH_TEXT_HALF) else config


def language_part(config: Any, tensors: Mapping[str, Stored], dtype: torch.dtype, folder: Path) -> Any:
    """A causal LM of its config and tensors, with the generation settings of the folder if it has any."""
    tensors = {key: value for key, value in tensors.items() if not key.endswith(".inv_freq")}
    model = load_part(AutoModelForCausalLM, config, tensors, dtype, str(folder))
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def split_parts(tensors: Mapping[str, Stored], names: LmNames, folder: Path) -> dict[Part, dict[str, Stored]]:
    """A LLaVA checkpoint's tensors by part and name; CheckpointError naming keys that belong to no part."""
    parts: dict[Part, dict[str, Stored]] = {part: {} for part in get_args(Part)}
    unknown = {}
    for key, tensor in tensors.items():
        try:
            place = from_disk(key, names)
        except KeyError:
            unknown[key] = tensor
            continue
        if place is not None:
            parts[place[0]][place[1]] = tensor
    check_keys({}, unknown, str(folder))
    return parts


def read_processor(folder: Path) -> ImageProcessor:
    """The image processor of a folder; of one that makes tiles, how one tile is made without the cutting.

    Raises:
        CheckpointError: no readable config, or one that ``ImageProcessor`` refuses.
    """
    for name in ("processor_config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            continue
        whole = read_json(folder / name)
        fields: Any = whole.get("image_processor") if name == "processor_config.json" else whole
        if not isinstance(fields, dict):
            continue
        kind = str(fields.get("image_processor_type")).removesuffix("Fast").removesuffix("Pil")
        if kind != "LlavaNextImageProcessor":
            break
        own = {key: value for key, value in fields.items() if key not in _CUTTING}
        own["image_processor_type"] = "CLIPImageProcessor"
        return ImageProcessor.from_dict(own, where=str(folder / name))
    return ImageProcessor.from_pretrained(folder)
