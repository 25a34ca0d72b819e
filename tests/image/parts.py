"""Pictures, sizes and settings that several tests of images share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.image.settings import NEXT_PINPOINTS, LayoutSettings, VideoSettings, parse_pinpoints

RANGE = "(1x1),...,(6x6)"
NUMBERS = [list(pair) for pair in NEXT_PINPOINTS]
"""LLaVA-NeXT's pinpoints as both families write them; they read them differently."""


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def composites_over_white() -> bool:
    """Whether this transformers shows transparent pixels white; older releases drop alpha."""
    transforms = pytest.importorskip("transformers.image_transforms")
    seen = np.asarray(transforms.convert_to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))))
    return bool(seen.min() == 255)


def random_sizes(count: int, largest: int, seed: int = 0) -> list[tuple[int, int]]:
    """Widths and heights, half of them small, with every ratio up to 200."""
    rng = np.random.default_rng(seed)
    sizes = []
    for _ in range(count):
        limit = int(rng.choice([largest, max(2, largest // 10)]))
        width, height = (int(side) for side in rng.integers(1, limit + 1, 2))
        if max(width, height) <= 200 * min(width, height):
            sizes.append((width, height))
    return sizes


def next_settings(**changes: Any) -> LayoutSettings:
    """LLaVA-1.6 with CLIP-L/336, the original's reading."""
    fields: dict[str, Any] = {
        "side": 336,
        "features": 24,
        "aspect": "anyres",
        "merge": "spatial_unpad",
        "pinpoints": NEXT_PINPOINTS,
    }
    return LayoutSettings(**{**fields, **changes})


def next_hf_settings(**changes: Any) -> LayoutSettings:
    """The same as transformers reads and counts it."""
    pinpoints = parse_pinpoints(NUMBERS, 336, "transformers")
    return next_settings(flavour="transformers", pinpoints=pinpoints, **changes)


def onevision_settings(**changes: Any) -> LayoutSettings:
    """LLaVA-OneVision with SigLIP-384, ``anyres_max_9`` and video."""
    fields: dict[str, Any] = {
        "side": 384,
        "features": 27,
        "aspect": "anyres",
        "merge": "spatial_unpad",
        "pinpoints": parse_pinpoints(RANGE, 384, "original"),
        "max_tiles": 9,
        "video": VideoSettings(),
    }
    return LayoutSettings(**{**fields, **changes})
