"""Which things a text names, by a list of kinds and their words, and how many of each it counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
    "another other any for"
)
_PLACING = word_set("next close adjacent up due attached connected according down over")
"""Before "to" they place something; elsewhere it stands before a purpose."""
_ARTICLES = word_set("the a an his her its their this that these those one each")
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
        vague: whether the number is said to be about so many.
        definite: whether the number speaks of what is known: "the two dogs"; that is no guess.
        head: whether it is named by the last word alone of several categories: a star, of red and blue ones.
        before: the words of its clause before it, up to the thing named before.
        after: those behind it, up to the next thing.
    """

    kinds: frozenset[str]
    word: str
    denied: bool
    guessed: bool
    number: int | None = None
    exact: bool = False
    vague: bool = False
    definite: bool = False
    head: bool = False
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


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
        self._heads: set[tuple[str, ...]] = set()
        for category in self._made_of[1]:
            key = _key(category)
            if key and key not in self._own:
                self._add(category, category.lower())
                if len(key) > 1 and (key[-1],) not in self._own and key[-1] not in _NOT_NAMES:
                    self._add(key[-1], category.lower())
                    self._heads.add((key[-1],))
        self._heads -= {_key(category) for category in self._made_of[1]}
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
        places: list[tuple[int, int, set[str]]] = []
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                kinds = self._kinds.get(tuple(stems[at : at + length]))
                if kinds:
                    places.append((at, at + length, kinds))
                    at += length
                    break
            else:
                at += 1
        for n, (start, end, kinds) in enumerate(places):
            since = places[n - 1][1] if n else 0
            until = places[n + 1][0] if n + 1 < len(places) else len(words)
            told = _number(words[:start])
            if words[end - 1] == stems[end - 1] != "people":
                told = _Number()  # a singular is not counted: "two dog bowls"
            yield Named(
                frozenset(kinds),
                " ".join(words[start:end]),
                denied,
                is_guess(words[: start + 1]),
                told.number,
                told.exact,
                told.vague,
                told.definite,
                tuple(stems[start:end]) in self._heads,
                tuple(words[since:start]),
                tuple(words[end:until]),
            )


def is_guess(words: Sequence[str]) -> bool:
    """Whether the words of a clause make a guess, a purpose or advice of what stands at their end."""
    for n, word in enumerate(words[:-1]):
        if word in _GUESSED:
            return True
        if word == "to" and words[n + 1] not in _ARTICLES and (not n or words[n - 1] not in _PLACING):
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Number:
    number: int | None = None
    exact: bool = False
    vague: bool = False
    definite: bool = False


def _number(before: list[str]) -> _Number:
    """The number that stands before a noun, with at most two words between them."""
    for back in range(1, min(3, len(before)) + 1):
        word = before[-back]
        number = NUMBERS.get(word) or (int(word) if word.isdigit() and 1 < int(word) < 100 else None)
        if word == "of" or word == "and":
            break
        if number is not None:
            lead = before[: len(before) - back]
            vague = bool(lead) and lead[-1] in _VAGUE
            exact = lead[-2:] in (["there", "are"], ["are", "there"]) or "total" in lead[-3:]
            definite = bool(lead) and lead[-1] in ("the", "these", "those", "all")
            return _Number(number, exact and not vague, vague, definite)
    return _Number()


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
