from __future__ import annotations

import json

from pumice.generate.protocol import Turn
from pumice.generate.scenes import parse_scene
from pumice.world.samples import scene_regions, scene_text, with_prompt
from pumice.world.scene import SIGN, Scene


def test_a_scene_read_from_a_file_is_the_scene_in_memory(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        text = scene_text(scene)
        assert parse_scene(json.loads(json.dumps(scene.record(text.image))), "x") == text
        assert text.image == f"images/{scene.id}.png"


def test_regions_are_all_objects_then_all_characters(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        signs = [t for t in scene.things if t.shape == SIGN]
        regions = scene_regions(scene)
        assert [r.phrase for r in regions] == [t.category for t in scene.things] + [
            c for t in signs for c in t.text
        ]
        assert [r.box for r in regions][: len(scene.things)] == [t.box for t in scene.things]


def test_only_short_questions_carry_the_format_prompt() -> None:
    assert with_prompt(Turn("Why?", "So.", "reasoning")) == "Why?"
    short = "What color is it?\nAnswer the question using a single word or phrase."
    assert with_prompt(Turn("What color is it?", "red", "color", True)) == short
