"""The model of a recipe before anything of it is there: sizes on the meta device, no weights read or made.

Parts that lie here are known by their own configuration and tokenizer, published ones by the facts in
``pumice.model.published``, with a tokenizer that only counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModel, AutoModelForCausalLM

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.image.settings import NEXT_PINPOINTS, VideoSettings
from pumice.model.build import compose_tower, fit_processor, lm_width, tower_names
from pumice.model.config import VLMConfig
from pumice.model.connector import build_connector
from pumice.model.folder import kind_of
from pumice.model.geometry import tile_facts
from pumice.model.layout import layout_pieces
from pumice.model.original import original_pieces
from pumice.model.parts import load_tokenizer, quiet
from pumice.model.pieces import Pieces
from pumice.model.published import (
    Whole,
    published_config,
    published_processor,
    published_whole,
)
from pumice.model.sources import language_config, read_processor, vision_config
from pumice.model.vlm import VisionLanguageModel
from pumice.model.vocabulary import check_rows, extend_vocabulary
from pumice.recipes.schema import Model
from pumice.text.resolve import resolve_template
from pumice.text.sizing import NOTE, sizing_tokenizer
from pumice.text.template import Template
from pumice.text.templates import CHAT, get_template
from pumice.types import HUB

Kind = Literal["vision", "language", "checkpoint"]
"""What a part is for: the key of a recipe's model block."""
Find = Callable[[str, Kind], Path | None]
"""The local folder of a part by the name that a recipe gives it; None for one that is not here."""

CHAT_STAND_IN = "chatml_direct"
"""Counts in the place of a tokenizer's own chat template where the tokenizer is not here."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A model on the meta device, with what is needed to count its tokens.

    Attributes:
        model: its sizes and its config; it has no weights.
        tokenizer: the language model's, or one that only counts (``estimated``).
        processor: how one square is made of a picture.
        estimated: whether numbers of text tokens are estimates.
        notes: what was taken for granted, in words.
    """

    model: VisionLanguageModel
    tokenizer: Any
    processor: ImageProcessor
    estimated: bool = False
    notes: list[str] = field(default_factory=list)

    def template(self, name: str | None) -> Template:
        """A template by name (None: the model's own), whose control tokens the tokenizer then has."""
        name = name or self.model.config.template
        if not self.estimated:
            return resolve_template(name, self.tokenizer)
        if name == CHAT:
            note = (
                f"the tokenizer's own chat template is not here either: {CHAT_STAND_IN} counts in its place"
            )
            if note not in self.notes:
                self.notes.append(note)
            name = CHAT_STAND_IN
        return get_template(name)

    def tokenizer_for(self, template: Template) -> Any:
        """The tokenizer, with the control tokens that a template writes where it only counts."""
        return sizing_tokenizer(template.control) if self.estimated else self.tokenizer


def plan_model(own: Model, find: Find) -> Planned:
    """The model of a recipe's ``model`` block.

    Args:
        own: the block.
        find: where parts lie.

    Raises:
        CheckpointError: a part that is neither here nor known, or options that do not fit.
    """
    with quiet():
        if own.checkpoint is not None:
            folder = find(own.checkpoint, "checkpoint")
            if folder is None:
                planned = _published_whole(own, published_whole(_hub_name(own.checkpoint)))
            else:
                planned = _outline(_pieces(folder, own.template))
        else:
            planned = _new(own, find)
    config, processor = planned.model.config, planned.processor
    if own.image is not None:
        tiled = own.image.aspect == "anyres"
        processor = processor.with_mode("squash" if tiled else own.image.aspect)
        config = replace(config, **tile_facts(own.image, processor.image_size))
    if own.video is not None:
        config = replace(config, video=VideoSettings(**own.video.model_dump()))
    planned.model.config = config
    return replace(planned, processor=processor)


def _new(own: Model, find: Find) -> Planned:
    """A model of two parts or more."""
    assert own.vision is not None
    assert own.language is not None
    assert own.connector is not None
    assert own.select_layer is not None
    assert own.select_feature is not None
    assert own.template is not None
    towers = [_vision(name, find) for name in (own.vision, *own.more_vision)]
    folder = find(own.language, "language")
    if folder is None:
        language, tokenizer = published_config(_hub_name(own.language)), None
    else:
        language, tokenizer = language_config(folder), load_tokenizer(folder)
    return _assembled(
        [config for config, _ in towers],
        [processor for _, processor in towers],
        language,
        tokenizer,
        scales=own.scales,
        facts={
            "connector": own.connector,
            "select_layer": own.select_layer,
            "select_feature": own.select_feature,
            "template": own.template,
        },
    )


