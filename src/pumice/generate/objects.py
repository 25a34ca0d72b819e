"""Which things a text names, by a list of kinds and their words, and how many of each it counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pumice.errors import DataError


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_TENS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
NUMBERS = {word: n for n, word in enumerate(re.findall("[a-z]+", _TENS), 2)}
_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "people",
    "knives": "knife",
    "geese": "goose",
    "calves": "calf",
    "loaves": "loaf",
    "scissors": "scissors",
    "glasses": "glasses",
    "skis": "ski",
    "buses": "bus",
    "bus": "bus",
    "oxen": "ox",
}
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[.,;:!?()]")
_CLAUSE = frozenset(".,;:!?()")
_DENIED = word_set("no not none without never neither nor absent missing lacks instead nothing nobody")
_GUESSED = word_set(
    "could might may would should can if likely possibly perhaps such like example or probably suggest "
    "suggests indicate indicates imply implies potentially potential whether typically often usually "
    "another other any to for"
)
_VAGUE = word_set("least about around approximately nearly almost over roughly most")
_NOT_NAMES = word_set("left right front back top bottom side")


@dataclass(frozen=True, slots=True)
class Named:
    """A thing that a text names.

    Attributes:
        kinds: what it may be (a bag is a backpack, a handbag or a suitcase).
        word: the word in the text.
        denied: whether its clause says that it is not there.
        guessed: whether its clause is a guess, a purpose or advice.
        number: how many of them; None where no number from two up stands before it.
        exact: whether the number is said to be all there are: "there are two dogs".
    """

    kinds: frozenset[str]
    word: str
    denied: bool
    guessed: bool
    number: int | None
    exact: bool


def singular(word: str) -> str:
    """The singular of an English noun, by rule; good enough to compare two words by."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class Vocabulary:
    """Kinds of things and their words.

    Args:
        lines: as in ``objects.txt``: a kind, and after a colon other words for it.
        categories: further kinds, from boxes; their last word alone stands for them, too.
    """

    def __init__(self, lines: Mapping[str, Iterable[str]], categories: Iterable[str] = ()) -> None:
        self._made_of = {kind: tuple(words) for kind, words in lines.items()}, tuple(sorted(set(categories)))
        self._kinds: dict[tuple[str, ...], set[str]] = {}
        for kind, words in self._made_of[0].items():
            for word in (kind, *words):
                self._add(word, kind)
        self._own = set(self._kinds)
        for category in self._made_of[1]:
            key = _key(category)
            if key and key not in self._own:
                self._add(category, category.lower())
                if len(key) > 1 and (key[-1],) not in self._own and key[-1] not in _NOT_NAMES:
                    self._add(key[-1], category.lower())
        self._longest = max((len(key) for key in self._kinds), default=1)
        self.of = lru_cache(4096)(self._of)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is made anew: what it remembers of texts stays here."""
        return Vocabulary, self._made_of

    def _add(self, word: str, kind: str) -> None:
        if key := _key(word):
            self._kinds.setdefault(key, set()).add(kind)

    def kinds_of(self, category: str) -> frozenset[str]:
        """The kinds of a box's category; the category itself where no list has it."""
        return frozenset(self._kinds.get(_key(category), {category.lower()}))

    def _of(self, text: str) -> tuple[Named, ...]:
        """All things that a text names, in order."""
        words = _WORD.findall(text.lower().replace("-", " ").replace("\u2019", "'"))
        stems = [singular(word) for word in words]
        found: list[Named] = []
        start = 0
        while start < len(words):
            end = start
            while end < len(words) and words[end] not in _CLAUSE:
                end += 1
            found += self._clause(words[start:end], stems[start:end])
            start = end + 1
        return tuple(found)

    def _clause(self, words: list[str], stems: list[str]) -> Iterable[Named]:
        denied = any(word in _DENIED or word.endswith("n't") for word in words)
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                kinds = self._kinds.get(tuple(stems[at : at + length]))
                if kinds:
                    before = words[:at]
                    guessed = any(word in _GUESSED for word in before)
                    number, exact = _number(before)
                    if words[at + length - 1] == stems[at + length - 1] != "people":
                        number = None  # a singular is not counted: "two dog bowls"
                    word = " ".join(words[at : at + length])
                    yield Named(frozenset(kinds), word, denied, guessed, number, exact)
                    at += length
                    break
            else:
                at += 1


def _number(before: list[str]) -> tuple[int | None, bool]:
    """The number that stands before a noun, with at most two words between them, and whether it is of all."""
    for back in range(1, min(3, len(before)) + 1):
        word = before[-back]
        number = NUMBERS.get(word) or (int(word) if word.isdigit() and 1 < int(word) < 100 else None)
        if word == "of" or word == "and":
            break
        if number is not None:
            lead = before[: len(before) - back]
            if lead and lead[-1] in _VAGUE:
                return None, False
            exact = lead[-2:] in (["there", "are"], ["are", "there"]) or "total" in lead[-3:]
            return number, exact
    return None, False


def read_vocabulary(path: Path, categories: Iterable[str] = ()) -> Vocabulary:
    """The vocabulary of a file, with the categories of the boxes at hand.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"the list of things cannot be read ({error})", where=str(path), remedy="save it as UTF-8"
        ) from error
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            kind, _, words = line.partition(":")
            lines.setdefault(kind.strip(), []).extend(w.strip() for w in words.split(",") if w.strip())
    return Vocabulary(lines, categories)


def _key(word: str) -> tuple[str, ...]:
    return tuple(singular(part) for part in re.findall(r"[a-z]+|\d+", word.lower()))
