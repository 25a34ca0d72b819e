"""Pictures, sizes and settings that several tests of images share."""

from __future__ import annotations

import struct
import zlib
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


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def halves(mode: str = "RGB") -> Image.Image:
    """40 x 20: red on the left, blue on the right."""
    image = Image.new("RGB", (40, 20), BLUE)
    image.paste(RED, (0, 0, 20, 20))
    return image.convert(mode)


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG made by hand: colour is its type of pixels, and the pixels need not fit the size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no data."""
    return png(width, height, 8, 2, b"\0" * 10)


def tiff(pixels: bytes, width: int, bits: int, tags: dict[int, int], order: str = "<") -> bytes:
    """A TIFF of one uncompressed row of greys, made by hand."""
    fields = {256: width, 257: 1, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(pixels), **tags}
    fields[273] = 8 + 2 + 12 * len(fields) + 4
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    for tag, value in sorted(fields.items()):
        head += struct.pack(f"{order}HHII", tag, 4, 1, value)
    return head + struct.pack(f"{order}I", 0) + pixels


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