def _vision(name: str, find: Find) -> tuple[Any, ImageProcessor]:
    folder = find(name, "vision")
    if folder is not None:
        return vision_config(folder), read_processor(folder)
    config = published_config(_hub_name(name))
    return config, published_processor(config)


def _published_whole(own: Model, whole: Whole) -> Planned:
    vision = published_config(whole.vision)
    processor = published_processor(vision)
    facts: dict[str, Any] = {
        "connector": "mlp2x_gelu",
        "select_layer": -2,
        "select_feature": "patch",
        "template": own.template or whole.template,
    }
    if whole.tiled:
        facts |= {"aspect": "anyres", "pinpoints": NEXT_PINPOINTS, "merge_type": "spatial_unpad"}
        facts |= {"newline": True}
        processor = processor.with_mode("squash")
    return _assembled([vision], [processor], published_config(whole.language), None, scales=(), facts=facts)


def _pieces(folder: Path, template: str | None) -> Pieces:
    kind = kind_of(folder)
    if kind == "transformers":
        return layout_pieces(folder, template=template, name=folder.name)
    return original_pieces(folder, kind, template=template, name=folder.name, vision=None, base=None)


def _outline(pieces: Pieces) -> Planned:
    """The model of a checkpoint whose tensors stay in their files."""
    check_rows(len(pieces.tokenizer), int(pieces.language.config.vocab_size), str(pieces.folder))
    known = ("scales", "towers", "image_marks")
    facts = {key: value for key, value in pieces.facts.items() if key not in known}
    return _assembled(
        [part.config for part in pieces.towers],
        list(pieces.processors),
        pieces.language.config,
        pieces.tokenizer,
        scales=tuple(pieces.facts.get("scales", ())),
        facts={
            **facts,
            "connector": pieces.connector,
            "select_layer": pieces.select_layer,
            "select_feature": pieces.select_feature,
            "template": pieces.template,
        },
        extra=pieces.extra_tokens,
        marked=bool(pieces.facts.get("image_marks")),
        processor=pieces.processor,
    )


def _assembled(
    vision: list[Any],
    processors: list[ImageProcessor],
    language: Any,
    tokenizer: Any,
    *,
    scales: tuple[int, ...],
    facts: dict[str, Any],
    extra: tuple[str, ...] = (),
    marked: bool = False,
    processor: ImageProcessor | None = None,
) -> Planned:
    with torch.device("meta"):
        towers = [_empty(AutoModel, config) for config in vision]
        lm = _empty(AutoModelForCausalLM, language)
        tower = compose_tower(
            towers,
            processors,
            scales,
            select_layer=facts["select_layer"],
            select_feature=facts["select_feature"],
        )
        bridge = build_connector(facts["connector"], tower.dim, lm_width(lm))
        estimated = tokenizer is None
        if estimated:
            tokenizer = sizing_tokenizer()
        image_token_id = extend_vocabulary(lm, tokenizer, extra=extra)
        marks = (0, 0) if marked else None  # their number counts, and not which they are
        config = VLMConfig(
            **facts,
            image_token_id=image_token_id,
            image_seq_length=tower.length + (2 if marks else 0),
            scales=scales,
            towers=tower_names(tower),
            image_marks=marks,
        )
        model = VisionLanguageModel(tower, bridge, lm, config)
    model.eval()
    shown = fit_processor(processors[0] if processor is None else processor, tower)
    return Planned(model, tokenizer, shown, estimated, [NOTE] if estimated else [])


def _empty(auto: Any, config: Any) -> Any:
    """A model of a config, without weights where the default device is the meta device."""
    try:
        return auto.from_config(config)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"transformers has no {auto.__name__} for model_type {config.model_type!r}: {error}"
        ) from error


def _hub_name(name: str) -> str:
    """A part's name on the hub.

    Raises:
        CheckpointError: it is none.
    """
    if not name.startswith(HUB):
        raise CheckpointError(
            f"there is no folder {name!r}", where=name, remedy="give the folder of a checkpoint"
        )
    return name.removeprefix(HUB)
