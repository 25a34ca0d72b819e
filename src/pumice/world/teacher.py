"""The embedded world's teacher: rules that read captions and boxes, never pixels.

Everything it knows of a picture is a ``SceneText``. Words for place and size come from boxes and
categories; what they do not settle (an object at the edge of two thirds, two objects of one
description) it does not ask about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from pumice.generate.protocol import Instance, Kind, SceneText, Turn
from pumice.world.describe import NUMBER_WORDS, article, listing, place, plural
from pumice.world.scene import COLOURS, SHAPES, SIGN

_T = TypeVar("_T")

PLACE_MARGIN = 0.03
"""Distance from the lines between thirds under which a place is not asked for."""
RELATION_MARGIN = 0.2
"""Smallest distance along the deciding axis for which two objects' relation is asked for."""
RELATION_SLANT = 0.6
"""Largest distance along the other axis, as a share of the deciding one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One instance, read: ``small red circle`` and its box become words and a centre."""

    size: str
    color: str
    shape: str
    x: float
    y: float

    @property
    def place(self) -> str:
        """Ninth of the picture."""
        return place(self.x, self.y)

    @property
    def name(self) -> str:
        """Colour and shape, the name an existence question uses."""
        return f"{self.color} {self.shape}" if self.color else self.shape


def read(instance: Instance) -> Seen:
    """Split a category of the world into its words; a sign has neither size nor colour."""
    x1, y1, x2, y2 = instance.box
    words = instance.category.split()
    size, color, shape = words if len(words) == 3 else ("", "", words[-1])
    return Seen(size, color, shape, (x1 + x2) / 2, (y1 + y2) / 2)


def sign_text(texts: Sequence[Instance]) -> str:
    """The characters of the sign, left to right."""
    return "".join(t.category for t in sorted(texts, key=lambda t: t.box[0]))


def _describe(thing: Seen, words: Iterable[str]) -> str:
    """``the small red circle at the top left`` from the words chosen; no shape reads ``object``."""
    chosen = set(words)
    parts = ["the"]
    parts += [getattr(thing, w) for w in ("size", "color") if w in chosen]
    parts.append(thing.shape if "shape" in chosen else "object")
    if "place" in chosen:
        parts.append("in the center" if thing.place == "center" else f"at the {thing.place}")
    return " ".join(parts)


