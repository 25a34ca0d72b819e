"""The fields of an original LLaVA ``config.json``: the language model's, and what they say of pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from pumice.errors import CheckpointError, suggest

MODEL_TYPES = {
    "llava_llama": "llama",
    "llava_mistral": "mistral",
    "llava_mixtral": "mixtral",
    "llava_qwen": "qwen2",
    "llava_gemma": "gemma",
    "llava_mpt": "mpt",
}
"""The language model's ``model_type`` by the original's."""
ARCHITECTURES = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaMixtralForCausalLM": "mixtral",
    "LlavaQwenForCausalLM": "qwen2",
    "LlavaGemmaForCausalLM": "gemma",
    "LlavaMptForCausalLM": "mpt",
    "LlavaMPTForCausalLM": "mpt",
}
"""The same by architecture, for folders of the plain ``model_type`` llava."""
ORIGINAL_TYPES = ("llava", *MODEL_TYPES)

_OURS = re.compile(
    r"mm_.*|tune_mm_.*|freeze_mm_.*|unfreeze_mm_.*|pretrain_mm_.*|image_.*|tokenizer_.*|use_mm_.*|s2.*|"
    r"vision_tower.*|model_type|architectures|auto_map|_name_or_path|transformers_version|torch_dtype|dtype"
)
"""Fields that are not the language model's."""
_RANGE = re.compile(r"\((\d+)x(\d+)\)")


@dataclass(frozen=True, slots=True)
class OriginalFacts:
    """What an original config says beside the language model; ``image`` holds fields of ``VLMConfig``."""

    connector: str
    select_layer: int
    select_feature: str
    image: dict[str, Any]


def is_original(fields: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is the original's: it names a projector or tower (``mm_*``)."""
    return str(fields.get("model_type")) in ORIGINAL_TYPES and any(key.startswith("mm_") for key in fields)


def text_config(fields: Mapping[str, Any], where: str) -> Any:
    """The transformers config of the language model.

    Raises:
        CheckpointError: a language model that is not told, or not supported.
    """
    own = str(fields.get("model_type"))
    named = [str(name) for name in fields.get("architectures") or []]
    kind = MODEL_TYPES.get(own)
    if kind is None:
        kind = next((ARCHITECTURES[name] for name in named if name in ARCHITECTURES), None)
    if kind is None and own == "llava" and not named:
        kind = "llama"
    if kind is None:
        raise CheckpointError(
            f"the language model of model_type {own!r}, architectures {named} is not known",
            where=f"{where}/config.json",
            remedy=suggest(own, ORIGINAL_TYPES),
        )
    if kind == "mpt":
        raise CheckpointError(
            "MPT counts positions by itself (ALiBi), which is not supported",
            where=f"{where}/config.json",
            remedy="use a checkpoint with a Llama, Mistral, Qwen or Gemma language model",
        )
    kept = {key: value for key, value in fields.items() if _OURS.fullmatch(key) is None}
    if kept.get("rope_scaling") is None:
        kept.pop("rope_scaling", None)
    try:
        return AutoConfig.for_model(kind, **kept)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"transformers cannot read the configuration: {error}", where=f"{where}/config.json"
        ) from error


def original_facts(fields: Mapping[str, Any], where: str) -> OriginalFacts:
    """What the config says of projector, tower and pictures.

    Raises:
        CheckpointError: a value that has no place here.
    """
    for key in ("mm_resampler_type", "mm_vision_resampler_type"):
        if fields.get(key) not in (None, "", "spatial_pool"):  # the pooling of videos, which has no weights
            raise CheckpointError(
                f"the model resamples its features ({key} {fields[key]!r}), which is not supported",
                where=where,
            )
    aspect = str(fields.get("image_aspect_ratio") or "square")
    merge_type = str(fields.get("mm_patch_merge_type") or "flat")
    image: dict[str, Any] = {
        "aspect": aspect,
        "merge_type": merge_type,
        "newline": "unpad" in merge_type,
        "flavour": "original",
        "image_marks": bool(fields.get("mm_use_im_start_end")),
        "max_length": fields.get("tokenizer_model_max_length"),
    }
    if aspect.startswith("anyres"):
        image["pinpoints"] = pinpoints(fields.get("image_grid_pinpoints"), fields, where)
    if fields.get("s2"):
        image["scales"] = _scales(fields.get("s2_scales", "336,672,1008"), where)
    return OriginalFacts(
        connector=str(fields.get("mm_projector_type") or "linear"),
        select_layer=int(fields.get("mm_vision_select_layer", -2)),
        select_feature=str(fields.get("mm_vision_select_feature") or "patch"),
        image=image,
    )


def pinpoints(value: Any, fields: Mapping[str, Any], where: str) -> tuple[tuple[int, int], ...]:
    """Grids in (width, height): a list, a list written as text, or a range ``(1x1),...,(6x6)`` of tiles.

    A range counts tiles of the tower's size (``image_crop_resolution`` or the resolution in its name).
    """
    if isinstance(value, str) and "x" in value:
        ends = [(int(a), int(b)) for a, b in _RANGE.findall(value)]
        side = _tile_side(fields)
        if len(ends) == 2 and side is not None:
            (low_w, low_h), (high_w, high_h) = ends
            pairs = [(i, j) for i in range(low_w, high_w + 1) for j in range(low_h, high_h + 1)]
            return tuple((i * side, j * side) for i, j in pairs)
    elif isinstance(value, str):
        try:
            value = json.loads(value.replace("(", "[").replace(")", "]"))
        except json.JSONDecodeError:
            value = None
    if isinstance(value, list) and value and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return tuple((int(width), int(height)) for width, height in value)
    raise CheckpointError(
        f"image_grid_pinpoints {value!r} is no list of [width, height]",
        where=where,
        remedy="write the grids out as a list of [width, height] pairs",
    )


def _tile_side(fields: Mapping[str, Any]) -> int | None:
    """Pixels of a tile, as the tower's name tells it: the number after its last ``-``."""
    last = str(fields.get("mm_vision_tower") or "").rsplit("-", 1)[-1]
    return int(last) if last.isdigit() else None


def _scales(value: Any, where: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(int(part) for part in str(value).split(",")))
    except ValueError:
        raise CheckpointError(f"s2_scales {value!r} is no list of sizes", where=where) from None
