"""Instruction data from captions and boxes, written by a model that never sees a picture."""

from pumice.generate.protocol import KINDS, Instance, Kind, SceneText, Teacher, Turn
from pumice.generate.run import SHORT_ANSWER, generate, with_prompt, write_llava, write_questions
from pumice.generate.scenes import parse_scene, read_scenes

__all__ = [
    "KINDS",
    "SHORT_ANSWER",
    "Instance",
    "Kind",
    "SceneText",
    "Teacher",
    "Turn",
    "generate",
    "parse_scene",
    "read_scenes",
    "with_prompt",
    "write_llava",
    "write_questions",
]
