"""What benchmarks are made of: scenes of the test split, what may be asked about them, and their pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from pumice.generate.protocol import SceneText, Turn
from pumice.world.describe import COLUMNS, NUMBER_WORDS, ROWS, place
from pumice.world.draw import draw
from pumice.world.pictures import scenes
from pumice.world.samples import scene_text
from pumice.world.scene import COLOURS, SHAPES, SIZES, Scene, Split
from pumice.world.teacher import Seen, WorldTeacher, names_in, read

LEVEL = "full"
QUALITY = 95
"""Of JPEG files: what compression changes is less than the grain of the backdrops."""
TASKS_A_SEED = 64
"""Seeds of scenes that one seed of benchmarks has, so that no two tasks show the same pictures."""

PLACES = tuple(dict.fromkeys(place((x + 0.5) / 3, (y + 0.5) / 3) for y in range(3) for x in range(3)))
"""The ninths of a picture, row by row."""
assert len(PLACES) == len(ROWS) * len(COLUMNS)
RELATIONS = ("left", "right", "above", "below")
VALUES: dict[str, tuple[str, ...]] = {
    "color": tuple(COLOURS),
    "shape": SHAPES,
    "size": tuple(SIZES),
    "position": PLACES,
    "relation": RELATIONS,
    "count": tuple(str(number) for number in range(len(NUMBER_WORDS))),
}
"""The answers that each type of question can have; options of choices are taken from them."""
LETTERS = "ABCD"

Row = dict[str, Any]
_T = TypeVar("_T")


@dataclass(frozen=True)
class View:
    """A scene with all that its teacher has to say about it."""

    number: int
    scene: Scene
    teacher: WorldTeacher

    @cached_property
    def text(self) -> SceneText:
        """What the teacher sees."""
        return scene_text(self.scene)

    @cached_property
    def things(self) -> list[Seen]:
        """The objects, signs among them."""
        return [read(instance) for instance in self.text.instances]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Colour and shape of its objects, each once."""
        return tuple(dict.fromkeys(names_in(self.text)))

    @cached_property
    def short(self) -> tuple[Turn, ...]:
        """The questions with short answers."""
        return tuple(self.teacher.write(self.text, "short"))

    @cached_property
    def missing(self) -> tuple[Turn, ...]:
        """Questions about what is not there."""
        return tuple(self.teacher.write(self.text, "correction"))

    @property
    def sign(self) -> str:
        """What its sign says; empty without one."""
        return next((thing.text for thing in self.scene.things if thing.text), "")

    def turns(self, *kinds: str) -> list[Turn]:
        """The short questions of some types (``sign`` for all lengths), in the teacher's order."""
        return [turn for turn in self.short if turn.type.split("-")[0] in kinds]

    def rng(self, *salt: str) -> np.random.Generator:
        """Random numbers of this scene for one purpose."""
        return np.random.default_rng([self.teacher.seed, *self.scene.id.encode(), *"".join(salt).encode()])

    def picture(self) -> Image.Image:
        """The picture, RGB."""
        return draw(self.scene)


@dataclass(frozen=True)
class Material:
    """The scenes of one task: those of the test split, which no embedded model was trained on.

    Attributes:
        seed: of the benchmarks.
        task: a number that no other task has.
    """

    seed: int
    task: int

    def views(self, split: Split | None = "test") -> Iterator[View]:
        """Endless views, numbered from 0; with None those of all splits."""
        seed = self.seed * TASKS_A_SEED + self.task
        teacher = WorldTeacher(seed)
        for number, scene in enumerate(scenes(seed, LEVEL, split)):
            yield View(number, scene, teacher)


def pick(rng: np.random.Generator, items: Sequence[_T], count: int) -> list[_T]:
    """Some of the items, drawn without replacement, in their order."""
    return [items[i] for i in sorted(rng.permutation(len(items))[:count])]


def options_of(turn: Turn, rng: np.random.Generator, most: int = 4) -> tuple[list[str], int]:
    """Options of a question, the true one among them, in a drawn order; and the number of the true one.

    Those that are present in the picture come first: telling them apart takes more than seeing what is there.
    """
    values = VALUES[turn.type.split("-")[0]]
    others = [value for value in values if value != turn.answer]
    others = [others[i] for i in rng.permutation(len(others))]
    others.sort(key=lambda value: value not in turn.present)
    options = [turn.answer, *others[: most - 1]]
    options = [options[i] for i in rng.permutation(len(options))]
    return options, options.index(turn.answer)


def encoded(picture: Image.Image, form: str = "JPEG") -> bytes:
    """A picture as the bytes of a file."""
    target = io.BytesIO()
    if form == "JPEG":
        picture.save(target, form, quality=QUALITY, subsampling=0)
    else:
        picture.save(target, form, compress_level=1)
    return target.getvalue()


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as JPEG, or as PNG where its name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture, "PNG" if path.suffix == ".png" else "JPEG"))
