"""Corners of a picture and what is around them: how a small patch is known again in another picture.

Corners are where the smaller eigenvalue of the gradients' second moments peaks (Shi and Tomasi, Good features
to track, 1994). Around each, colours on a grid are taken, their mean out and to length 1, so that brightness
and contrast do not matter. A patch pasted at another place and 15% larger or smaller keeps its corners, and
most of what is around them.

Legend: H, W pixels, C corners, D numbers of one (3 G^2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Pixels of the shorter side at which corners are looked for."""
MOST = 64
"""Corners of a picture, the strongest."""
AROUND = 0.08
"""Side of what is taken around a corner, as a share of the picture's shorter side."""
GRID = 8
NUMBERS = 3 * GRID * GRID
LEAST = 2e-3
"""The strength from which a place counts as a corner; sensors' noise has a tenth of it."""

Floats = NDArray[np.float32]


def scaled(image: Image.Image) -> Image.Image:
    """The picture with a shorter side of ``SIDE`` pixels."""
    width, height = image.size
    factor = SIDE / min(width, height)
    if factor == 1:
        return image
    way = Image.Resampling.BOX if factor < 0.5 else Image.Resampling.BILINEAR
    return image.resize((max(1, round(width * factor)), max(1, round(height * factor))), way)


def corners(image: Image.Image) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """What is around the corners of an RGB picture, and where they are.

    Returns:
        int8 [C, D], 127 times numbers of length 1; int16 [C, 2], x and y at the scale of ``SIDE``.
    """
    pixels_HW3 = np.asarray(scaled(image), np.float32) / np.float32(255)
    strength_HW = _strength(pixels_HW3)
    half = max(3, round(SIDE * AROUND / 2))
    for cut in (np.s_[:half], np.s_[-half:]):
        strength_HW[cut] = 0
        strength_HW[:, cut] = 0
    peaks_HW = (strength_HW == _highest(strength_HW, 2)) & (strength_HW > LEAST)
    y_C, x_C = np.nonzero(peaks_HW)
    order = np.argsort(-strength_HW[y_C, x_C], kind="stable")[:MOST]
    y_C, x_C = y_C[order], x_C[order]
    around_CD = _around(_mean(pixels_HW3, 1), y_C, x_C, half)
    return np.round(around_CD * 127).astype(np.int8), np.stack([x_C, y_C], 1).astype(np.int16)


def _strength(pixels_HW3: Floats) -> Floats:
    """The smaller eigenvalue of the second moments of the gradients around each pixel."""
    smooth_HW3 = _mean(pixels_HW3, 1)
    down_HW3, right_HW3 = np.zeros_like(smooth_HW3), np.zeros_like(smooth_HW3)
    down_HW3[1:-1] = smooth_HW3[2:] - smooth_HW3[:-2]
    right_HW3[:, 1:-1] = smooth_HW3[:, 2:] - smooth_HW3[:, :-2]
    xx_HW = _mean((right_HW3 * right_HW3).sum(-1), 1)
    yy_HW = _mean((down_HW3 * down_HW3).sum(-1), 1)
    xy_HW = _mean((right_HW3 * down_HW3).sum(-1), 1)
    spread_HW = np.sqrt(((xx_HW - yy_HW) / 2) ** 2 + xy_HW**2)
    return np.asarray((xx_HW + yy_HW) / 2 - spread_HW, np.float32)


def _around(pixels_HW3: Floats, y_C: NDArray[np.int64], x_C: NDArray[np.int64], half: int) -> Floats:
    """Colours on a grid around each corner, their mean out, to length 1: [C, D]."""
    steps_G = np.linspace(-half, half, GRID)
    height, width = pixels_HW3.shape[:2]
    y_CG = (y_C[:, None] + steps_G).clip(0, height - 1.001)
    x_CG = (x_C[:, None] + steps_G).clip(0, width - 1.001)
    top_CG, left_CG = y_CG.astype(np.int64), x_CG.astype(np.int64)
    down = (y_CG - top_CG)[:, :, None, None]
    right = (x_CG - left_CG)[:, None, :, None]

    def at(y_CG: NDArray[np.int64], x_CG: NDArray[np.int64]) -> Floats:
        return pixels_HW3[y_CG[:, :, None], x_CG[:, None, :]]

    upper = at(top_CG, left_CG) * (1 - right) + at(top_CG, left_CG + 1) * right
    lower = at(top_CG + 1, left_CG) * (1 - right) + at(top_CG + 1, left_CG + 1) * right
    colours_CD = (upper * (1 - down) + lower * down).reshape(len(y_C), NUMBERS)
    colours_CD = colours_CD - colours_CD.mean(axis=1, keepdims=True)
    length_C1 = np.linalg.norm(colours_CD, axis=1, keepdims=True)
    return np.asarray(colours_CD / np.maximum(length_C1, 1e-6), np.float32)


def _mean(values: Floats, radius: int) -> Floats:
    """The mean of the square around each place, over the first two axes; edges repeat."""
    for axis in (0, 1):
        wide = np.pad(
            values,
            [(radius, radius) if one == axis else (0, 0) for one in range(values.ndim)],
            mode="edge",
        )
        length = values.shape[axis]
        values = sum(  # type: ignore[assignment]
            np.take(wide, range(step, step + length), axis) for step in range(2 * radius + 1)
        ) / np.float32(2 * radius + 1)
    return values


def _highest(values_HW: Floats, radius: int) -> Floats:
    """The highest value of the square around each place."""
    for axis in (0, 1):
        highest = values_HW
        for step in range(1, radius + 1):
            for way in (step, -step):
                highest = np.maximum(highest, np.roll(values_HW, way, axis))
        values_HW = highest
    return values_HW
