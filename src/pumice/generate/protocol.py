"""What a teacher is: a writer of questions and answers that sees captions and boxes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pumice.types import NO_RIGHTS, Box, Rights

Kind = Literal["caption", "conversation", "detail", "reasoning", "short", "existence", "correction"]
KINDS: tuple[Kind, ...] = (
    "caption",
    "conversation",
    "detail",
    "reasoning",
    "short",
    "existence",
    "correction",
)


@dataclass(frozen=True, slots=True)
class Instance:
    """An object as boxes name it: its category and where it is.

    Attributes:
        category: what it is; of a region its phrase, of text the text.
        box: where it is.
        crowd: whether the box is around many of the kind, so that they cannot be counted.
    """

    category: str
    box: Box
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class SceneText:
    """All a teacher sees of a picture.

    Attributes:
        id: by which rows about it are told from others.
        image: its file, inside the image folder and relative to it.
        captions: sentences about it.
        instances: boxes with categories.
        texts: boxes of legible text.
        regions: boxes with phrases that people wrote (Visual Genome).
        mentions: sentences of a text that refer to it, where it is a figure.
        size: width and height in pixels; None where nobody told.
        rights: whose it is and under which licence; rows about it say so, too.
    """

    id: str
    image: str
    captions: tuple[str, ...]
    instances: tuple[Instance, ...]
    texts: tuple[Instance, ...] = ()
    regions: tuple[Instance, ...] = ()
    mentions: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    rights: Rights = NO_RIGHTS


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer.

    Attributes:
        type: what is asked for (``color``, ``count``, ...), by which scores are grouped.
        short: whether the answer is a single word or phrase, so that LLaVA's response-format
            prompt belongs behind the question.
        setting: for existence questions, how the object asked for was chosen, as in POPE.
        present: the values of the asked attribute in the picture, one per object; from them the
            score of guessing among what is present is computed.
    """

    question: str
    answer: str
    type: str
    short: bool = False
    setting: str | None = None
    present: tuple[str, ...] = ()


class Teacher(Protocol):
    """A text-only writer of instruction data: rules, a local text model or a remote one."""

    name: str

    def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
        """Turns of one kind about one scene; empty when the scene gives no occasion for it."""
        ...


class Remembered:
    """A teacher for one scene that writes each kind once, however many files take turns of it.

    Args:
        teacher: who writes, one kind at the first call for it.
        scene: the scene all calls are about.
    """

    def __init__(self, teacher: Teacher, scene: SceneText) -> None:
        self.name, self._teacher, self._scene = teacher.name, teacher, scene
        self._turns: dict[Kind, Sequence[Turn]] = {}

    def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
        """The turns of one kind (see ``Teacher``)."""
        assert scene == self._scene, f"turns of {self._scene.id} are asked for {scene.id}"
        if kind not in self._turns:
            self._turns[kind] = self._teacher.write(scene, kind)
        return self._turns[kind]
