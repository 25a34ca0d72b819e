"""Configurations of published parts, by their names on the hub, so that runs can be planned without them.

Only what decides sizes is here; a checkpoint itself is always read with its own configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig

from pumice.errors import CheckpointError, suggest
from pumice.image.process import ImageProcessor
from pumice.model.published_sizes import PUBLISHED


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


_FOLDER = (
    "give a local folder that holds its config.json, and its tokenizer's files for exact counts "
    "(`hf download NAME --exclude '*.safetensors'` fetches these alone); no weights are needed"
)
"""How a checkpoint of any other name is planned."""


def _nearest(name: str) -> str:
    """The known sizes of the same family, or else all families."""
    family = re.split(r"[-.]?\d", name.rpartition("/")[2].lower(), maxsplit=1)[0]
    kin = [known for known in PUBLISHED if family and known.rpartition("/")[2].lower().startswith(family)]
    if kin:
        return f"known of this family: {', '.join(sorted(kin))}"
    families = dict.fromkeys(known.partition("/")[0] for known in PUBLISHED)
    return f"known are models of {', '.join(sorted(families))} (docs/plan.md lists them)"


def published_whole(name: str) -> Whole:
    """A published LLaVA by its name on the hub.

    Raises:
        CheckpointError: the name is not in ``WHOLES``; the error lists what is.
    """
    if name not in WHOLES:
        raise CheckpointError(
            f"the sizes of {name!r} are not known here",
            remedy=f"{_FOLDER}; {suggest(name, WHOLES)}",
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
            remedy=f"{_FOLDER}; {_nearest(name)}",
        )
    facts = dict(PUBLISHED[name])
    return AutoConfig.for_model(facts.pop("model_type"), **facts)
