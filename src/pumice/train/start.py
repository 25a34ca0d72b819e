"""The model that a run begins with: new, of two parts or more, or a whole checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.image.settings import VideoSettings
from pumice.model import Checkpoint, VisionLanguageModel, build_model, load_model
from pumice.model.build import draw_newline
from pumice.model.geometry import model_geometry, tile_facts
from pumice.recipes.schema import Recipe
from pumice.train.optim import writes_newline
from pumice.train.record import Parts


def starting_model(recipe: Recipe, parts: Parts) -> Checkpoint:
    """The model of a recipe before its first stage, float32, with its tokenizer and image processor.

    Raises:
        CheckpointError: folders, files or options that do not fit.
    """
    own = recipe.model
    if parts.checkpoint is not None:
        loaded = load_model(parts.checkpoint, template=own.template)
        return _prepared(recipe, *loaded)
    assert parts.vision is not None
    assert parts.language is not None
    assert own.connector is not None
    assert own.select_layer is not None
    assert own.select_feature is not None
    assert own.template is not None
    assert own.image is not None
    model, tokenizer, processor = build_model(
        (parts.vision, *parts.more_vision) if parts.more_vision else parts.vision,
        parts.language,
        connector=own.connector,
        select_layer=own.select_layer,
        select_feature=own.select_feature,
        template=own.template,
        seed=recipe.seed,
        scales=own.scales,
    )
    return _prepared(recipe, model, tokenizer, processor)


def _prepared(
    recipe: Recipe, model: VisionLanguageModel, tokenizer: Any, processor: ImageProcessor
) -> Checkpoint:
    """The model with the recipe's way of taking pictures and videos; what it does not say stays."""
    image, video = recipe.model.image, recipe.model.video
    if image is not None:
        processor = processor.with_mode("squash" if image.aspect == "anyres" else image.aspect)
        model.config = replace(model.config, **tile_facts(image, processor.image_size))
        _fit_newline(model, recipe.seed)
    if video is not None:
        if video.newline != "none" and not writes_newline(model):
            raise CheckpointError(
                f"a video has image_newline by {video.newline}, and the model has none",
                where="model.video.newline",
                remedy="set it to none, or set model.image to anyres with spatial_unpad",
            )
        model.config = replace(model.config, video=VideoSettings(**video.model_dump()))
    model_geometry(model.config, model.tower, processor)  # what contradicts itself must fail here
    return Checkpoint(model, tokenizer, processor)


def _fit_newline(model: VisionLanguageModel, seed: int) -> None:
    """Give a model the newline that its config asks for, drawn anew where it has none."""
    if not model.config.newline:
        model.image_newline = None
    elif model.image_newline is None:
        table_VD = model.lm.get_input_embeddings().weight
        model.image_newline = nn.Parameter(torch.zeros_like(table_VD[0]))
        draw_newline(model, seed)
