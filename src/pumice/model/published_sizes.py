"""Sizes of published vision towers and language models: facts of each one's config.json.

Of every family the sizes are given once; names that differ in training alone (base and instruct) share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


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


Sizes = tuple[int, int, int, int, int]
"""Width, MLP's width, layers, heads, heads of keys and values."""


def _family(
    names: Mapping[str, Sizes],
    model_type: str,
    vocabulary: int,
    endings: tuple[str, ...] = ("",),
    **more: Any,
) -> dict[str, dict[str, Any]]:
    """The members of a family by name; each again with every ending."""
    return {
        name + ending: _decoder(model_type, *sizes, vocabulary, **more)
        for name, sizes in names.items()
        for ending in endings
    }


_TUNED = ("", "-Instruct")
_TOWERS = {
    "openai/clip-vit-large-patch14": _clip(224),
    "openai/clip-vit-large-patch14-336": _clip(336),
    "google/siglip-so400m-patch14-384": _siglip(384),
    "google/siglip2-so400m-patch14-384": _siglip(384),
}
_LLAMA = {
    **_family(
        {
            "lmsys/vicuna-7b-v1.5": (4096, 11008, 32, 32, 32),
            "lmsys/vicuna-13b-v1.5": (5120, 13824, 40, 40, 40),
        },
        "llama",
        32000,
        max_position_embeddings=4096,
    ),
    **_family(
        {"lmsys/vicuna-13b-v1.3": (5120, 13824, 40, 40, 40)}, "llama", 32000, max_position_embeddings=2048
    ),
    **_family(
        {
            "meta-llama/Llama-2-7b": (4096, 11008, 32, 32, 32),
            "meta-llama/Llama-2-13b": (5120, 13824, 40, 40, 40),
            "meta-llama/Llama-2-70b": (8192, 28672, 80, 64, 8),
        },
        "llama",
        32000,
        ("-hf", "-chat-hf"),
        max_position_embeddings=4096,
    ),
    **_family(
        {
            "meta-llama/Meta-Llama-3-8B": (4096, 14336, 32, 32, 8),
            "meta-llama/Meta-Llama-3-70B": (8192, 28672, 80, 64, 8),
        },
        "llama",
        128256,
        _TUNED,
        max_position_embeddings=8192,
    ),
    **_family(
        {
            "meta-llama/Llama-3.1-8B": (4096, 14336, 32, 32, 8),
            "meta-llama/Llama-3.1-70B": (8192, 28672, 80, 64, 8),
        },
        "llama",
        128256,
        _TUNED,
        max_position_embeddings=131072,
    ),
    **_family(
        {"meta-llama/Llama-3.3-70B-Instruct": (8192, 28672, 80, 64, 8)},
        "llama",
        128256,
        max_position_embeddings=131072,
    ),
    **_family(
        {
            "meta-llama/Llama-3.2-1B": (2048, 8192, 16, 32, 8),
            "meta-llama/Llama-3.2-3B": (3072, 8192, 28, 24, 8),
        },
        "llama",
        128256,
        _TUNED,
        max_position_embeddings=131072,
        tie_word_embeddings=True,
    ),
}
_MISTRAL = {
    **_family(
        {
            "mistralai/Mistral-7B-Instruct-v0.2": (4096, 14336, 32, 32, 8),
        },
        "mistral",
        32000,
        max_position_embeddings=32768,
        sliding_window=None,
    ),
    **_family(
        {
            "mistralai/Mistral-7B-v0.1": (4096, 14336, 32, 32, 8),
            "mistralai/Mistral-7B-Instruct-v0.1": (4096, 14336, 32, 32, 8),
        },
        "mistral",
        32000,
        max_position_embeddings=32768,
        sliding_window=4096,
    ),
    **_family(
        {
            "mistralai/Mistral-7B-v0.3": (4096, 14336, 32, 32, 8),
            "mistralai/Mistral-7B-Instruct-v0.3": (4096, 14336, 32, 32, 8),
        },
        "mistral",
        32768,
        max_position_embeddings=32768,
        sliding_window=None,
    ),
}
_QWEN25_LARGE: dict[str, Sizes] = {
    "Qwen/Qwen2.5-7B": (3584, 18944, 28, 28, 4),
    "Qwen/Qwen2.5-14B": (5120, 13824, 48, 40, 8),
    "Qwen/Qwen2.5-32B": (5120, 27648, 64, 40, 8),
    "Qwen/Qwen2.5-72B": (8192, 29568, 80, 64, 8),
}
_QWEN = {
    **_family(
        {
            "Qwen/Qwen2.5-0.5B": (896, 4864, 24, 14, 2),
            "Qwen/Qwen2.5-1.5B": (1536, 8960, 28, 12, 2),
            "Qwen/Qwen2.5-3B": (2048, 11008, 36, 16, 2),
        },
        "qwen2",
        151936,
        _TUNED,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    ),
    **_family(_QWEN25_LARGE, "qwen2", 152064, max_position_embeddings=131072),
    **_family(_QWEN25_LARGE, "qwen2", 152064, ("-Instruct",), max_position_embeddings=32768),
    **_family(
        {
            "Qwen/Qwen3-0.6B": (1024, 3072, 28, 16, 8),
            "Qwen/Qwen3-1.7B": (2048, 6144, 28, 16, 8),
            "Qwen/Qwen3-4B": (2560, 9728, 36, 32, 8),
        },
        "qwen3",
        151936,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    ),
    **_family(
        {
            "Qwen/Qwen3-8B": (4096, 12288, 36, 32, 8),
            "Qwen/Qwen3-14B": (5120, 17408, 40, 40, 8),
            "Qwen/Qwen3-32B": (5120, 25600, 64, 64, 8),
        },
        "qwen3",
        151936,
        head_dim=128,
        max_position_embeddings=40960,
    ),
}
_GEMMA = {
    **_family(
        {"google/gemma-2-2b": (2304, 9216, 26, 8, 4), "google/gemma-2-9b": (3584, 14336, 42, 16, 8)},
        "gemma2",
        256000,
        ("", "-it"),
        head_dim=256,
        max_position_embeddings=8192,
    ),
    **_family(
        {"google/gemma-2-27b": (4608, 36864, 46, 32, 16)},
        "gemma2",
        256000,
        ("", "-it"),
        head_dim=128,
        max_position_embeddings=8192,
    ),
    **_family(
        {"google/gemma-3-1b": (1152, 6912, 26, 4, 1)},
        "gemma3_text",
        262144,
        ("-pt", "-it"),
        head_dim=256,
        max_position_embeddings=32768,
        sliding_window=512,
    ),
    # Their text half; these also have a tower of their own, which is not taken.
    **_family(
        {"google/gemma-3-4b": (2560, 10240, 34, 8, 4), "google/gemma-3-12b": (3840, 15360, 48, 16, 8)},
        "gemma3_text",
        262208,
        ("-pt", "-it"),
        head_dim=256,
        max_position_embeddings=131072,
        sliding_window=1024,
    ),
    **_family(
        {"google/gemma-3-27b": (5376, 21504, 62, 32, 16)},
        "gemma3_text",
        262208,
        ("-pt", "-it"),
        head_dim=128,
        max_position_embeddings=131072,
        sliding_window=1024,
    ),
}
_PHI = _family(
    {"microsoft/Phi-3.5-mini-instruct": (3072, 8192, 32, 32, 32)},
    "phi3",
    32064,
    max_position_embeddings=131072,
)

PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {**_TOWERS, **_LLAMA, **_MISTRAL, **_QWEN, **_GEMMA, **_PHI}
)
"""Facts of each part's config.json that decide what it costs."""
