"""One stage, read and counted as training would, and packed into its steps; nothing is computed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pumice.cost.shape import Load
from pumice.data.counting import count_tokens
from pumice.data.mixture import Mixture, read_mixture, summarise
from pumice.data.plan import Plan
from pumice.data.preflight import Preflight, preflight
from pumice.data.problems import Refusals
from pumice.forecast.load import histogram, plan_load, quantiles, tiles_of, used_samples, views_of
from pumice.forecast.options import Options
from pumice.image.grid import Size
from pumice.image.settings import VideoSettings
from pumice.image.video import Extent, VideoInfo
from pumice.model.geometry import Geometry, model_geometry
from pumice.model.planned import Planned
from pumice.recipes.schema import Recipe, Stage
from pumice.train.codec import tile_bytes
from pumice.train.dataset import StageData
from pumice.train.keeping import budget_error, disk_budget, disk_bytes
from pumice.train.pictures import Pictures
from pumice.train.prepare import check_grounding, grounding_words, stage_plan
from pumice.train.remember import Budget
from pumice.train.sources import refused_rows, source_of
from pumice.types import IntArray, Picture, Video


@dataclass(frozen=True, slots=True)
class Counted:
    """A stage whose data was read.

    Attributes:
        plan: its steps; the one that training would make of the same data.
        load: what is computed on.
        sources: per source, as ``mixture.json`` has it.
        validation: the same for the data that is validated on.
        refused: rows that cannot be used, as ``refused.jsonl`` has them.
        lengths: tokens of every sample, int64 [samples].
        facts: numbers to show and to keep.
    """

    plan: Plan
    load: Load
    sources: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    lengths: IntArray
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What is said of a stage: plain values, as ``plan.json`` has them, and its steps where data was read."""

    summary: dict[str, Any]
    counted: Counted | None = None


class _Assumed(Mapping[Picture, Extent]):
    """One size for all pictures, and as many frames as are sampled for all videos: none is looked at."""

    def __init__(self, size: Size, video: VideoSettings | None) -> None:
        self.size, self.video = size, video

    def __getitem__(self, picture: Picture) -> Extent:
        if not isinstance(picture, Video):
            return self.size
        frames, rate = (1, None) if self.video is None else (self.video.frames, self.video.fps)
        return VideoInfo(picture.path, "folder", frames, rate)

    def __iter__(self) -> Iterator[Picture]:
        return iter(())

    def __len__(self) -> int:
        return 1

    def values(self) -> Any:
        """The size, once: all pictures have it, and what videos have follows from the settings."""
        return [self.size]


def count_stage(
    recipe: Recipe, stage: Stage, planned: Planned, options: Options, *, flat: bool, alone: bool
) -> Counted:
    """Read, check, count and pack a stage's data; rows that cannot be used are left out and told.

    Args:
        recipe: the run.
        stage: one of its stages.
        planned: the model.
        options: how thoroughly.
        flat: as for ``plan_load``.
        alone: it trains on one device.

    Raises:
        DataError: a file cannot be read at all, or no row of it can be used; words of a grounded stage do not
            fit.
        RecipeError: words of a grounded stage are not one token each.
    """
    geometry = model_geometry(planned.model.config, planned.model.tower, planned.processor, stage.aspect)
    refusals = Refusals()
    names = list(stage.sources)
    if stage.grounding is not None and not planned.estimated:
        grounding_words(stage, planned.tokenizer)
    data, mixture, checked, sizes = _read(recipe, stage, names, planned, geometry, refusals, options)
    validation: StageData | None = None
    plan = stage_plan(stage, mixture, checked, recipe.seed)
    rows = _summaries(mixture, checked, refusals)
    held_out: list[dict[str, Any]] = []
    shown = [(used_samples(mixture.samples, plan), sizes)]
    if stage.validation is not None and stage.validation.source is not None:
        names, limit = [stage.validation.source], stage.validation.limit
        validation, own, found, extents = _read(
            recipe, stage, names, planned, geometry, refusals, options, limit
        )
        shown.append((own.samples, extents))
        held_out = _summaries(own, found, refusals)
    if options.images and not planned.estimated:
        check_grounding(stage, data, validation)
    tiles = tiles_of(mixture.samples, sizes, geometry)
    features = _features(planned, stage, *views_of(shown, geometry), geometry, alone=alone)
    load = plan_load(plan, checked, tiles, kept=features["keep"] != "none", dense=stage.dense, flat=flat)
    facts = _facts(plan, checked, mixture, geometry, stage, tiles, features)
    return Counted(plan, load, rows, held_out, refused_rows(stage, refusals), checked.lengths, facts)


