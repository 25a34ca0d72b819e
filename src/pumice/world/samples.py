"""From scenes to what other packages read: scene texts, regions, questions with their prompt."""

from __future__ import annotations

from pumice.generate.protocol import SceneText
from pumice.generate.run import with_prompt
from pumice.generate.scenes import parse_scene
from pumice.types import Region
from pumice.world.scene import Scene

__all__ = ["scene_image", "scene_regions", "scene_text", "with_prompt"]


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
