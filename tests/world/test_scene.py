from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise

import pytest

from pumice.errors import UsageError
from pumice.world.scene import (
    CHARACTERS,
    COLOURS,
    LEVELS,
    SHAPES,
    SIDE,
    SIGN,
    SIZES,
    Scene,
    get_level,
    make_scene,
)


def content(scene: Scene) -> tuple[tuple[str, str, int, int], ...]:
    return tuple(sorted((t.category, t.text, int(t.x // 8), int(t.y // 8)) for t in scene.things))


def test_a_scene_is_a_function_of_seed_index_and_level() -> None:
    backwards = [make_scene(3, i, "full") for i in reversed(range(30))]
    assert backwards[::-1] == [make_scene(3, i, "full") for i in range(30)]
    others = [make_scene(4, i, "full").things for i in range(30)]
    assert all(a.things != b for a, b in zip(backwards, others, strict=True))
    assert len({content(s) for s in backwards}) == 30


def test_the_world_is_as_rich_as_promised(scenes: list[Scene]) -> None:
    full = [s for s in scenes if s.level == "full"]
    things = [t for s in full for t in s.things]
    assert {t.shape for t in things} == {*SHAPES, SIGN}
    assert {t.colour for t in things if t.shape != SIGN} == set(COLOURS)
    assert {t.size for t in things if t.shape != SIGN} == set(SIZES)
    assert {len(s.things) for s in full} == {1, 2, 3, 4, 5, 6}
    assert {len(t.text) for t in things if t.shape == SIGN} == {1, 2, 3, 4}
    assert len(SHAPES) >= 6
    assert len(COLOURS) >= 8


def test_scenes_keep_to_their_level(scenes: list[Scene]) -> None:
    for scene in scenes:
        level = LEVELS[scene.level]
        assert level.objects[0] <= len(scene.things) <= level.objects[1]
        signs = [t for t in scene.things if t.shape == SIGN]
        assert len(signs) <= 1
        for sign in signs:
            assert level.sign_length[0] <= len(sign.text) <= level.sign_length[1]
            assert set(sign.text) <= set(CHARACTERS)
        for i, a in enumerate(scene.things):
            assert a.half[0] < a.x < SIDE - a.half[0]
            assert a.half[1] < a.y < SIDE - a.half[1]
            for b in scene.things[:i]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) >= level.spacing
                if SIGN in (a.shape, b.shape):
                    apart_x = abs(a.x - b.x) - a.half[0] - b.half[0]
                    apart_y = abs(a.y - b.y) - a.half[1] - b.half[1]
                    assert max(apart_x, apart_y) > 0, "something touches a sign"


def test_a_record_holds_captions_and_boxes_and_nothing_hidden(scenes: list[Scene]) -> None:
    for scene in scenes[:50]:
        record = scene.record("x.png")
        assert set(record) == {"id", "image", "captions", "instances", "texts"}
        assert all(set(i) == {"category", "bbox"} for i in record["instances"])
        assert all(set(i) == {"text", "bbox"} for i in record["texts"])
        for item in [*record["instances"], *record["texts"]]:
            x1, y1, x2, y2 = item["bbox"]
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1
        hidden = dataclasses.replace(
            scene,
            backdrop=scene.backdrop + 1,
            things=tuple(dataclasses.replace(t, tint=(1, 2, 3), tilt=0.5) for t in scene.things),
        )
        assert hidden.record("x.png") == record


def test_characters_of_a_sign_lie_side_by_side_inside_it(scenes: list[Scene]) -> None:
    signs = [t for s in scenes for t in s.things if t.shape == SIGN]
    assert signs
    for sign in signs:
        boxes = [box for _, box in sign.characters()]
        assert "".join(char for char, _ in sign.characters()) == sign.text
        assert all(a[2] == b[0] for a, b in pairwise(boxes))
        assert sign.box[0] < boxes[0][0]
        assert boxes[-1][2] < sign.box[2]


def test_splits_are_a_tenth_each_and_stay_what_they_are() -> None:
    splits = [make_scene(0, i, "full").split for i in range(2000)]
    counts = Counter(splits)
    assert 0.07 < counts["test"] / 2000 < 0.13
    assert 0.07 < counts["validation"] / 2000 < 0.13
    # Models are published with the promise that they never saw a test scene: this may not move.
    assert [i for i, split in enumerate(splits[:60]) if split == "test"] == [6, 16, 23, 47, 50, 51, 53, 56]


def test_a_split_depends_on_what_is_seen_only() -> None:
    scene = next(s for s in (make_scene(1, i, "full") for i in range(100)) if len(s.things) > 3)
    nudged = tuple(
        dataclasses.replace(t, x=t.x // 8 * 8 + 0.5, y=t.y // 8 * 8 + 7.5, tilt=1.0, tint=(0, 0, 0))
        for t in reversed(scene.things)
    )
    other = dataclasses.replace(scene, id="other", things=nudged, backdrop=1, captions=("x",))
    assert other.split == scene.split


def test_no_test_scene_of_one_seed_is_a_training_scene_of_another() -> None:
    # One-object scenes are the likeliest to come again.
    found: dict[tuple[tuple[str, str, int, int], ...], set[str]] = {}
    number = 0
    for seed in range(5):
        for index in range(1500):
            scene = make_scene(seed, index, "easy")
            if len(scene.things) == 1:
                found.setdefault(content(scene), set()).add(scene.split)
                number += 1
    assert number - len(found) > 50, "too few scenes came again for this to say anything"
    assert all(len(splits) == 1 for splits in found.values())


def test_an_unknown_level_is_named_with_its_nearest() -> None:
    with pytest.raises(UsageError, match="unknown level 'ful'") as caught:
        get_level("ful")
    assert "'full'" in str(caught.value)
