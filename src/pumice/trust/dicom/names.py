"""How else a person's name is written: a header knows one spelling, reports and makers' fields use others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import permutations

_UMLAUTS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ß": "ss",
        "æ": "ae",
        "ø": "oe",
        "œ": "oe",
        "å": "aa",
        "ł": "l",
        "đ": "d",
    }
)
_APART = re.compile(r"[\^\s,.;]+")
_HYPHENS = re.compile(r"[-\u2010-\u2015]")
_APOSTROPHES = re.compile(r"['\u2018\u2019\u02bc`\u00b4]")
JOINED = 5
"""Fewest letters of two words written as one that are looked for; Li and Wu together stand in too much."""


def words_of(name: str) -> list[str]:
    """The words of a name as the header has them, in all its scripts (PS3.5, 6.2.1), in its order."""
    return [word for group in name.split("=") for word in _APART.split(group) if word]


def spellings_of(name: str) -> tuple[set[str], set[str]]:
    """Other ways to write a name, in small letters.

    Args:
        name: as the header has it: ``Müller-Lüdenscheidt^Zoë=山田^太郎``.

    Returns:
        Parts of double names and words written as one, which are names as well; and words without their
        accents, which may be words of another meaning.
    """
    parts: set[str] = set()
    for group in name.lower().split("="):
        words = [word for word in _APART.split(group) if word]
        for word in words:
            parts.update(_HYPHENS.split(word))
        for two in permutations(words[:2]):
            joined = "".join(two)
            if len(two) == 2 and len(joined) >= (JOINED if joined.isascii() else 2):
                parts.add(joined)
    forms = {form for word in [*map(str.lower, words_of(name)), *parts] for form in _respelled(word)}
    return parts - {""}, forms - parts


def _respelled(word: str) -> Iterator[str]:
    """A word in other code points, without accents, hyphens and apostrophes."""
    composed = unicodedata.normalize("NFC", word)
    apart = unicodedata.normalize("NFD", composed)
    bare = "".join(one for one in unicodedata.normalize("NFKD", word) if not unicodedata.combining(one))
    for form in (composed, unicodedata.normalize("NFKC", word), composed.translate(_UMLAUTS)):
        yield form
        yield _HYPHENS.sub(" ", form)
        if _APOSTROPHES.search(form):
            yield from (_APOSTROPHES.sub(other, form) for other in ("", "'", "\u2019"))
    yield apart
    if bare.isascii():  # marks of other scripts are letters: a kana without its mark is another one
        yield bare
