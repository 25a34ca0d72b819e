"""From scenes to what other packages read: scene texts, regions, LLaVA JSON rows, test questions."""

from __future__ import annotations

from typing import Any

from pumice.generate.protocol import Instance, SceneText, Turn
from pumice.types import Region
from pumice.world.scene import Scene
from pumice.world.teacher import SHORT_ANSWER


def scene_text(scene: Scene) -> SceneText:
    """What a teacher sees of a scene: its record, read back."""
    record: dict[str, Any] = scene.record(f"{scene.id}.png")
    return SceneText(
        id=record["id"],
        image=record["image"],
        captions=tuple(record["captions"]),
        instances=tuple(Instance(i["category"], tuple(i["bbox"])) for i in record["instances"]),
        texts=tuple(Instance(i["text"], tuple(i["bbox"])) for i in record["texts"]),
    )


def scene_regions(scene: Scene) -> list[Region]:
    """Boxes with phrases: every object, and every character of a sign."""
    text = scene_text(scene)
    return [Region(i.box, i.category) for i in (*text.instances, *text.texts)]


def with_prompt(turn: Turn) -> str:
    """The question, with LLaVA's response-format prompt behind it where the answer is short."""
    return f"{turn.question}\n{SHORT_ANSWER}" if turn.short else turn.question
