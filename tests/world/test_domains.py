"""Domains: other pictures of the same scenes."""

from __future__ import annotations

import numpy as np
import pytest

from pumice.errors import UsageError
from pumice.world.domains import DOMAINS, SEEN, draw_in, legible
from pumice.world.draw import draw
from pumice.world.scene import SIDE, Scene


def test_the_seen_domain_is_what_training_sees(scenes: list[Scene]) -> None:
    for scene in scenes[:5]:
        assert np.array_equal(np.asarray(draw_in(scene, SEEN)), np.asarray(draw(scene)))


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name != SEEN])
def test_a_domain_is_a_function_of_the_scene_and_differs(scenes: list[Scene], domain: str) -> None:
    for scene in scenes[200:205]:
        once, again = (np.asarray(draw_in(scene, domain)) for _ in range(2))
        assert once.shape == (SIDE, SIDE, 3)
        assert np.array_equal(once, again)
        assert not np.array_equal(once, np.asarray(draw(scene)))


def test_confetti_lies_behind_the_objects(scenes: list[Scene]) -> None:
    scene = next(s for s in scenes if s.things[0].shape == "square" and len(s.things) == 1)
    thing = scene.things[0]
    x, y = int(thing.x), int(thing.y)
    inside = np.asarray(draw_in(scene, "confetti"))[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)
    assert {tuple(int(v) for v in pixel) for pixel in inside} == {thing.tint}


def test_signs_are_not_legible_in_blocks(scenes: list[Scene]) -> None:
    signed = next(s for s in scenes if any(t.text for t in s.things))
    assert legible(signed, "dusk")
    assert not legible(signed, "blocks")


def test_an_unknown_domain_names_the_nearest(scenes: list[Scene]) -> None:
    with pytest.raises(UsageError, match="hatch") as caught:
        draw_in(scenes[0], "hatch")
    assert "hatched" in str(caught.value)
