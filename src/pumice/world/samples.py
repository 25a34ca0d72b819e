"""From scenes to what other packages read: scene texts, regions, questions with their prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pumice.errors import UsageError
from pumice.generate.protocol import SceneText
from pumice.generate.run import with_prompt
from pumice.generate.scenes import parse_scene
from pumice.types import Region
from pumice.world.scene import COLOURS, SHAPES, SIGN, Scene
from pumice.world.teacher import WorldTeacher, by_frequency, names_in

__all__ = ["scene_image", "scene_regions", "scene_text", "teacher_for", "with_prompt"]


def scene_image(scene: Scene) -> str:
    """The path of a scene's picture inside a world's folder."""
    return f"images/{scene.id}.png"


def scene_text(scene: Scene) -> SceneText:
    """What a teacher sees of a scene: its record, read back as from a file."""
    return parse_scene(scene.record(scene_image(scene)), scene.id)


def scene_regions(scene: Scene) -> list[Region]:
    """Boxes with phrases: every object, and every character of a sign."""
    text = scene_text(scene)
    return [Region(i.box, i.category) for i in (*text.instances, *text.texts)]


def teacher_for(scenes: Sequence[SceneText], seed: int) -> WorldTeacher:
    """The teacher of these scenes, which are a world's: what is popular is counted in them.

    Raises:
        UsageError: a scene holds something that is not of a world.
    """
    names: Counter[str] = Counter()
    for scene in scenes:
        for one in scene.instances:
            words = one.category.split()
            if words[-1] != SIGN and (len(words) != 3 or words[1] not in COLOURS or words[2] not in SHAPES):
                raise UsageError(
                    f"scene {scene.id} holds a {one.category!r}, and the teacher knows a world's alone",
                    where="--teacher world",
                    remedy="give it scenes-train.jsonl of a world (pumice world make), or name a model",
                )
        names.update(names_in(scene))
    return WorldTeacher(seed, by_frequency(names))
