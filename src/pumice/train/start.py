"""The model that a run begins with: new, of two parts or more, or a whole checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pumice.image.settings import VideoSettings
from pumice.model import Checkpoint, Tiles, build_model, load_model
from pumice.model.sources import read_processor
from pumice.recipes.schema import ImageOptions, Recipe
from pumice.train.record import Parts


def starting_model(recipe: Recipe, parts: Parts) -> Checkpoint:
    """The model of a recipe before its first stage, float32, with its tokenizer and image processor.

    Raises:
        CheckpointError: folders, files or options that do not fit.
    """
    own = recipe.model
    if parts.checkpoint is not None:
        return load_model(parts.checkpoint, template=own.template)
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
        tiles=_tiles(own.image, parts.vision) if own.image.aspect == "anyres" else None,
    )
    if own.video is not None:
        model.config = replace(model.config, video=VideoSettings(**own.video.model_dump()))
    single = processor.with_mode("squash" if own.image.aspect == "anyres" else own.image.aspect)
    return Checkpoint(model, tokenizer, single)


def _tiles(image: ImageOptions, vision: Path) -> Tiles:
    """How pictures are cut, in pixels of the tower's square."""
    side = read_processor(vision).image_size
    grids = [tuple(map(int, grid.split("x"))) for grid in image.grids]
    return Tiles(
        pinpoints=tuple((columns * side, rows * side) for columns, rows in grids),
        aspect="anyres" if image.max_tiles is None else f"anyres_max_{image.max_tiles}",
        flavour=image.flavour,
        merge_type=image.merge,
        multi_image=image.multi_image,
    )
