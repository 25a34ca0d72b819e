"""Scenes: what is in a picture, before it is drawn.

A scene holds 1-6 objects and hidden attributes (background, tilt, exact tint). What a text-only
teacher may see of it is ``Scene.record``: captions and boxes, nothing else.
Lengths are pixels of a ``SIDE`` x ``SIDE`` picture; boxes are fractions of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pumice.errors import UsageError, suggest
from pumice.world.describe import captions

SIDE = 112
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIGN = "sign"
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (216, 38, 44),
    "orange": (246, 140, 28),
    "yellow": (248, 222, 60),
    "green": (42, 160, 66),
    "blue": (38, 84, 214),
    "purple": (140, 56, 186),
    "white": (250, 250, 250),
    "black": (22, 22, 24),
}
SIZES: dict[str, float] = {"small": 8.0, "medium": 12.5, "large": 18.5}
"""Size word -> radius in pixels."""
_COLOUR_NAMES = tuple(COLOURS)
_SIZE_NAMES = tuple(SIZES)

# Like number plates: no 0, 1, I, O or Q, which are told apart by convention and not by shape.
CHARACTERS = "ABCDEFGHJKLMNPRSTUVWXYZ23456789"
CHARACTER_WIDTH = 15.0
CHARACTER_HEIGHT = 20.0
SIGN_MARGIN = 3.0

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Level:
    """How hard scenes are.

    Attributes:
        objects: fewest and most objects in a scene, signs included.
        sign_rate: share of scenes with a sign.
        sign_length: fewest and most characters on it.
        overlap: largest share of two objects' radii by which they may run into each other.
        spacing: smallest distance of two centres along the farther axis, in pixels.
    """

    objects: tuple[int, int]
    sign_rate: float
    sign_length: tuple[int, int]
    overlap: float
    spacing: float


LEVELS: dict[str, Level] = {
    "easy": Level(objects=(1, 3), sign_rate=0.2, sign_length=(1, 2), overlap=0.0, spacing=16.0),
    "full": Level(objects=(1, 6), sign_rate=0.35, sign_length=(1, 4), overlap=0.25, spacing=15.0),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: a shape with colour and size, or a sign with its text.

    ``tint`` (RGB) and ``tilt`` (degrees) are what only the painter knows.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    tint: tuple[int, int, int]
    tilt: float
    text: str = ""

    @property
    def half(self) -> tuple[float, float]:
        """Half width and half height of the box in pixels."""
        if self.shape == SIGN:
            return (
                CHARACTER_WIDTH * len(self.text) / 2 + SIGN_MARGIN,
                CHARACTER_HEIGHT / 2 + SIGN_MARGIN,
            )
        return (self.radius, self.radius)

    @property
    def category(self) -> str:
        """The words for it: ``small red circle``, or ``sign``."""
        return SIGN if self.shape == SIGN else f"{self.size} {self.colour} {self.shape}"

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 as fractions, three decimals."""
        w, h = self.half
        corners = (self.x - w, self.y - h, self.x + w, self.y + h)
        x1, y1, x2, y2 = (round(min(max(v / SIDE, 0.0), 1.0), 3) for v in corners)
        return (x1, y1, x2, y2)

    def characters(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """Each character of a sign with its box, left to right."""
        left = self.x - CHARACTER_WIDTH * len(self.text) / 2
        top = round((self.y - CHARACTER_HEIGHT / 2) / SIDE, 3)
        bottom = round((self.y + CHARACTER_HEIGHT / 2) / SIDE, 3)
        out = []
        for i, char in enumerate(self.text):
            x1 = round((left + i * CHARACTER_WIDTH) / SIDE, 3)
            x2 = round((left + (i + 1) * CHARACTER_WIDTH) / SIDE, 3)
            out.append((char, (x1, top, x2, bottom)))
        return out


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's content; ``things`` are in painting order (later ones lie on top)."""

    id: str
    level: str
    things: tuple[Thing, ...]
    backdrop: int
    captions: tuple[str, ...]

    @property
    def split(self) -> Split:
        """Train, validation or test: a property of the content, so splits can never share a scene.

        Positions enter as cells of an 8-pixel grid: scenes whose things look alike to a text and stand
        in the same cells fall in one split, whatever seed made them and whatever their backgrounds. A
        nudge across a line of the grid is another content, and may be in another split.
        """
        content = sorted((t.category, t.text, int(t.x // 8), int(t.y // 8)) for t in self.things)
        bucket = hashlib.sha256(json.dumps(content).encode()).digest()[0] % 10
        return "validation" if bucket == 0 else "test" if bucket == 1 else "train"

    def record(self, image: str) -> dict[str, Any]:
        """What a text-only teacher sees: captions, boxes, and boxes of legible text."""
        return {
            "id": self.id,
            "image": image,
            "captions": list(self.captions),
            "instances": [{"category": t.category, "bbox": list(t.box)} for t in self.things],
            "texts": [
                {"text": char, "bbox": list(box)}
                for t in self.things
                if t.shape == SIGN
                for char, box in t.characters()
            ],
        }


def get_level(name: str) -> Level:
    """The level of that name.

    Raises:
        UsageError: there is none; the message lists them.
    """
    if name not in LEVELS:
        raise UsageError(f"unknown level {name!r}", remedy=suggest(name, LEVELS))
    return LEVELS[name]


def _clear(thing: Thing, others: list[Thing], level: Level) -> bool:
    """Whether a thing may stand where it is: neither hides the other, centres are apart."""
    w, h = thing.half
    for other in others:
        ow, oh = other.half
        dx, dy = abs(thing.x - other.x), abs(thing.y - other.y)
        if max(dx, dy) < level.spacing:
            return False
        if SIGN in (thing.shape, other.shape):
            # Text stays legible: nothing may touch a sign.
            if dx < w + ow + 1 and dy < h + oh + 1:
                return False
        elif np.hypot(dx, dy) < (thing.radius + other.radius) * (1.0 - level.overlap) + 1:
            return False
    return True


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    # Generator.choice builds an array each time: ten times slower for short lists.
    return names[int(rng.integers(len(names)))]


def _draw_thing(rng: np.random.Generator, level: Level, sign: bool) -> Thing:
    colour = _pick(rng, _COLOUR_NAMES)
    size = _pick(rng, _SIZE_NAMES)
    shape = SIGN if sign else _pick(rng, SHAPES)
    text = ""
    radius = SIZES[size] * float(rng.uniform(0.94, 1.06))
    if sign:
        length = int(rng.integers(level.sign_length[0], level.sign_length[1] + 1))
        text = "".join(_pick(rng, CHARACTERS) for _ in range(length))
        colour, size, radius = "white", "medium", CHARACTER_HEIGHT / 2
    jitter = rng.integers(-14, 15, 3)
    tint = tuple(int(np.clip(c + j, 0, 255)) for c, j in zip(COLOURS[colour], jitter, strict=True))
    blank = Thing(shape, colour, size, 0.0, 0.0, radius, (tint[0], tint[1], tint[2]), 0.0, text)
    w, h = blank.half
    x = float(rng.uniform(w + 1, SIDE - w - 1))
    y = float(rng.uniform(h + 1, SIDE - h - 1))
    tilt = float(rng.uniform(-12, 12))
    return Thing(shape, colour, size, x, y, radius, blank.tint, tilt, text)


def make_scene(seed: int, index: int, level_name: str) -> Scene:
    """Scene number ``index`` of a seed: a pure function of its arguments."""
    level = get_level(level_name)
    rng = np.random.default_rng([seed, index])
    count = int(rng.integers(level.objects[0], level.objects[1] + 1))
    with_sign = bool(rng.random() < level.sign_rate)
    things: list[Thing] = []
    for i in range(count):
        for _ in range(60):
            thing = _draw_thing(rng, level, sign=with_sign and i == 0)
            if _clear(thing, things, level):
                things.append(thing)
                break
        # After 60 tries the picture is full: it holds fewer objects than drawn, never none.
    # Large things are painted first, so that small ones are never hidden behind them.
    things.sort(key=lambda t: -t.half[0] * t.half[1])
    backdrop = int(rng.integers(0, 2**31))
    return Scene(f"{level_name}-{seed}-{index}", level_name, tuple(things), backdrop, captions(things, rng))
