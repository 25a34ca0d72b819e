"""Configurations of published parts, by their names on the hub, so that runs can be planned without them.

Only what decides sizes is here; a checkpoint itself is always read with its own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig

from pumice.errors import CheckpointError, suggest
from pumice.image.process import ImageProcessor


def _clip(pixels: int) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": pixels,
        "patch_size": 14,
    }


def _siglip(pixels: int) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": pixels,
        "patch_size": 14,
    }


def _decoder(
    model_type: str,
    width: int,
    mlp: int,
    layers: int,
    heads: int,
    kv: int,
    vocabulary: int,
    **more: Any,
) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": vocabulary,
        **more,
    }


_QWEN3 = {"head_dim": 128, "max_position_embeddings": 40960}

PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "openai/clip-vit-large-patch14": _clip(224),
        "openai/clip-vit-large-patch14-336": _clip(336),
        "google/siglip-so400m-patch14-384": _siglip(384),
        "google/siglip2-so400m-patch14-384": _siglip(384),
        "lmsys/vicuna-7b-v1.5": _decoder(
            "llama", 4096, 11008, 32, 32, 32, 32000, max_position_embeddings=4096
        ),
        "lmsys/vicuna-13b-v1.5": _decoder(
            "llama", 5120, 13824, 40, 40, 40, 32000, max_position_embeddings=4096
        ),
        "lmsys/vicuna-13b-v1.3": _decoder(
            "llama", 5120, 13824, 40, 40, 40, 32000, max_position_embeddings=2048
        ),
        "meta-llama/Llama-2-70b-hf": _decoder(
            "llama", 8192, 28672, 80, 64, 8, 32000, max_position_embeddings=4096
        ),
        "mistralai/Mistral-7B-Instruct-v0.2": _decoder(
            "mistral", 4096, 14336, 32, 32, 8, 32000, max_position_embeddings=32768, sliding_window=None
        ),
        "Qwen/Qwen3-0.6B": _decoder(
            "qwen3", 1024, 3072, 28, 16, 8, 151936, tie_word_embeddings=True, **_QWEN3
        ),
        "Qwen/Qwen3-1.7B": _decoder(
            "qwen3", 2048, 6144, 28, 16, 8, 151936, tie_word_embeddings=True, **_QWEN3
        ),
        "Qwen/Qwen3-4B": _decoder("qwen3", 2560, 9728, 36, 32, 8, 151936, tie_word_embeddings=True, **_QWEN3),
    }
)
"""Facts of each part's config.json that decide what it costs."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A published LLaVA: its parts by their names in ``PUBLISHED``, its template, and whether it makes tiles
    (LLaVA-NeXT's five canvases, ``spatial_unpad``)."""

    vision: str
    language: str
    template: str
    tiled: bool = False


_CLIP_336 = "openai/clip-vit-large-patch14-336"
_V7, _V13 = "lmsys/vicuna-7b-v1.5", "lmsys/vicuna-13b-v1.5"
_MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"

WHOLES: Mapping[str, Whole] = MappingProxyType(
    {
        "liuhaotian/llava-v1.5-7b": Whole(_CLIP_336, _V7, "v1"),
        "liuhaotian/llava-v1.5-13b": Whole(_CLIP_336, _V13, "v1"),
        "llava-hf/llava-1.5-7b-hf": Whole(_CLIP_336, _V7, "v1"),
        "llava-hf/llava-1.5-13b-hf": Whole(_CLIP_336, _V13, "v1"),
        "llava-hf/llava-v1.6-vicuna-7b-hf": Whole(_CLIP_336, _V7, "v1", tiled=True),
        "llava-hf/llava-v1.6-vicuna-13b-hf": Whole(_CLIP_336, _V13, "v1", tiled=True),
        "llava-hf/LLaVA-NeXT-Video-7B-hf": Whole(_CLIP_336, _V7, "v1", tiled=True),
        "llava-hf/llava-v1.6-mistral-7b-hf": Whole(_CLIP_336, _MISTRAL, "mistral_instruct", tiled=True),
    }
)
"""Published checkpoints whose sizes are known without their files; their connector is mlp2x_gelu."""


def published_whole(name: str) -> Whole:
    """A published LLaVA by its name on the hub.

    Raises:
        CheckpointError: the name is not in ``WHOLES``; the error lists what is.
    """
    if name not in WHOLES:
        raise CheckpointError(
            f"the sizes of {name!r} are not known here",
            remedy=f"give the local folder of the checkpoint; {suggest(name, WHOLES)}",
        )
    return WHOLES[name]


def published_processor(config: Any) -> ImageProcessor:
    """The image processor that belongs to a published tower's config."""
    kind = "SiglipImageProcessor" if config.model_type == "siglip_vision_model" else "CLIPImageProcessor"
    side = int(config.image_size)
    square = {"height": side, "width": side}
    size: dict[str, int] = square if kind == "SiglipImageProcessor" else {"shortest_edge": side}
    return ImageProcessor.from_dict({"image_processor_type": kind, "size": size, "crop_size": square})


def published_config(name: str) -> Any:
    """The transformers config of a published part.

    Raises:
        CheckpointError: the name is not in ``PUBLISHED``; the error lists what is.
    """
    if name not in PUBLISHED:
        raise CheckpointError(
            f"the sizes of {name!r} are not known here",
            remedy=f"give the local folder of the checkpoint; {suggest(name, PUBLISHED)}",
        )
    facts = dict(PUBLISHED[name])
    return AutoConfig.for_model(facts.pop("model_type"), **facts)
