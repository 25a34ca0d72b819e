"""Whether the features of a stage's pictures are kept, where, and what that is told of.

A frozen tower gives each picture the same features in every epoch of every run. They are kept in memory, or
on disk in a folder that runs share, or made again each time; ``features`` of a stage says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pumice.data.contents import Contents
from pumice.data.samples import images_at
from pumice.errors import RecipeError, RunError
from pumice.model import Tower, VisionLanguageModel
from pumice.recipes.features import FeatureType
from pumice.recipes.schema import Stage
from pumice.train.codec import tile_bytes
from pumice.train.losses import computes_half
from pumice.train.parallel import Ranks
from pumice.train.pictures import Pictures, View
from pumice.train.prepare import Prepared
from pumice.train.shelf import ENTRY_BYTES, HEAD_BYTES, SHARD_BYTES, Shelf
from pumice.train.shelved import Shelved, threads_of
from pumice.train.storeroom import Storeroom
from pumice.train.viewkeys import space_of

FOLDER = "features"
"""Below the cache of the runs."""
DISK_BYTES = 20 * 10**9
"""What the folder may take where a recipe sets no budget."""


class KeepObserver(Protocol):
    """Who is told how far reading is, and what went wrong and was mended."""

    def on_check(self, what: str, done: int, total: int) -> None:
        """While pictures are read."""

    def on_notice(self, text: str) -> None:
        """Something that the run gets over, and that its owner should know."""


def disk_budget(stage: Stage) -> int:
    """Bytes that the folder of a stage's features may take."""
    return DISK_BYTES if stage.features.budget is None else stage.features.budget