def _read(
    recipe: Recipe,
    stage: Stage,
    names: list[str],
    planned: Planned,
    geometry: Geometry,
    refusals: Refusals,
    options: Options,
    limit: int | None = None,
) -> tuple[StageData, Mixture, Preflight, Mapping[Picture, Extent]]:
    sources = [source_of(recipe, name) for name in names]
    if limit is not None:
        sources = [dataclasses.replace(one, limit=min(one.limit or limit, limit)) for one in sources]
    mixture = read_mixture(
        sources,
        seed=recipe.seed,
        check_files=options.images,
        cache_folder=options.cache,
        progress=options.progress,
        refusals=refusals,
    )
    data = _stage_data(mixture, stage, planned, geometry)
    most = getattr(planned.model.lm.config, "max_position_embeddings", None)
    if options.images:
        checked = preflight(
            mixture.samples,
            data.encode,
            decode=options.decode,
            video=geometry.settings.video,
            cache_folder=options.cache,
            settings=data.settings(),
            processes=os.cpu_count() or 1,
            workers=os.cpu_count() or 1,
            progress=options.progress,
            max_positions=most,
            refusals=refusals,
        )
        sizes: Mapping[Picture, Extent] = checked.sizes
    else:
        sizes = _Assumed(options.size, geometry.settings.video)
        counts = count_tokens(
            mixture.samples,
            data.encode,
            sizes,
            cache_folder=options.cache,
            settings=data.settings(),
            processes=os.cpu_count() or 1,
            progress=options.progress,
            max_positions=most,
            refusals=refusals,
        )
        bad = np.flatnonzero(counts.lengths == 0)
        checked = Preflight({}, counts.lengths, counts.supervised, counts.image_tokens, 0, bad)
    left = mixture.without(checked.refused)
    if not len(left.samples):
        refusals.check(f"no row of {', '.join(names)} can be used", {})
    data.samples = left.samples
    return data, left, checked.usable(), sizes


def _stage_data(mixture: Mixture, stage: Stage, planned: Planned, geometry: Geometry) -> StageData:
    """What training renders with, and so counts with; nothing is remembered of single samples."""
    template = planned.template(stage.template)
    return StageData(
        mixture.samples,
        planned.tokenizer_for(template),
        template,
        pictures=Pictures(geometry),
        image_token_id=planned.model.config.image_token_id,
        stage=stage,
        budget=Budget(0),
    )


def _features(
    planned: Planned, stage: Stage, views: int, tiles: int, geometry: Geometry, *, alone: bool
) -> dict[str, Any]:
    """What training would do with the features of a stage's views, to train and to validate.

    Args:
        planned: the model.
        stage: says how.
        views: that it shows, to train and to validate.
        tiles: the tower's inputs of them.
        geometry: of the stage.
        alone: it trains on one device: several keep none in memory.
    """
    way, tower = stage.features, planned.model.tower
    told: dict[str, Any] = {"keep": "none", "dtype": way.dtype}
    if "vision" in stage.parts or not views:
        return told
    if way.keep == "disk":
        error = budget_error(stage, tiles, views, tower)
        size, budget = disk_bytes(tiles, views, tower, way.dtype), disk_budget(stage)
        refused = None if error is None else {"what": error.what, "where": error.where, "to do": error.remedy}
        return {**told, "keep": "disk", "views": views, "bytes": size, "budget": budget, "refused": refused}
    if not alone or not Pictures(geometry).fits(planned.model, tiles, way):
        return told
    size = tiles * tile_bytes(tower.length, tower.dim, way.dtype)
    return {**told, "keep": "memory", "views": views, "bytes": size}


def _summaries(mixture: Mixture, checked: Preflight, refusals: Refusals) -> list[dict[str, Any]]:
    found = summarise(mixture, checked.lengths, checked.supervised, refusals)
    return [dataclasses.asdict(row) for row in found]


def _facts(
    plan: Plan,
    checked: Preflight,
    mixture: Mixture,
    geometry: Geometry,
    stage: Stage,
    tiles: IntArray,
    features: dict[str, Any],
) -> dict[str, Any]:
    """Numbers of one epoch's samples, and of the plan's rows."""
    lengths = checked.lengths
    edges, counts = histogram(lengths, stage.row_length)
    rows = np.array([len(step) for step in plan.steps], np.int64)
    images = int(sum(np.diff(table.columns.use_start)[own].sum() for table, own in mixture.samples.parts))
    tokens, image_tokens = int(lengths.sum()), int(checked.image_tokens.sum())
    text_only = int((checked.image_tokens == 0).sum())
    return {
        "samples": len(lengths),
        "text_only": text_only,
        "images": images,
        "tower_inputs": int(tiles.sum()),
        "tokens": {
            "all": tokens,
            "image": image_tokens,
            "text": tokens - image_tokens,
            "supervised": int(checked.supervised.sum()),
        },
        "lengths": {"edges": edges, "counts": counts, **quantiles(lengths)},
        "packing": {
            "row_length": stage.row_length,
            "rows": int(rows.sum()),
            "rows_per_step": float(rows.mean()),
            "samples_per_row": sum(len(plan.samples(step)) for step in range(len(plan))) / int(rows.sum()),
            "filled": plan.fill,
            "one_sample_a_row": float(lengths.mean() / _padded(lengths, stage)),
        },
        "steps": len(plan),
        "epochs": max(plan.epochs) + 1,
        "digest": plan.digest,
        "features": features,
        "aspect": geometry.settings.aspect,
    }


def _padded(lengths: IntArray, stage: Stage) -> float:
    """The mean length of rows of one sample each, padded to the longest of a batch in the data's order."""
    batch = stage.samples_per_step or max(1, round(stage.row_length * (stage.rows or 1) / lengths.mean()))
    starts = np.arange(0, len(lengths), batch)
    sizes = np.diff(np.append(starts, len(lengths)))
    return float((np.maximum.reduceat(lengths, starts) * sizes).sum() / len(lengths))
