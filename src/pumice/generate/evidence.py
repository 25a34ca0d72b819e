"""What is known of a scene, ready to be compared with sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pumice.generate.objects import Named, Vocabulary, singular, word_set
from pumice.generate.protocol import SceneText

PLAIN = word_set("are is there in the this picture image photo scene can be seen you see visible do total")
"""What may stand behind "How many cups" where all cups are asked for."""
_ASKING = PLAIN | word_set(
    "a an any what which where how why who color colour size kind shape of on at to by does has have "
    "doing it its look looks like located position and or made"
)
"""Words that ask and that suppose nothing."""
COLORS = word_set(
    "red orange yellow green blue purple pink brown black white gray grey golden gold silver beige tan "
    "turquoise violet maroon teal navy cream blond blonde"
)
ALIKE = {"gray": "silver", "grey": "silver", "golden": "yellow", "gold": "yellow", "tan": "brown",
         "beige": "brown", "violet": "purple", "cream": "white", "turquoise": "blue", "navy": "blue",
         "teal": "blue", "maroon": "red", "blond": "yellow", "blonde": "yellow"}  # fmt: skip


class Evidence:
    """What is known of one scene, or of two together, ready to be compared with sentences.

    Args:
        scenes: one or two.
        vocabulary: kinds of things and their words.
    """

    def __init__(self, scenes: Sequence[SceneText], vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.alone = len(scenes) == 1
        self.sentences = [
            line
            for scene in scenes
            for line in (*scene.captions, *scene.mentions, *(one.category for one in scene.regions))
        ]
        self.boxes = [vocabulary.kinds_of(one.category) for scene in scenes for one in scene.instances]
        crowds = [one.category for scene in scenes for one in scene.instances if one.crowd]
        self.uncounted: set[str] = set().union(*map(vocabulary.kinds_of, crowds))
        self.words = set(re.findall(r"[a-z]+", " ".join(self.sentences).lower()))
        told = [named for line in self.sentences for named in vocabulary.of(line) if not named.denied]
        boxed: set[str] = set().union(*self.boxes)
        # A star in a sentence is one of those in the boxes, where there are such.
        self.kinds = boxed.union(
            *((named.kinds & boxed or named.kinds) if named.head else named.kinds for named in told)
        )
        self.told = {(kind, named.number) for named in told if named.number for kind in named.kinds}
        # A color may be of any thing that its sentence names: nobody parses captions here. Where the category
        # itself has a color, it is that one.
        self.colors: dict[str, set[str]] = {}
        for line in (*self.sentences, *(one.category for scene in scenes for one in scene.instances)):
            for kind in self.kinds & set().union(*(one.kinds for one in vocabulary.of(line))):
                self.colors.setdefault(kind, set()).update(colors_in(kind) or colors_in(line))
        self.all_colors = set().union(*self.colors.values(), *map(colors_in, self.sentences))
        self.places = [
            (one.category.lower(), vocabulary.kinds_of(one.category), one.box)
            for scene in scenes
            for one in scene.instances
            if not one.crowd
        ]
        self.texts = [one.category for scene in scenes for one in scene.texts]

    def has(self, named: Named) -> bool:
        """Whether a thing that a text names may be there."""
        return bool(named.kinds & self.kinds) or set(named.word.split()) <= self.words

    def count(self, kinds: frozenset[str]) -> int:
        """How many boxes are of one of these kinds."""
        return sum(not kinds.isdisjoint(one) for one in self.boxes)

    def supposed(self, question: str) -> set[str]:
        """What a question says beyond the things that it names: of a blue dog, blue; that may be absent."""
        there = [one for one in self.vocabulary.of(question) if self.has(one)]
        named = {word for one in there for word in one.word.split()}
        left = {word for word in re.findall(r"[a-z]+", question.lower()) if word not in _ASKING | named}
        boxed: set[str] = set().union(*self.boxes)
        if any(left <= set(kind.split()) for one in there for kind in one.kinds & boxed):
            return set()  # a yellow ring, where a box is of a medium yellow ring
        return left

    def count_fault(self, named: Named) -> str | None:
        """What is wrong with a number that a text gives of a thing; None where nothing is."""
        number = named.number
        if number is None or any((kind, number) in self.told for kind in named.kinds):
            return None
        if named.kinds & self.uncounted:
            return None
        boxes = self.count(named.kinds)
        if named.vague and number <= 1.5 * boxes + 1:
            return None
        if number > boxes:
            return f"it counts {number} {named.word}, and the scene bears out {boxes or 'no number'}"
        if named.exact and self.alone and number != boxes and self._is_kind(named):
            return f"it counts {number} {named.word} in all, and there are {boxes} boxes"
        return None

    def _is_kind(self, named: Named) -> bool:
        """Whether a word is for all of its kind, and not, like women, for some."""
        return singular(named.word) in named.kinds or named.word in ("people", "persons")


@lru_cache(4096)
def colors_in(text: str) -> frozenset[str]:
    """The colors that a text says; shades that people mix up are one."""
    words = re.findall(r"[a-z]+", text.lower())
    return frozenset(ALIKE.get(word, word) for word in words if word in COLORS)
