"""Which region each patch of a picture belongs to: the target of grounded alignment.

Works on boxes alone, so any data with boxes and phrases can use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumice.types import Box, IntArray

BACKGROUND = -1


def assign_regions(boxes: Sequence[Box], grid: int) -> tuple[IntArray, IntArray]:
    """Give each patch of a ``grid`` x ``grid`` picture to at most one box.

    A patch belongs to the smallest box that covers its centre; of equal boxes, to the one whose
    own centre is nearest. The patch that holds a box's centre always belongs to that box (to the
    smallest one, if several centres fall together), so that no box is ever without a patch.

    Args:
        boxes: x1, y1, x2, y2 as fractions of the picture.
        grid: patches per side.

    Returns:
        ``owner`` int64 [grid*grid], index of the box or ``BACKGROUND``, row-major; and ``center``
        int64 [len(boxes)], the patch that holds each box's centre.
    """
    owner = np.full(grid * grid, BACKGROUND, dtype=np.int64)
    if not boxes:
        return owner, np.zeros(0, dtype=np.int64)
    box = np.asarray(boxes, dtype=np.float64)
    x1, y1, x2, y2 = box.T
    area = (x2 - x1) * (y2 - y1)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    middle = (np.arange(grid) + 0.5) / grid
    px, py = np.tile(middle, grid), np.repeat(middle, grid)
    inside = (px[:, None] >= x1) & (px[:, None] <= x2) & (py[:, None] >= y1) & (py[:, None] <= y2)
    distance = np.hypot(px[:, None] - cx, py[:, None] - cy)
    # Area decides; distance (below 2) only breaks ties, since areas carry three decimals squared.
    rank = np.where(inside, area + 1e-7 * distance, np.inf)
    covered = inside.any(axis=1)
    owner[covered] = rank.argmin(axis=1)[covered]
    column = np.clip((cx * grid).astype(np.int64), 0, grid - 1)
    row = np.clip((cy * grid).astype(np.int64), 0, grid - 1)
    center = row * grid + column
    for index in np.argsort(-area, kind="stable"):
        owner[center[index]] = index
    return owner, center


def patch_places(boxes: Sequence[Box], owner: IntArray, grid: int) -> NDArray[np.float32]:
    """Where what each patch shows is: float32 [grid*grid, 2], x and y as fractions of the picture.

    For a patch of a box this is the box's centre, since "where is it?" asks for the whole thing's place
    and a patch's own is off by up to half the thing; for background it is the patch's own centre.

    Args:
        boxes: x1, y1, x2, y2 as fractions of the picture.
        owner: as ``assign_regions`` gives it for these boxes.
        grid: patches per side.
    """
    middle = (np.arange(grid) + 0.5) / grid
    places = np.stack((np.tile(middle, grid), np.repeat(middle, grid)), axis=1)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        places[owner == index] = ((x1 + x2) / 2, (y1 + y2) / 2)
    return places.astype(np.float32)
