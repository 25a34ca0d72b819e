"""Painting a scene: anti-aliased shapes and signs on varied, muted backdrops.

Masks are drawn by Pillow at ``SCALE`` times the size and averaged down, which is both
anti-aliased and quick (see ``docs/LOG.md`` for the rate).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pumice.world.scene import CHARACTER_HEIGHT, CHARACTER_WIDTH, SIDE, SIGN, Scene, Thing

SCALE = 4


def _ngon(points: int, radius: float, start: float) -> list[tuple[float, float]]:
    angles = (start + 2 * math.pi * i / points for i in range(points))
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


@functools.cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """Corners of a polygonal shape for radius 1, centred on its box."""
    if shape == "square":
        return ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86))
    if shape == "triangle":
        return ((0.0, -0.95), (0.98, 0.8), (-0.98, 0.8))
    if shape == "star":
        outer = _ngon(5, 1.05, -math.pi / 2)
        inner = _ngon(5, 0.45, -math.pi / 2 + math.pi / 5)
        return tuple(p for pair in zip(outer, inner, strict=True) for p in pair)
    a = 0.32
    cross = [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a)]
    return tuple((float(x), float(y)) for x, y in [*cross, (-a, -a)])


def _mask(thing: Thing) -> tuple[Image.Image, int, int]:
    """Coverage (mode L) of a shape and the pixel at which its top left corner goes."""
    reach = math.ceil(thing.radius * 1.15) + 1
    left, top = math.floor(thing.x) - reach, math.floor(thing.y) - reach
    side = 2 * reach + 2
    canvas = Image.new("L", (side * SCALE, side * SCALE), 0)
    pen = ImageDraw.Draw(canvas)
    cx, cy, r = (thing.x - left) * SCALE, (thing.y - top) * SCALE, thing.radius * SCALE
    if thing.shape in ("circle", "ring"):
        r *= 0.97
        pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
        if thing.shape == "ring":
            r *= 0.55
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=0)
    else:
        tilt = math.radians(thing.tilt)
        cos, sin = math.cos(tilt), math.sin(tilt)
        corners = [
            (cx + r * (x * cos - y * sin), cy + r * (x * sin + y * cos)) for x, y in _outline(thing.shape)
        ]
        pen.polygon(corners, fill=255)
    return canvas.reduce(SCALE), left, top


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=20 * SCALE)


@functools.cache
def _glyph(char: str) -> Image.Image:
    """Coverage of one character in a cell of the character size, at ``SCALE``."""
    width, height = int(CHARACTER_WIDTH * SCALE), int(CHARACTER_HEIGHT * SCALE)
    cell = Image.new("L", (width, height), 0)
    ImageDraw.Draw(cell).text(
        (width / 2, height / 2), char, fill=255, font=_font(), anchor="mm", stroke_width=3
    )
    return cell


def _paint_sign(picture: Image.Image, thing: Thing) -> None:
    half_w, half_h = thing.half
    left, top = math.floor(thing.x - half_w) - 1, math.floor(thing.y - half_h) - 1
    size = (math.ceil(2 * half_w) + 3, math.ceil(2 * half_h) + 3)
    plate = Image.new("L", (size[0] * SCALE, size[1] * SCALE), 0)
    edge = ((thing.x - half_w - left) * SCALE, (thing.y - half_h - top) * SCALE)
    far = (edge[0] + 2 * half_w * SCALE, edge[1] + 2 * half_h * SCALE)
    ImageDraw.Draw(plate).rounded_rectangle((*edge, *far), radius=3 * SCALE, fill=255)
    ink = Image.new("L", plate.size, 0)
    start_x = (thing.x - CHARACTER_WIDTH * len(thing.text) / 2 - left) * SCALE
    start_y = (thing.y - CHARACTER_HEIGHT / 2 - top) * SCALE
    for i, char in enumerate(thing.text):
        ink.paste(_glyph(char), (round(start_x + i * CHARACTER_WIDTH * SCALE), round(start_y)))
    picture.paste((245, 242, 232), (left, top), plate.reduce(SCALE))
    picture.paste((30, 30, 40), (left, top), ink.reduce(SCALE))


@functools.cache
def _grid() -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(0, 1, SIDE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _backdrop(seed: int) -> Image.Image:
    """A muted backdrop: gradient, stripes, checks or grain between two greyish tones."""
    rng = np.random.default_rng(seed)
    grey = rng.uniform(95, 190)
    first = grey + rng.uniform(-22, 22, 3)
    second = first + rng.uniform(-26, 26) + rng.uniform(-8, 8, 3)
    x, y = _grid()
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    kind = rng.integers(0, 4)
    if kind == 0:
        blend = (along - along.min()) / (along.max() - along.min())
    elif kind == 1:
        blend = 0.5 + 0.5 * np.sin(along * rng.uniform(15, 50))
    elif kind == 2:
        cells = rng.integers(3, 9)
        blend = ((np.floor(x * cells) + np.floor(y * cells)) % 2).astype(np.float32)
    else:
        coarse = rng.random((14, 14)).astype(np.float32)
        blend = np.asarray(Image.fromarray(coarse, mode="F").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixels = first + blend[..., None] * (second - first)
    pixels = pixels + rng.standard_normal((SIDE, SIDE, 1), dtype=np.float32) * rng.uniform(0, 5)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, ``SIDE`` x ``SIDE``; a pure function of the scene."""
    return paint(scene)


def paint(
    scene: Scene,
    *,
    backdrop: Image.Image | None = None,
    fill: Callable[[Thing], Image.Image] | None = None,
) -> Image.Image:
    """The same with another backdrop, or with shapes cut out of other pictures than their plain tint.

    Args:
        scene: what is painted.
        backdrop: RGB, ``SIDE`` x ``SIDE``; it is not changed. The scene's own when None.
        fill: for a shape, the picture of which it shows its part, RGB, ``SIDE`` x ``SIDE``.
    """
    picture = _backdrop(scene.backdrop) if backdrop is None else backdrop.copy()
    for thing in scene.things:
        if thing.shape == SIGN:
            _paint_sign(picture, thing)
        else:
            mask, left, top = _mask(thing)
            if fill is None:
                picture.paste(thing.tint, (left, top), mask)
            else:
                area = (left, top, left + mask.width, top + mask.height)
                picture.paste(fill(thing).crop(area), (left, top), mask)
    return picture
