"""What a tower sees, as a picture that people can look at: normalisation taken back, tiles as a grid.

Legend: N tiles, H = W the tower's input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.image.layout import ImageLayout
from pumice.image.process import ImageProcessor

GAP = 6
"""Pixels between tiles."""
_BETWEEN = (255, 255, 255)


def seen(pixels_N3HW: NDArray[np.float32], layout: ImageLayout, processor: ImageProcessor) -> Image.Image:
    """One RGB picture of all inputs of the tower.

    Args:
        pixels_N3HW: what the tower gets, normalised.
        layout: with which it was made: of a picture that was cut, the whole one first, then its tiles row by
            row; of a video, its frames.
        processor: how it was normalised.
    """
    tiles = [plain(pixels_3HW, processor) for pixels_3HW in pixels_N3HW]
    if len(tiles) == 1:
        return tiles[0]
    if layout.is_video:
        return _grid(tiles, columns=min(len(tiles), 8))
    columns, rows = layout.grid
    cut = _grid(tiles[1:], columns=columns)
    side = tiles[0].width
    both = Image.new("RGB", (side + 2 * GAP + cut.width, max(side, cut.height)), _BETWEEN)
    both.paste(tiles[0], (0, 0))
    both.paste(cut, (side + 2 * GAP, 0))
    assert len(tiles) == 1 + columns * rows
    return both


def plain(pixels_3HW: NDArray[np.float32], processor: ImageProcessor) -> Image.Image:
    """The RGB picture of one input, its mean and deviation put back."""
    mean, std = (np.asarray(values, np.float64)[:, None, None] for values in (processor.mean, processor.std))
    scaled_3HW = (pixels_3HW.astype(np.float64) * std + mean) / processor.rescale_factor
    return Image.fromarray(np.clip(np.rint(scaled_3HW), 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _grid(tiles: list[Image.Image], columns: int) -> Image.Image:
    side = tiles[0].width
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (columns * side + (columns - 1) * GAP, rows * side + (rows - 1) * GAP), _BETWEEN)
    for number, tile in enumerate(tiles):
        whole.paste(tile, (number % columns * (side + GAP), number // columns * (side + GAP)))
    return whole
