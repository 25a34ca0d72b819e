from __future__ import annotations

import re
from collections import Counter

import pytest

from pumice.world.describe import NUMBER_WORDS, article, listing, place, plural
from pumice.world.scene import SIDE, SIGN, Scene, Thing


def named(thing: Thing) -> str:
    return f"sign that says {thing.text}" if thing.shape == SIGN else thing.category


def ninth(thing: Thing) -> str:
    rows, columns = ("top", "middle", "bottom"), ("left", "center", "right")
    words = f"{rows[int(thing.y / SIDE * 3)]} {columns[int(thing.x / SIDE * 3)]}"
    return "in the center" if words == "middle center" else f"at the {words}"


def pieces(caption: str) -> Counter[str]:
    """The things a caption lists, without their articles."""
    parts = re.split(r", | and ", caption.removesuffix("."))
    return Counter(re.sub(r"^(a|an) ", "", part) for part in parts)


def test_captions_name_exactly_the_objects(scenes: list[Scene]) -> None:
    for scene in scenes:
        whole = Counter(f"{named(t)} {ninth(t)}" for t in scene.things)
        full, again, sizes, colours, count = scene.captions
        assert pieces(full) == whole
        assert pieces(again) == whole
        assert pieces(sizes) == Counter(named(t) for t in scene.things)
        terse = Counter(named(t) if t.shape == SIGN else f"{t.colour} {t.shape}" for t in scene.things)
        assert pieces(colours.removeprefix("a picture of ")) == terse
        if len(scene.things) > 1:
            assert count.startswith(f"{NUMBER_WORDS[len(scene.things)]} objects, among them a")
            lead = re.sub(r".* among them an? ", "", count.removesuffix("."))
            assert lead in whole
        else:
            assert pieces(count) == Counter(named(t) for t in scene.things)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0, 0, "top left"),
        (0.5, 0.5, "center"),
        (1, 1, "bottom right"),
        (0.34, 0.1, "top center"),
        (0.1, 0.6, "middle left"),
    ],
)
def test_place(x: float, y: float, words: str) -> None:
    assert place(x, y) == words


def test_words() -> None:
    assert [article(w) for w in ("orange ring", "red ring")] == ["an orange ring", "a red ring"]
    assert [plural(w) for w in ("cross", "star")] == ["crosses", "stars"]
    assert [listing(list("abc"[:n])) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
