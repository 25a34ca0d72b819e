"""Captions: what five people might write under a picture of the world.

Captions speak of what is seen (objects, places), in words; they are the only prose a text-only
teacher gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pumice.world.scene import Thing

NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")


def place(x: float, y: float) -> str:
    """The ninth of the picture in which a point lies (fractions): ``top left`` ... ``center``."""
    row, column = ROWS[min(int(y * 3), 2)], COLUMNS[min(int(x * 3), 2)]
    return "center" if (row, column) == ("middle", "center") else f"{row} {column}"


def article(words: str) -> str:
    """The words with ``a`` or ``an`` before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(word: str) -> str:
    """Plural of a noun of the world (``cross`` is the only odd one)."""
    return f"{word}es" if word.endswith("s") else f"{word}s"


def listing(items: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _name(thing: Thing, detail: int) -> str:
    """The thing in 1 (shape), 2 (colour) or 3 (size) words."""
    if thing.text:
        return f"sign that says {thing.text}" if detail > 1 else "sign"
    return " ".join((thing.size, thing.colour, thing.shape)[3 - detail :])


def _where(thing: Thing) -> str:
    x1, y1, x2, y2 = thing.box
    spot = place((x1 + x2) / 2, (y1 + y2) / 2)
    return f"in the {spot}" if spot == "center" else f"at the {spot}"


def captions(scene: Sequence[Thing], rng: np.random.Generator) -> tuple[str, ...]:
    """Five captions of one scene, from full to terse."""
    things = [scene[i] for i in rng.permutation(len(scene))]
    full = listing([f"{article(_name(t, 3))} {_where(t)}" for t in things])
    again = listing([f"{article(_name(t, 3))} {_where(t)}" for t in reversed(things)])
    colours = listing([article(_name(t, 2)) for t in things])
    sizes = listing([article(_name(t, 3)) for t in things])
    number = NUMBER_WORDS[len(things)]
    noun = "object" if len(things) == 1 else "objects"
    lead = article(_name(things[0], 3))
    return (
        f"{full}.",
        f"{again}.",
        f"{sizes}.",
        f"a picture of {colours}.",
        f"{number} {noun}, among them {lead} {_where(things[0])}." if len(things) > 1 else f"{lead}.",
    )
