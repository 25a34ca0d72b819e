from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from pumice.world.draw import draw
from pumice.world.scene import SIDE, SIGN, Scene, make_scene

REACH = 0.13
"""By how much of its radius a tilted triangle's corner may stand out of its box."""


def pixels(scene: Scene) -> NDArray[np.int16]:
    return np.asarray(draw(scene)).astype(np.int16)


def painted(scene: Scene, index: int) -> NDArray[np.bool_]:
    """The pixels [SIDE, SIDE] that one thing changes, of a picture that holds it alone."""
    alone = dataclasses.replace(scene, things=(scene.things[index],))
    empty = dataclasses.replace(scene, things=())
    changed: NDArray[np.bool_] = (pixels(alone) != pixels(empty)).any(axis=-1)
    return changed


def test_a_picture_is_a_function_of_its_scene() -> None:
    scene = make_scene(0, 5, "full")
    picture = draw(scene)
    assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB")
    assert picture.tobytes() == draw(scene).tobytes()
    assert picture.tobytes() != draw(dataclasses.replace(scene, backdrop=scene.backdrop + 1)).tobytes()


def test_boxes_hold_what_is_painted(scenes: list[Scene]) -> None:
    for scene in scenes[::5]:
        for index, thing in enumerate(scene.things):
            rows, columns = np.nonzero(painted(scene, index))
            x1, y1, x2, y2 = (v * SIDE for v in thing.box)
            slack = 1 + (REACH * thing.radius if thing.shape == "triangle" else 0.05 * thing.radius)
            assert columns.min() >= x1 - slack, (scene.id, thing)
            assert columns.max() + 1 <= x2 + slack, (scene.id, thing)
            assert rows.min() >= y1 - slack, (scene.id, thing)
            assert rows.max() + 1 <= y2 + slack, (scene.id, thing)
            # And the box is no larger than it need be (a triangle's height is 0.9 of its box).
            assert columns.max() - columns.min() >= 0.78 * (x2 - x1), (scene.id, thing)
            assert rows.max() - rows.min() >= 0.78 * (y2 - y1), (scene.id, thing)


def test_the_tint_is_at_the_centre_and_a_ring_is_hollow(scenes: list[Scene]) -> None:
    seen = set()
    for scene in scenes[::3]:
        for thing in scene.things:
            if thing.shape == SIGN:
                continue
            seen.add(thing.shape)
            alone = pixels(dataclasses.replace(scene, things=(thing,)))
            column, row = math.floor(thing.x), math.floor(thing.y)
            if thing.shape == "ring":
                empty = pixels(dataclasses.replace(scene, things=()))
                assert (alone[row, column] == empty[row, column]).all()
                column = math.floor(thing.x + 0.75 * thing.radius)
            assert tuple(alone[row, column]) == thing.tint, (scene.id, thing)
    assert len(seen) == 6


def test_later_things_lie_on_top(scenes: list[Scene]) -> None:
    for scene in scenes[200:240]:
        whole = pixels(scene)
        last = scene.things[-1]
        if last.shape not in (SIGN, "ring"):
            assert tuple(whole[math.floor(last.y), math.floor(last.x)]) == last.tint


def test_each_character_is_inked_within_its_own_box(scenes: list[Scene]) -> None:
    signs = [(s, t) for s in scenes for t in s.things if t.shape == SIGN]
    assert signs
    for scene, sign in signs[:40]:
        dark = pixels(dataclasses.replace(scene, things=(sign,))).max(axis=-1) < 110
        for char, box in sign.characters():
            x1, y1, x2, y2 = (round(v * SIDE) for v in box)
            assert dark[y1:y2, x1:x2].sum() >= 20, (scene.id, char)
        x1, y1, x2, y2 = (math.floor(v * SIDE) for v in sign.box)
        # The plate's rim is light all round.
        assert not dark[y1 + 1 : y2, x1 + 1].any()
        assert not dark[y1 + 1 : y2, x2 - 2].any()


def test_two_characters_never_look_alike() -> None:
    from pumice.world.draw import _glyph
    from pumice.world.scene import CHARACTERS

    shapes = {char: np.asarray(_glyph(char)).astype(float) / 255 for char in CHARACTERS}
    for i, a in enumerate(CHARACTERS):
        for b in CHARACTERS[:i]:
            assert np.abs(shapes[a] - shapes[b]).mean() > 0.015, (a, b)
