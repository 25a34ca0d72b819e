"""Phantoms: ovals of tissue with, or without, a lesion of a plain shape; nothing of a person is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Pixels of a side."""
SHAPES = ("round", "square", "ring", "cross")
PARTS = ("abdomen", "brain")


@dataclass(frozen=True)
class Phantom:
    """What is drawn, and so what is true of the picture.

    Attributes:
        kind: the modality: CT, MR, CR or US.
        part: the part of the body, one of ``PARTS``.
        shape: the lesion's, one of ``SHAPES``; None where there is none.
        right: whether it lies in the right half of the picture.
        large: whether it is large.
        seed: draws what no question asks for: noise, small shifts.
    """

    kind: str
    part: str
    shape: str | None
    right: bool
    large: bool
    seed: int

    @property
    def side(self) -> str:
        """The half of the picture that the lesion lies in."""
        return "right" if self.right else "left"

    @property
    def size(self) -> str:
        """As words have it."""
        return "large" if self.large else "small"

    def tissue(self) -> NDArray[np.float64]:
        """How dense each place is, 0 (air) to about 1 (bone, lesion). [SIDE, SIDE]"""
        rng = np.random.default_rng(self.seed)
        y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
        tall, wide = (0.72, 0.9) if self.part == "abdomen" else (0.88, 0.7)
        body = (y / tall) ** 2 + (x / wide) ** 2
        out = np.where(body < 1, 0.45, 0.0)
        if self.part == "brain":
            out[(body < 1) & (body > 0.86)] = 0.95
        else:
            spine = ((y - 0.45) / 0.16) ** 2 + (x / 0.16) ** 2
            out[spine < 1] = 0.85
        if self.shape is not None:
            half = 0.24 if self.large else 0.15
            cx = (0.36 if self.right else -0.36) + rng.uniform(-0.06, 0.06)
            cy = rng.uniform(-0.25, 0.15)
            out[_lesion(self.shape, (x - cx) / half, (y - cy) / half)] = 1.0
        noise = 0.02 if self.kind != "US" else 0.08
        return np.clip(out + rng.normal(0, noise, out.shape) * (out > 0), 0, 1)


def _lesion(shape: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    radius = np.hypot(x, y)
    if shape == "round":
        return radius < 1
    if shape == "square":
        return np.maximum(abs(x), abs(y)) < 0.9
    if shape == "ring":
        return (radius < 1) & (radius > 0.5)
    assert shape == "cross", shape
    return (np.minimum(abs(x), abs(y)) < 0.34) & (np.maximum(abs(x), abs(y)) < 1)
