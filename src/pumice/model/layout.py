"""Transformers' own layouts of LLaVA and LLaVA-NeXT, read into pieces.

``pumice.json`` beside the files holds what ``config.json`` has no field for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.model.config import image_facts
from pumice.model.names import TRANSFORMERS_CONNECTOR, LmNames
from pumice.model.parts import body_name, load_config, load_tokenizer
from pumice.model.pieces import PartPieces, Pieces
from pumice.model.quantized.stored import with_quantized
from pumice.model.sources import read_processor, split_parts
from pumice.model.stored import Stored
from pumice.model.template import template_name
from pumice.model.weights import check_keys, open_weights, read_json

RECORD = "pumice.json"
NEXT = "llava_next"


def layout_pieces(folder: Path, *, template: str | None, name: str) -> Pieces:
    """The pieces of a folder in one of transformers' layouts (see ``pumice.model.names``).

    Raises:
        CheckpointError: a file or key that does not fit, or a configuration without a place here.
    """
    config = load_config(folder)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    connector = str(record.get("connector", TRANSFORMERS_CONNECTOR))
    _check_supported(config, connector, folder)
    parts = split_parts(open_weights(folder), LmNames(body=body_name(config.text_config)), folder)
    parts["lm"] = with_quantized(parts["lm"])
    where = str(folder)
    processor = read_processor(folder)
    if config.model_type == NEXT:
        processor = processor.with_mode("squash")  # as the whole picture becomes its first tile
    towers = [PartPieces(config.vision_config, parts["tower"], where)]
    processors = [processor]
    if record.get("joined"):
        others, processors = _joined(record["joined"], parts["towers"], folder)
        towers += others
    elif parts["towers"]:
        check_keys({}, {f"vision_towers.{key}": item for key, item in parts["towers"].items()}, where)
    return Pieces(
        folder=folder,
        language=PartPieces(config.text_config, parts["lm"], where),
        generation=folder,
        towers=towers,
        processors=processors,
        processor=processor,
        connector=connector,
        bridge=parts["connector"],
        newline=parts["newline"].get(""),
        tokenizer=load_tokenizer(folder),
        template=template_name(template, record.get("template"), folder, name),
        image_token_id=int(config.image_token_index),
        select_layer=_layers(config.vision_feature_layer),
        select_feature=str(record.get("select_feature") or _select_feature(config)),
        facts={**_next_facts(config), **image_facts(record)},
    )


def _joined(
    records: Sequence[Mapping[str, Any]], tensors: Mapping[str, Stored], folder: Path
) -> tuple[list[PartPieces], list[ImageProcessor]]:
    """The second and further towers of several, and how the pixels of each are made."""
    towers = []
    for number, fields in enumerate(records[1:], start=1):
        lead = f"{number}."
        own = {key.removeprefix(lead): item for key, item in tensors.items() if key.startswith(lead)}
        towers.append(PartPieces(AutoConfig.for_model(**fields["config"]), own, str(folder)))
    processors = [
        ImageProcessor(int(item["image_size"]), tuple(item["mean"]), tuple(item["std"])) for item in records
    ]
    return towers, processors


def _next_facts(config: Any) -> dict[str, Any]:
    """LLaVA-NeXT's tiles, as its configuration has them: there a grid is (height, width)."""
    if config.model_type != NEXT:
        return {}
    return {
        "aspect": "anyres",
        "pinpoints": tuple((int(width), int(height)) for height, width in config.image_grid_pinpoints),
        "flavour": "transformers",
        "merge_type": "spatial_unpad",
        "newline": True,
        "multi_image": "same",
    }


def activation(connector: str) -> str:
    """``projector_hidden_act``: one that transformers refuses where its projector is not ours."""
    return "gelu" if connector == TRANSFORMERS_CONNECTOR else f"pumice_{connector}"


def _check_supported(config: Any, connector: str, folder: Path) -> None:
    """CheckpointError for a LLaVA config that this model has no place for."""
    where = str(folder / "config.json")
    act = str(config.projector_hidden_act)
    known = act == activation(connector) or (act.startswith("pumice_") and (folder / RECORD).is_file())
    if not known or not config.multimodal_projector_bias:
        raise CheckpointError(
            "only connectors with exact GELU and biases are supported, but projector_hidden_act is "
            f"{config.projector_hidden_act!r}, multimodal_projector_bias {config.multimodal_projector_bias}",
            where=where,
        )


def _layers(value: Any) -> int | tuple[int, ...]:
    return int(value) if isinstance(value, int) else tuple(int(layer) for layer in value)


def _select_feature(config: Any) -> str:
    return "patch" if config.vision_feature_select_strategy == "default" else "cls_patch"