class WorldTeacher:
    """Writes all kinds of instruction data about the world.

    Args:
        seed: with the scene's id it decides what is asked, so one scene always gets one text.
        popular: names (colour and shape) by falling frequency in the data set; negatives of the
            ``popular`` setting are taken from its head. See ``by_frequency``.
    """

    name = "world-rules"

    def __init__(self, seed: int, popular: Sequence[str] = ()) -> None:
        self.seed = seed
        self.popular = tuple(popular) or tuple(f"{c} {s}" for c in COLOURS for s in SHAPES)

    def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
        """Turns of one kind about one scene (see ``pumice.generate.protocol.Teacher``)."""
        rng = np.random.default_rng([self.seed, *scene.id.encode(), *kind.encode()])
        things = [read(i) for i in scene.instances]
        writers = {
            "caption": self._caption,
            "conversation": self._conversation,
            "detail": self._detail,
            "reasoning": self._reasoning,
            "short": self._short,
            "existence": self._existence,
            "correction": self._correction,
        }
        return writers[kind](scene, things, rng)

    # Descriptions

    def _caption(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        asked = _pick(rng, ["Describe the image concisely.", "Give a short caption of the picture."])
        return [Turn(asked, scene.captions[int(rng.integers(3))], "caption")]

    def _detail(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        sentences = [_there_are(len(things), "object")]
        text = sign_text(scene.texts)
        for thing in sorted(things, key=lambda t: (round(t.y * 3), t.x)):
            words = ("size", "color", "shape") if thing.color else ("shape",)
            name = _describe(thing, words).removeprefix("the ")
            spot = "in the center" if thing.place == "center" else f"at the {thing.place}"
            says = f" that says {text}" if thing.shape == SIGN else ""
            sentences.append(f"{spot.capitalize()} there is {article(name)}{says}.")
        return [Turn("Describe the image in detail.", " ".join(sentences), "detail")]

    # Short answers

    def _unique(
        self, things: list[Seen], thing: Seen, words: Sequence[str], rng: np.random.Generator
    ) -> str | None:
        """A description by some of ``words`` that fits this thing only; None if there is none."""
        fitting = []
        for n in range(1, len(words) + 1):
            for chosen in combinations(words, n):
                same = [t for t in things if all(_may_be(t, w, getattr(thing, w)) for w in chosen)]
                # A description without a shape must not fit a sign either: a sign is an object too.
                if len(same) == 1:
                    fitting.append(chosen)
        return _describe(thing, _pick(rng, fitting)) if fitting else None

    def attribute(
        self, things: list[Seen], thing: Seen, attribute: str, rng: np.random.Generator
    ) -> Turn | None:
        """Colour, shape or size of a thing described by its other attributes."""
        if not thing.color:
            return None
        others = [w for w in ("size", "color", "shape") if w != attribute]
        solid = [t for t in things if t.color]
        present = tuple(getattr(t, attribute) for t in solid)
        if len(set(present)) < 2:
            return None
        name = self._unique(things, thing, others, rng) or self._unique(
            things, thing, [*others, "place"], rng
        )
        if name is None or (name.endswith(thing.place) and _near_line(thing)):
            return None
        return Turn(f"What {attribute} is {name}?", getattr(thing, attribute), attribute, True, None, present)

    def _name(self, things: list[Seen], thing: Seen, rng: np.random.Generator) -> str | None:
        if not thing.color:
            return "the sign"
        return self._unique(things, thing, ("color", "shape"), rng) or self._unique(
            things, thing, ("size", "color", "shape"), rng
        )

    def position(self, things: list[Seen], thing: Seen, rng: np.random.Generator) -> Turn | None:
        """In which ninth of the picture a thing is."""
        name = self._name(things, thing, rng)
        if name is None or _near_line(thing):
            return None
        return Turn(f"Where is {name}?", thing.place, "position", True, None, tuple(t.place for t in things))

    def relation(self, things: list[Seen], a: Seen, b: Seen, rng: np.random.Generator) -> Turn | None:
        """Where one thing is as seen from another: left, right, above or below."""
        dx, dy = a.x - b.x, a.y - b.y
        far, near = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
        first, second = self._name(things, a, rng), self._name(things, b, rng)
        if far < RELATION_MARGIN or near > RELATION_SLANT * far or first is None or second is None:
            return None
        horizontal = abs(dx) > abs(dy)
        answer = ("left" if dx < 0 else "right") if horizontal else ("above" if dy < 0 else "below")
        return Turn(f"Where is {first} relative to {second}?", answer, "relation", True)

    def count(self, things: list[Seen], rng: np.random.Generator) -> Turn:
        """How many things fit a description; sometimes none do."""
        draw = rng.random()
        if draw < 0.2:
            return Turn("How many objects are there?", str(len(things)), "count", True)
        solid = [t for t in things if t.color]
        some = solid[int(rng.integers(len(solid)))] if solid and rng.random() < 0.75 else None
        color = some.color if some else _pick(rng, tuple(COLOURS))
        shape = some.shape if some else _pick(rng, SHAPES)
        if draw < 0.5:
            noun, fits = f"{color} objects", sum(t.color == color for t in solid)
        elif draw < 0.8:
            noun, fits = plural(shape), sum(t.shape == shape for t in solid)
        else:
            noun = f"{color} {plural(shape)}"
            fits = sum(t.color == color and t.shape == shape for t in solid)
        return Turn(f"How many {noun} are there?", str(fits), "count", True)

    def _short(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        turns: list[Turn | None] = []
        for index in rng.permutation(len(things)):
            thing = things[index]
            for attribute in ("color", "shape", "size"):
                turns.append(self.attribute(things, thing, attribute, rng))
            turns.append(self.position(things, thing, rng))
        pairs = [(a, b) for a in range(len(things)) for b in range(len(things)) if a != b]
        for index in rng.permutation(len(pairs))[:6]:
            a, b = pairs[index]
            turns.append(self.relation(things, things[a], things[b], rng))
        turns += [self.count(things, rng) for _ in range(3)]
        text = sign_text(scene.texts)
        if text:
            turns.append(Turn("What does the sign say?", text, f"sign-{len(text)}", True))
        return [t for t in dict.fromkeys(turns) if t is not None]

    # Existence and false premises

    def negative(self, things: list[Seen], setting: str, rng: np.random.Generator) -> str | None:
        """The name of something that is not there, chosen as POPE chooses.

        ``random``: any absent name. ``popular``: an absent one of the most frequent names of the
        data set. ``adversarial``: an absent one whose parts co-occur here, the colour of one thing
        with the shape of another (in this world that is what co-occurrence can mean).
        """
        there = {t.name for t in things}
        if setting == "random":
            names = [f"{c} {s}" for c in COLOURS for s in SHAPES]
        elif setting == "popular":
            names = list(self.popular[:12])
        else:
            solid = [t for t in things if t.color]
            names = [f"{a.color} {b.shape}" for a in solid for b in solid]
        absent = [n for n in dict.fromkeys(names) if n not in there]
        return _pick(rng, absent) if absent else None

    def _existence(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        solid = [t for t in things if t.color]
        turns = []
        for setting in ("random", "popular", "adversarial"):
            negative = self.negative(things, setting, rng)
            # Pairs only, so that yes and no are equally frequent, as in POPE.
            if negative is None or not solid:
                continue
            names = [(_pick(rng, [t.name for t in solid]), "Yes"), (negative, "No")]
            for i in rng.permutation(2):
                name, answer = names[i]
                asked = f"Is there {article(name)} in the image?"
                turns.append(Turn(asked, answer, "existence", True, setting))
        return turns

    def _correction(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        turns = []
        shapes = [s for s in SHAPES if all(t.shape != s for t in things)]
        if shapes:
            shape = _pick(rng, shapes)
            attribute = _pick(rng, ("color", "size"))
            turns.append(
                Turn(f"What {attribute} is the {shape}?", f"There is no {shape}.", "correction", True)
            )
        missing = self.negative(things, _pick(rng, ("random", "adversarial")), rng)
        if missing:
            asked = _pick(rng, (f"Where is the {missing}?", f"What size is the {missing}?"))
            turns.append(Turn(asked, f"There is no {missing}.", "correction", True))
        if not scene.texts:
            turns.append(Turn("What does the sign say?", "There is no sign.", "correction", True))
        return turns

    # Sentences

    def _conversation(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        turns = [
            Turn("How many objects are in the image?", _there_are(len(things), "object"), "conversation")
        ]
        for index in rng.permutation(len(things))[:2]:
            thing = things[index]
            name = self._name(things, thing, rng)
            if name is not None and not _near_line(thing):
                spot = "in the center" if thing.place == "center" else f"at the {thing.place}"
                turns.append(
                    Turn(
                        f"Can you tell me where {name} is?", f"{name.capitalize()} is {spot}.", "conversation"
                    )
                )
            turn = self.attribute(things, thing, "color", rng)
            if turn is not None:
                name = turn.question.removeprefix("What color is ").removesuffix("?")
                turns.append(Turn(turn.question, f"{name.capitalize()} is {turn.answer}.", "conversation"))
        return turns

    def _reasoning(self, scene: SceneText, things: list[Seen], rng: np.random.Generator) -> list[Turn]:
        solid = [t for t in things if t.color]
        if not solid:
            return []
        total = len(things)
        color = _pick(rng, [t.color for t in solid])
        gone = sum(t.color == color for t in solid)
        left_over = NUMBER_WORDS[total - gone] if total > gone else "none"
        left = (
            f"{_there_are(total, 'object').removesuffix('.')} and {NUMBER_WORDS[gone]} of them"
            f" {'is' if gone == 1 else 'are'} {color}, so {left_over} would be left."
        )
        turns = [
            Turn(
                f"If all {color} objects were taken away, how many objects would be left?", left, "reasoning"
            )
        ]
        shapes = list(dict.fromkeys(t.shape for t in solid))
        if len(shapes) > 1:
            a, b = (shapes[i] for i in rng.permutation(len(shapes))[:2])
            n, m = (sum(t.shape == s for t in solid) for s in (a, b))
            verdict = "yes" if n > m else "no"
            counts = listing([_number_of(n, a), _number_of(m, b)])
            lead = "is" if n == 1 else "are"
            turns.append(
                Turn(
                    f"Are there more {plural(a)} than {plural(b)}?",
                    f"There {lead} {counts}, so {verdict}.",
                    "reasoning",
                )
            )
        return turns


def _number_of(n: int, noun: str) -> str:
    return f"{NUMBER_WORDS[n]} {noun if n == 1 else plural(noun)}"


def _there_are(n: int, noun: str) -> str:
    return f"There {'is' if n == 1 else 'are'} {_number_of(n, noun)}."


def _near_line(thing: Seen) -> bool:
    """Whether a centre is so near a line between thirds that its place is a matter of opinion."""
    return any(abs(v - line) < PLACE_MARGIN for v in (thing.x, thing.y) for line in (1 / 3, 2 / 3))


def _may_be(thing: Seen, word: str, value: str) -> bool:
    """Whether a thing could be described so; near a line between thirds it could be on either side."""
    if word != "place":
        return bool(getattr(thing, word) == value)
    near = (-PLACE_MARGIN, 0.0, PLACE_MARGIN)
    return any(place(thing.x + dx, thing.y + dy) == value for dx in near for dy in near)


def _pick(rng: np.random.Generator, items: Sequence[_T]) -> _T:
    return items[int(rng.integers(len(items)))]


def names_in(scene: SceneText) -> list[str]:
    """Colour and shape of each thing of a scene but its sign: the names that existence questions use."""
    return [thing.name for thing in map(read, scene.instances) if thing.color]


def by_frequency(counts: Counter[str]) -> list[str]:
    """Names of a data set, the most frequent first, ties in alphabetical order."""
    return sorted(counts, key=lambda name: (-counts[name], name))
