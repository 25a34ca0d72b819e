"""The arithmetic of any-resolution pictures: which grid, how large in it, what of the map is picture.

Numbers only. Sizes are (width, height) everywhere, pinpoints too; where a checkpoint writes them the
other way round they are turned when they are read (``pumice.image.settings.parse_pinpoints``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Flavour = Literal["original", "transformers"]
"""Whose rounding: LLaVA's own code or transformers' port of it. See ``unpadded``."""

Size = tuple[int, int]
"""Width and height."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom; right and bottom are exclusive."""

POOL_ABOVE = 1.1
"""``anyres_max_N`` shrinks a map only if its side is over this many times what N tiles would give."""


def best_pinpoint(size: Size, pinpoints: Sequence[Size]) -> Size:
    """The canvas on which a picture keeps most of its pixels and wastes fewest; the first of equals.

    Source: ``select_best_resolution`` of LLaVA-NeXT and transformers, which agree but for the order of
    the numbers.
    """
    width, height = size
    best, most, least = pinpoints[0], -1, 0
    for wide, high in pinpoints:
        # Rounding in this order decides between neighbours: int() of each side, then the product.
        scale = min(wide / width, high / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        wasted = wide * high - effective
        if effective > most or (effective == most and wasted < least):
            best, most, least = (wide, high), effective, wasted
    return best


def fitted(size: Size, canvas: Size) -> Size:
    """The picture's size on its canvas: one side filled, the other rounded up and never over the edge."""
    width, height = size
    wide, high = canvas
    across, down = wide / width, high / height
    if across < down:
        return wide, min(math.ceil(height * across), high)
    return min(math.ceil(width * down), wide), high


def unpadded(size: Size, feature_map: Size, flavour: Flavour) -> Box:
    """The part of a map of features (columns, rows) that holds picture and no padding.

    The same number of rows (or columns) goes on both sides, so one of padding may stay. A picture far
    longer than its canvas keeps nothing of an even map: the count is then zero in both flavours.

    transformers rounds to seven digits before it cuts off the fraction. So it mends 47.99999999 to 48,
    where the original has 47 and keeps a row less (792 x 1408: 1872 tokens and not 1968).
    """
    width, height = size
    columns, rows = feature_map
    if width / height > columns / rows:
        padding = (rows - _whole(height * (columns / width), flavour)) // 2
        return 0, padding, columns, rows - padding
    padding = (columns - _whole(width * (rows / height), flavour)) // 2
    return padding, 0, columns - padding, rows


def _whole(value: float, flavour: Flavour) -> int:
    return int(round(value, 7)) if flavour == "transformers" else int(value)


def shrunk(feature_map: Size, features: int, max_tiles: int) -> Size:
    """Columns and rows after ``anyres_max_N``: as many features as N tiles hold, about.

    Args:
        feature_map: columns and rows of the unpadded map.
        features: features along one side of a tile.
        max_tiles: N.
    """
    columns, rows = feature_map
    times = math.sqrt(rows * columns / (max_tiles * features**2))
    if times <= POOL_ABOVE:
        return feature_map
    # The original would ask torch for a map of no rows where a side is shorter than `times`.
    return max(1, int(columns // times)), max(1, int(rows // times))
