"""Where a box of the original picture lies in the tower's square input.

Of a picture that is cut into tiles (``anyres``) the square is the base: the whole picture squashed, whose
features come first among its tokens.
"""

from __future__ import annotations

from pumice.image.process import ImageProcessor
from pumice.types import Box

MIN_VISIBLE = 0.5
"""Share of a box that must survive a crop for the box to be kept."""


def map_box(box: Box, size: tuple[int, int], processor: ImageProcessor) -> Box | None:
    """The box after cropping, padding or squashing, as fractions of the square (of the base with ``anyres``).

    Args:
        box: fractions of the original picture.
        size: its width and height in pixels.
        processor: what is done to it.

    Returns:
        The box, or None where a crop leaves less than ``MIN_VISIBLE`` of it.
    """
    if processor.mode in ("squash", "anyres"):
        return box
    width, height = size
    if processor.mode == "pad":
        side = float(max(width, height))
        offset_x, offset_y = (side - width) / 2, (side - height) / 2
        scale_x, scale_y = width / side, height / side
        x1, y1, x2, y2 = box
        left, top = offset_x / side, offset_y / side
        return (left + x1 * scale_x, top + y1 * scale_y, left + x2 * scale_x, top + y2 * scale_y)
    scale = processor.shortest_edge / min(width, height)
    crop = processor.image_size
    left, top = (width * scale - crop) / 2, (height * scale - crop) / 2
    corners = (
        (box[0] * width * scale - left) / crop,
        (box[1] * height * scale - top) / crop,
        (box[2] * width * scale - left) / crop,
        (box[3] * height * scale - top) / crop,
    )
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in corners)
    whole = (corners[2] - corners[0]) * (corners[3] - corners[1])
    if whole <= 0 or (x2 - x1) * (y2 - y1) < MIN_VISIBLE * whole:
        return None
    return (x1, y1, x2, y2)
