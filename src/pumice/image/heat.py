"""A heat map over a picture.

Legend: R rows and C columns of a map, H height and W width of the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HOT = (255, 72, 0)
"""The colour of the hottest places. Chosen beside ``GREY``: it is told from every picture's own colours
because these are faded where nothing is hot."""
FADED = 0.72
"""How far a place without heat is faded to grey."""
SHARPENED = 0.6
"""Exponent of heat as it is drawn: weak places would hardly be seen."""


def heated(image: Image.Image, heat_RC: NDArray[np.float64], most: float | None = None) -> Image.Image:
    """A picture with a map over it: cold places are faded and grey, hot ones keep their colours and glow.

    Args:
        image: RGB.
        heat_RC: 0 or more, float [R, C].
        most: what is the hottest; the map's own maximum by default. Give it to draw several alike.

    Returns:
        RGB, of the picture's size; the picture faded where ``most`` is 0.
    """
    most = float(heat_RC.max()) if most is None else most
    scaled_RC = np.clip(heat_RC / most, 0, 1) ** SHARPENED if most > 0 else np.zeros_like(heat_RC)
    small = Image.fromarray(np.rint(scaled_RC * 255).astype(np.uint8))
    glow_HW1 = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC), np.float64)[..., None] / 255
    pixels_HW3 = np.asarray(image.convert("RGB"), np.float64)
    grey_HW3 = np.asarray(image.convert("L"), np.float64)[..., None] * 0.55 + 40
    faded_HW3 = pixels_HW3 + (grey_HW3 - pixels_HW3) * FADED * (1 - glow_HW1)
    hot_HW3 = faded_HW3 + (np.asarray(HOT, np.float64) - faded_HW3) * 0.45 * glow_HW1
    return Image.fromarray(np.clip(np.rint(hot_HW3), 0, 255).astype(np.uint8))
