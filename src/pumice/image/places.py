"""Where each token of a picture stands in the picture: ``layout`` and ``anyres`` the other way round.

Legend: T tokens of a picture, F features along a side of a tile, N frames, R rows and C columns of a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumice.image.grid import Size, fitted
from pumice.image.layout import ImageLayout
from pumice.image.process import ImageProcessor

FINEST = 64
"""The most rows or columns of a map over a picture."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the tokens of one picture or video stand.

    Attributes:
        boxes_T4: float64 [T, 4], x1, y1, x2, y2 as fractions of the picture. Not a number for a token that
            shows no part of it: ``image_newline``, a class token, or a patch of padding alone.
        frames_T: int64 [T], the frame of a video; 0 for a picture.
        features_T: bool [T], whether the token is made of the picture: false for ``image_newline`` alone.
        frames: how many frames there are; 1 for a picture.
    """

    boxes_T4: Floats
    frames_T: NDArray[np.int64]
    features_T: NDArray[np.bool_]
    frames: int = 1

    @property
    def shown_T(self) -> NDArray[np.bool_]:
        """Bool [T], whether the token has a place in the picture."""
        return ~np.isnan(self.boxes_T4[:, 0])

    @property
    def grid(self) -> Size:
        """Columns and rows of a map as fine as the smallest tokens, at most ``FINEST``."""
        boxes = self.boxes_T4[self.shown_T]
        if not len(boxes):
            return 1, 1
        # Boxes at the border are cut and say nothing of the grid: the median of the finer half does.
        sides = [np.sort(boxes[:, k + 2] - boxes[:, k]) for k in (0, 1)]
        fine = [float(np.median(one[: max(1, len(one) // 2)])) for one in sides]
        columns, rows = (int(np.clip(round(1 / side), 1, FINEST)) for side in fine)
        return columns, rows

    def spread(self, values_T: Floats, grid: Size | None = None) -> Floats:
        """Values of tokens as a map over the picture, float64 [N, R, C].

        Each value is spread evenly over its token's box, so the map's sum is that of all values that have a
        place.

        Args:
            values_T: one a token, float [T].
            grid: columns and rows; ``self.grid`` by default.
        """
        columns, rows = grid or self.grid
        heat_NRC = np.zeros((self.frames, rows, columns))
        shown_T = self.shown_T
        boxes_S4, frames_S = self.boxes_T4[shown_T], self.frames_T[shown_T]
        across_SC = _overlaps(boxes_S4[:, 0], boxes_S4[:, 2], columns)
        down_SR = _overlaps(boxes_S4[:, 1], boxes_S4[:, 3], rows)
        for frame in range(self.frames):
            own = frames_S == frame
            heat_NRC[frame] = np.einsum("s,sr,sc->rc", values_T[shown_T][own], down_SR[own], across_SC[own])
        return heat_NRC


def token_places(layout: ImageLayout, processor: ImageProcessor, size: Size) -> Places:
    """Where the tokens of a picture stand (those of the layout: marks around them are not counted).

    Args:
        layout: how it is laid out.
        processor: what makes its tower inputs (``processor_for`` of the layout's settings).
        size: its width and height in pixels; of a video, those of a frame.
    """
    if layout.is_video:
        return _video(layout, processor.with_mode(layout.video.aspect), size)
    settings, blank = layout.settings, np.full((layout.settings.class_tokens, 4), np.nan)
    square = _in_square(_cells(settings.features, settings.features), layout)
    whole = _from_square(square, "squash" if processor.mode == "anyres" else processor.mode, processor, size)
    base_P4 = np.concatenate([blank, whole])
    newline_14 = np.full((1, 4), np.inf)  # told from other tokens without a place until the end
    if layout.tiles == 1:
        return _made([base_P4, *([newline_14] if layout.writes_newline else [])])
    columns, rows = layout.grid
    if settings.merge == "flat":
        parts = [base_P4]
        for row in range(rows):
            for column in range(columns):
                shift = np.array([column, row, column, row]) * settings.side
                parts += [blank, _from_canvas(square + shift, layout, size)]
        return _made(parts)
    left, top, right, bottom = layout.crop
    kept_columns, kept_rows = layout.kept
    cells = _cells(kept_columns, kept_rows)
    scale = np.array([(right - left) / kept_columns, (bottom - top) / kept_rows] * 2)
    map_K4 = _from_canvas(_in_square(cells * scale + [left, top, left, top], layout), layout, size)
    if not layout.writes_newline:
        return _made([base_P4, map_K4])
    lines = map_K4.reshape(kept_rows, kept_columns, 4)
    ends = np.full((kept_rows, 1, 4), np.inf)
    return _made([base_P4, np.concatenate([lines, ends], axis=1).reshape(-1, 4)])


def _video(layout: ImageLayout, processor: ImageProcessor, size: Size) -> Places:
    columns, rows = layout.kept
    stride, features = layout.video.stride, layout.settings.features
    # Means and maxima leave an odd last row out; bilinear pooling squeezes all rows into fewer.
    step = (features / columns, features / rows) if layout.video.pooling == "bilinear" else (stride, stride)
    boxes = _from_square(
        _in_square(_cells(columns, rows) * np.array([*step, *step]), layout), processor.mode, processor, size
    )
    mode = layout.video.newline if layout.writes_newline else "none"
    if mode == "grid":
        ends = np.full((rows, 1, 4), np.inf)
        boxes = np.concatenate([boxes.reshape(rows, columns, 4), ends], axis=1).reshape(-1, 4)
    elif mode == "frame":
        boxes = np.concatenate([boxes, np.full((1, 4), np.inf)])
    last = [np.full((1, 4), np.inf)] if mode == "one_token" else []
    frames = np.repeat(np.arange(layout.frames), len(boxes))
    return _made([boxes] * layout.frames + last, np.append(frames, [layout.frames - 1] * len(last)), layout)


def _made(
    parts: list[Floats], frames: NDArray[np.int64] | None = None, video: ImageLayout | None = None
) -> Places:
    boxes_T4 = np.concatenate(parts)
    features_T = ~np.isinf(boxes_T4[:, 0])
    boxes_T4 = np.where(features_T[:, None], boxes_T4, np.nan)
    frames_T = np.zeros(len(boxes_T4), np.int64) if frames is None else frames.astype(np.int64)
    return Places(boxes_T4, frames_T, features_T, 1 if video is None else video.frames)


def _cells(columns: int, rows: int) -> Floats:
    """The boxes of a grid's cells, row by row, in cells."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float64)


def _in_square(features_x4: Floats, layout: ImageLayout) -> Floats:
    """Places counted in features, over one tile or several side by side, as pixels of the tower's input.

    A tower leaves out the pixels that make no whole patch, so a tile's features may end before it does.
    """
    side, features = layout.settings.side, layout.settings.features
    tile, inside = np.divmod(features_x4, features)
    pixels_x4: Floats = tile * side + inside * (side // features)
    return pixels_x4


def _from_square(square_x4: Floats, mode: str, processor: ImageProcessor, size: Size) -> Floats:
    """Pixels of the tower's square input as fractions of the picture; the steps are ``ImageProcessor``'s."""
    side, (width, height) = processor.image_size, size
    if mode == "squash":
        return _clipped(square_x4 / side)
    if mode == "pad":
        longest = max(width, height)
        offsets = np.array([(longest - width) // 2, (longest - height) // 2] * 2)
        return _clipped((square_x4 / side * longest - offsets) / [width, height, width, height])
    edge = processor.shortest_edge
    wide = edge if width <= height else int(edge * width / height)
    high = edge if height <= width else int(edge * height / width)
    offsets = np.array([(wide - side) // 2, (high - side) // 2] * 2)
    return _clipped((square_x4 + offsets) / [wide, high, wide, high])


def _from_canvas(pixels_x4: Floats, layout: ImageLayout, size: Size) -> Floats:
    """Pixels of the canvas that is cut into tiles as fractions of the picture in its middle."""
    wide, high = fitted(size, layout.canvas)
    offsets = np.array([(layout.canvas[0] - wide) // 2, (layout.canvas[1] - high) // 2] * 2)
    return _clipped((pixels_x4 - offsets) / [wide, high, wide, high])


def _clipped(boxes_x4: Floats) -> Floats:
    """Boxes cut at the picture's border; not a number where nothing is left."""
    cut = np.clip(boxes_x4, 0.0, 1.0)
    empty = (cut[:, 2] - cut[:, 0] < 1e-9) | (cut[:, 3] - cut[:, 1] < 1e-9)
    kept_x4: Floats = np.where(empty[:, None], np.nan, cut)
    return kept_x4


def _overlaps(low_S: Floats, high_S: Floats, cells: int) -> Floats:
    """Which share of each interval lies in each of ``cells`` equal parts of 0 to 1: [S, cells]."""
    edges = np.arange(cells + 1) / cells
    lengths_SK = np.minimum(high_S[:, None], edges[1:]) - np.maximum(low_S[:, None], edges[:-1])
    shares_SK: Floats = np.clip(lengths_SK, 0, None) / (high_S - low_S)[:, None]
    return shares_SK
