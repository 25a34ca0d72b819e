"""Which language a text is in, told from its script and its smallest words."""

from __future__ import annotations

import re
from functools import lru_cache

LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "zh": "Chinese",
    "ja": "Japanese",
}
_SMALL = {
    "en": "the of and is are in on a an to with that it this there for by at as from its be has while what",
    "de": "der die das und ist sind ein eine einen einem im in auf mit zu den dem von es für wird nicht was",
    "fr": "le la les et est sont un une des du dans sur avec de il elle au aux pour par que qui ce cette en",
    "es": "el la los las y es son un una en con de del que se por para al lo como está hay su sobre qué",
    "it": "il lo la i gli le e è sono un una in su con di del della che si per al nel nella c'è come sulla",
    "pt": "o a os as e é são um uma em no na nos com de do da que se por para ao há como está seu sobre",
}
_WORDS = {code: frozenset(text.split()) for code, text in _SMALL.items()}
_LETTERS = re.compile(r"[^\W\d_]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
LONG = 9
"""Words of a sentence from which on it is looked at by itself."""
ENOUGH = 4
"""Words of a text below which its language is not told."""


def word_count(text: str, language: str) -> int:
    """How many words a text has; of languages without spaces, two characters are one."""
    if language in ("zh", "ja"):
        return -(-len(_LETTERS.findall(text)) // 2)
    return len(text.split())


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that are long enough to tell their language."""
    found = re.split(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+", text)
    return [one for one in found if len(one.split()) >= LONG or len(_HAN.findall(one)) >= LONG]


@lru_cache(4096)
def is_in(text: str, language: str) -> bool:
    """Whether a text may be in a language; of a few words, and of names, nobody can tell, and it may.

    Languages with Latin letters are told by their smallest words: where it is in another, that one has more
    of them than this one, and at least three. Letters of another script, where they are most, are of another.
    """
    letters = len(_LETTERS.findall(text))
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if language == "ja":
        return letters < ENOUGH or (2 * (kana + han) >= letters and (kana > 0 or han < 2 * ENOUGH))
    if language == "zh":
        return letters < ENOUGH or (2 * han >= letters and 8 * kana < letters)
    foreign = sum(ord(letter) > 0x24F for letter in _LETTERS.findall(text))
    if 2 * foreign > letters:
        return False
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    if len(words) < ENOUGH:
        return True
    hits = {code: sum(word in small for word in words) for code, small in _WORDS.items()}
    most = max(hits.values())
    return most < 3 or hits[language] * 4 >= most * 3
