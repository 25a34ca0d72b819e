"""Scenes drawn in ways that no training picture is: what is in them stays, what they look like does not.

A scene in two domains has the same objects at the same places, so answers are compared question by question.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import UsageError, suggest
from pumice.world.draw import draw, paint
from pumice.world.scene import COLOURS, SIDE, SIGN, Scene, Thing

SEEN = "seen"
"""The domain of all training pictures."""
STRIPE = 4
"""Pixels of a stripe and of the gap behind it."""
SHADE = 0.72
"""How bright the gaps are."""
BITS = 90
"""Pieces of confetti."""
DUSK = (0.60, 0.57, 0.64)
"""What is left of red, green and blue."""

Pixels = NDArray[np.uint8]


def _hatched(scene: Scene) -> Image.Image:
    """Fills are striped: every other stripe is darker than a colour ever is."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    stripes = ((x + y) // STRIPE % 2).astype(bool)

    def fill(thing: Thing) -> Image.Image:
        pixels = np.full((SIDE, SIDE, 3), thing.tint, np.uint8)
        pixels[stripes] = (np.asarray(thing.tint) * SHADE).astype(np.uint8)
        return Image.fromarray(pixels)

    return paint(scene, fill=fill)


def _confetti(scene: Scene) -> Image.Image:
    """Backdrops are strewn with specks of all the colours that objects have, much smaller than any object."""
    backdrop = np.asarray(draw(_bare(scene))).copy()
    rng = np.random.default_rng([scene.backdrop, *b"confetti"])
    tints = list(COLOURS.values())
    for _ in range(BITS):
        x, y = (int(value) for value in rng.integers(0, SIDE - 2, 2))
        backdrop[y : y + 2, x : x + 2] = tints[int(rng.integers(len(tints)))]
    return paint(scene, backdrop=Image.fromarray(backdrop))


def _dusk(scene: Scene) -> Image.Image:
    """The light is low and bluish."""
    pixels = np.asarray(draw(scene)).astype(np.float32) * np.asarray(DUSK, np.float32)
    return Image.fromarray(pixels.astype(np.uint8))


def _blocks(scene: Scene) -> Image.Image:
    """A third of the resolution."""
    small = draw(scene).resize((SIDE // 3, SIDE // 3), Image.Resampling.BOX)
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _bare(scene: Scene) -> Scene:
    return Scene(scene.id, scene.level, (), scene.backdrop, scene.captions)


DOMAINS: dict[str, Callable[[Scene], Image.Image]] = {
    SEEN: draw,
    "hatched": _hatched,
    "confetti": _confetti,
    "dusk": _dusk,
    "blocks": _blocks,
}
"""Every domain, the seen one first."""


def draw_in(scene: Scene, domain: str) -> Image.Image:
    """The picture of a scene in a domain, RGB, ``SIDE`` x ``SIDE``; a pure function of both.

    Raises:
        UsageError: there is no such domain.
    """
    if domain not in DOMAINS:
        raise UsageError(f"there is no domain {domain!r}", remedy=suggest(domain, DOMAINS))
    return DOMAINS[domain](scene)


def legible(scene: Scene, domain: str) -> bool:
    """Whether all that is in a scene can be told in a domain: a sign's letters are lost in blocks."""
    return domain != "blocks" or all(thing.shape != SIGN for thing in scene.things)
