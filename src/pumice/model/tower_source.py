"""The vision tower of an original checkpoint: inside it, in a given folder, or in the hub's local cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import AutoConfig

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.model.hub import find_checkpoint
from pumice.model.pieces import PartPieces
from pumice.model.sources import read_processor, vision_source
from pumice.model.stored import Stored

_CLIP_LARGE: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
KNOWN: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "openai/clip-vit-large-patch14": {**_CLIP_LARGE, "image_size": 224},
        "openai/clip-vit-large-patch14-336": {**_CLIP_LARGE, "image_size": 336},
    }
)
"""Configurations of the towers of published checkpoints, which need no more where the weights are inside."""
_LAYER = re.compile(r"(?:vision_model\.)?encoder\.layers\.(\d+)\.")


def tower_source(
    fields: Mapping[str, Any], inside: Mapping[str, Stored], vision: Path | None, where: str
) -> tuple[PartPieces, ImageProcessor, int]:
    """Config, tensors and image processor of the tower that a config names, and how many layers it lacks.

    The original drops SigLIP's last layer and reads the new last one, so a SigLIP tower that was trained
    comes without it: it has fewer layers than its config says.

    Args:
        fields: the original's config.
        inside: the tower's tensors in the checkpoint itself; empty where it was not trained.
        vision: the tower's folder, as the caller gives it.
        where: the checkpoint, for errors.

    Raises:
        CheckpointError: the tower is nowhere to be found; says how to give it.
    """
    name = str(fields.get("mm_vision_tower") or fields.get("vision_tower") or "")
    if vision is None and inside and name in KNOWN:
        config = AutoConfig.for_model(**KNOWN[name])
        processor = ImageProcessor.from_dict(
            {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": config.image_size},
                "crop_size": {"height": config.image_size, "width": config.image_size},
            }
        )
        return PartPieces(config, inside, where), processor, 0
    folder = vision if vision is not None else _found(name, where)
    config, tensors = vision_source(folder)
    processor = read_processor(folder)
    if not inside:
        return PartPieces(config, tensors, str(folder)), processor, 0
    lacking = _fit(config, inside)
    return PartPieces(config, inside, where), processor, lacking


def _found(name: str, where: str) -> Path:
    beside = Path(where) / name
    if name and not Path(name).is_absolute() and (beside / "config.json").is_file():
        return beside  # as exports that bring their tower along name it
    try:
        return find_checkpoint(name)
    except CheckpointError as error:
        raise CheckpointError(
            f"the checkpoint reads pictures with the vision tower {name!r}, which is not here",
            where=f"{where} (mm_vision_tower in config.json)",
            remedy="give the tower's folder as vision (--vision PATH)",
        ) from error


def _fit(config: Any, inside: Mapping[str, Stored]) -> int:
    """Change the config of a SigLIP tower to the head and layers that it has; how many layers it lacks."""
    if config.model_type != "siglip_vision_model":
        return 0
    if not any(".head." in f".{key}" for key in inside):
        config.vision_use_head = False
    numbers = [int(match[1]) for match in map(_LAYER.match, inside) if match]
    present, wanted = max(numbers, default=-1) + 1, int(config.num_hidden_layers)
    if not 0 < present < wanted:
        return 0
    config.num_hidden_layers = present
    return wanted - present
