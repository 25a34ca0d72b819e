"""From the connector's output, tile by tile, to the tokens of a picture or a video.

The other half of ``pumice.image.layout``: the layout says how many tokens there are, this lays them. Every
result has exactly ``layout.tokens`` rows.

Legend: M tiles of several pictures, N tiles of one (frames of a video), Y rows and X columns of tiles,
P features of a tile, p of a pooled frame, D width of a feature, R rows and C columns of a map of features,
T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.image.layout import ImageLayout


def arrange_all(
    features_MPD: Tensor, layouts: Sequence[ImageLayout], newline_D: Tensor | None = None
) -> list[Tensor]:
    """Tokens [T, D] of each picture whose tiles lie one after another in ``features_MPD``.

    Raises:
        CheckpointError: as ``arrange``, or the layouts have another number of tiles.
    """
    counts = [layout.tiles for layout in layouts]
    if sum(counts) != features_MPD.shape[0]:
        raise CheckpointError(f"layouts of {sum(counts)} tiles, but features of {features_MPD.shape[0]}")
    parts = torch.split(features_MPD, counts)
    return [arrange(part, layout, newline_D) for part, layout in zip(parts, layouts, strict=True)]


def arrange(features_NPD: Tensor, layout: ImageLayout, newline_D: Tensor | None = None) -> Tensor:
    """Tokens [T, D] of one picture or video, T = ``layout.tokens``, type and device of the features.

    Args:
        features_NPD: the connector's output for each tile, the base first; for each frame of a video,
            pooled already (``pool_frames``) where the layout's video pools before the connector.
        layout: the picture's.
        newline_D: the model's ``image_newline``.

    Raises:
        CheckpointError: features of another number of tiles or of another size than the layout's, or
            no ``image_newline`` where the layout writes it.
    """
    settings = layout.settings
    newline_D = _newline(features_NPD, newline_D) if layout.writes_newline else None
    if layout.is_video:
        if not layout.video.before_connector:
            features_NPD = pool_frames(features_NPD, layout)
        return _video(features_NPD, layout, newline_D)
    _check(features_NPD, layout.tiles, layout.tile_features)
    if layout.tiles == 1:
        last = [] if newline_D is None else [newline_D[None]]
        return torch.cat([features_NPD[0], *last])
    if settings.merge == "flat":
        return features_NPD.flatten(0, 1)
    map_RCD = _stitched(features_NPD[1:], layout)
    left, top, right, bottom = layout.crop
    map_RCD = map_RCD[top:bottom, left:right]
    columns, rows = layout.kept
    if (rows, columns) != tuple(map_RCD.shape[:2]):
        map_DRC = F.interpolate(map_RCD.permute(2, 0, 1)[None], size=(rows, columns), mode="bilinear")[0]
        map_RCD = map_DRC.permute(1, 2, 0)
    if newline_D is not None:
        map_RCD = _with_newlines(map_RCD, newline_D)
    return torch.cat([features_NPD[0], map_RCD.flatten(0, 1)])


def pool_frames(features_NPD: Tensor, layout: ImageLayout) -> Tensor:
    """Features [N, p, D] of a video's frames [N, P, D], pooled as its settings say.

    A model that pools before the connector calls this on the tower's features; ``arrange`` does it on
    the connector's output otherwise.

    Raises:
        CheckpointError: another number of frames or features than the layout's.
    """
    side = layout.settings.features
    _check(features_NPD, layout.frames, side * side)
    stride, mode = layout.video.stride, layout.video.pooling
    if stride == 1:
        return features_NPD
    map_NDRC = features_NPD.reshape(layout.frames, side, side, -1).permute(0, 3, 1, 2)
    if mode == "average":
        map_NDRC = F.avg_pool2d(map_NDRC, stride)
    elif mode == "max":
        map_NDRC = F.max_pool2d(map_NDRC, stride)
    else:
        columns, rows = layout.kept
        map_NDRC = F.interpolate(map_NDRC, size=(rows, columns), mode="bilinear")
    return map_NDRC.flatten(2).transpose(1, 2)


def _video(features_NPD: Tensor, layout: ImageLayout, newline_D: Tensor | None) -> Tensor:
    columns, rows = layout.kept
    _check(features_NPD, layout.frames, rows * columns)
    mode = layout.video.newline
    if newline_D is None:
        return features_NPD.flatten(0, 1)
    if mode == "grid":
        rows_NRCD = features_NPD.reshape(layout.frames, rows, columns, -1)
        return _with_newlines(rows_NRCD, newline_D).flatten(0, 2)
    if mode == "frame":
        return _with_newlines(features_NPD, newline_D).flatten(0, 1)
    return torch.cat([features_NPD.flatten(0, 1), newline_D[None]])


def _stitched(tiles_NPD: Tensor, layout: ImageLayout) -> Tensor:
    """One map [R, C, D] of tiles that lie row by row."""
    columns, rows = layout.grid
    side = layout.settings.features
    tiles_YXRCD = tiles_NPD.reshape(rows, columns, side, side, -1)
    return tiles_YXRCD.permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, -1)


def _with_newlines(rows_xCD: Tensor, newline_D: Tensor) -> Tensor:
    """The same with ``image_newline`` after each row: [..., C + 1, D]."""
    ends_x1D = newline_D.expand(*rows_xCD.shape[:-2], 1, -1)
    return torch.cat([rows_xCD, ends_x1D], dim=-2)


def _newline(features_NPD: Tensor, newline_D: Tensor | None) -> Tensor:
    if newline_D is None:
        raise CheckpointError(
            "pictures end their rows with image_newline, and the model has no such parameter",
            where="image_newline",
            remedy="load the checkpoint's image_newline, or lay pictures out without it",
        )
    return newline_D.to(features_NPD)


def _check(features_NPD: Tensor, tiles: int, features: int) -> None:
    if tuple(features_NPD.shape[:2]) != (tiles, features):
        raise CheckpointError(
            f"{features_NPD.shape[0]} tiles of {features_NPD.shape[1]} features, but the layout has {tiles} "
            f"of {features}",
            remedy="make pixels and layout with the same settings",
        )