def disk_bytes(tiles: int, views: int, tower: Tower, kind: FeatureType) -> int:
    """What the features of so many tiles of so many views take on disk."""
    size = tiles * tile_bytes(tower.length, tower.dim, kind) + views * ENTRY_BYTES
    return size + HEAD_BYTES * -(-size // SHARD_BYTES)


def kept_views(
    ready: Prepared, pictures: Pictures, model: VisionLanguageModel, stage: Stage, ranks: Ranks
) -> list[View] | None:
    """All that a stage shows, in its plan in order of first use, then in validation; None where the features
    are not kept: the tower trains, they are too many for memory, or a recipe wants none. In memory they are
    kept on one rank only."""
    way = stage.features
    if not model.tower.frozen or way.keep == "none":
        return None
    if way.keep == "disk":
        return list(dict.fromkeys(_views(ready, pictures)))
    if not ranks.alone:
        return None
    used: dict[View, None] = {}
    tiles = 0
    for view in _views(ready, pictures):
        if view not in used:
            used[view] = None
            tiles += view.layout.tiles
            if not pictures.fits(model, tiles, way):
                return None
    return list(used)


def _views(ready: Prepared, pictures: Pictures) -> Iterator[View]:
    places = dict.fromkeys(i for step in range(len(ready.plan)) for i in ready.plan.samples(step))
    for i in places:
        yield from pictures.views(images_at(ready.data.samples, i))
    if ready.validation is not None:
        held_out = ready.validation.samples
        for i in range(len(held_out)):
            yield from pictures.views(images_at(held_out, i))


def features_folder(stage: Stage, cache: Path) -> Path:
    """Where a stage's features are on disk."""
    return cache / FOLDER if stage.features.folder is None else Path(stage.features.folder)


def check_room(
    stage: Stage, ready: Prepared, pictures: Pictures, model: VisionLanguageModel, cache: Path
) -> None:
    """Refuse a stage whose features do not fit on disk, before the first step of the run.

    Raises:
        RecipeError: its budget is too small; how much it needs is said, also in smaller numbers.
        RunError: the disk is too full.
    """
    if stage.features.keep != "disk":
        return
    views = dict.fromkeys(_views(ready, pictures))
    tiles = sum(view.layout.tiles for view in views)
    error = budget_error(stage, tiles, len(views), model.tower)
    if error is not None:
        raise error
    folder = features_folder(stage, cache)
    free = shutil.disk_usage(_existing(folder)).free + Storeroom(folder, disk_budget(stage)).used()
    need = disk_bytes(tiles, len(views), model.tower, stage.features.dtype)
    if need > free:
        raise RunError(
            f"the features of {len(views):,} pictures take {need / 1e9:.3g} GB on disk in "
            f"{stage.features.dtype}, and {free / 1e9:.3g} GB are free there",
            where=str(folder),
            remedy=f"make room, name another place in stages.{stage.name}.features.folder"
            f"{_smaller(stage, tiles, len(views), model.tower, free)}, or keep: none",
        )


def budget_error(stage: Stage, tiles: int, views: int, tower: Tower) -> RecipeError | None:
    """What is wrong with the budget of a stage that keeps so many tiles of so many views on disk, if it is
    too small: how much it needs, also in smaller numbers."""
    need, budget = disk_bytes(tiles, views, tower, stage.features.dtype), disk_budget(stage)
    if need <= budget:
        return None
    key = f"stages.{stage.name}.features.budget_gb"
    return RecipeError(
        f"the features of {views:,} pictures take {need / 1e9:.3g} GB on disk in {stage.features.dtype}, and "
        f"the budget is {budget / 1e9:.3g} GB",
        where=key,
        remedy=f"set {key}={_up(need)}{_smaller(stage, tiles, views, tower, budget)}, or keep: none",
    )


def _smaller(stage: Stage, tiles: int, views: int, tower: Tower, limit: int) -> str:
    """The numbers in which they would fit, where there are any."""
    order: tuple[FeatureType, ...] = ("fp32", "bf16", "fp8")
    for kind in order[order.index(stage.features.dtype) + 1 :]:
        need = disk_bytes(tiles, views, tower, kind)
        if need <= limit:
            return f", or dtype={kind} ({need / 1e9:.3g} GB)"
    return ""


def _up(size: int) -> float:
    """GB that are enough, in three digits."""
    gb = size / 1e9
    step = 10.0 ** (len(str(int(gb))) - 3) if gb >= 1 else 1e-6
    return round((int(gb / step) + 1) * step, 6)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def keep_features(
    stage: Stage,
    kept: Sequence[View] | None,
    pictures: Pictures,
    model: VisionLanguageModel,
    ranks: Ranks,
    observer: KeepObserver,
    cache: Path,
) -> dict[str, Any]:
    """Have the features of a stage's views kept before its first step; all ranks call it together.

    Args:
        stage: how.
        kept: of which views (``kept_views``); None keeps none.
        pictures: what gives them afterwards.
        model: on this rank's device.
        ranks: all of them.
        observer: told how far it is.
        cache: beside the runs.

    Returns:
        For the stage's summary: ``keep``, ``dtype``; where some are kept, how many ``views``, their
        ``bytes``, how many were ``made`` now, ``error``, the relative error of keeping them (a root mean
        square). And the ``seconds`` it took to have them.
    """
    way, began = stage.features, time.monotonic()
    pictures.keep_as(way, computes_half(stage, model.device))
    told: dict[str, Any] = {"keep": "none" if kept is None else way.keep, "dtype": way.dtype, "seconds": 0.0}
    if kept is None:
        pictures.forget()
        return told
    tiles = sum(view.layout.tiles for view in kept)
    length, dim = model.tower.length, model.tower.dim
    if way.keep == "memory":
        pictures.let_go()
        made = pictures.prepare(model, kept, observer.on_check)
        size, sums = tiles * tile_bytes(length, dim, way.dtype), pictures.deviation
    else:
        room = Storeroom(features_folder(stage, cache), disk_budget(stage))
        space, about = space_of(model.tower, model.device, way.dtype, pictures.half)
        shelf = Shelf(room, space, about, way.dtype, (length, dim), observer.on_notice)
        shelved = Shelved(shelf, pictures, Contents(cache), threads_of(ranks))
        pictures.read_from(shelved)
        own = shelved.prepare(model, kept, ranks, observer.on_check)
        made = round(ranks.total({"made": float(own)})["made"])
        size, sums = disk_bytes(tiles, len(kept), model.tower, way.dtype), shelf.deviation
    error = (sums[0] / sums[1]) ** 0.5 if sums[1] else 0.0
    seconds = round(time.monotonic() - began, 3)
    return {**told, "views": len(kept), "bytes": size, "made": made, "error": error, "seconds": seconds}
