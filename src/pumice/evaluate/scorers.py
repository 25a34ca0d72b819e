"""The scoring rule of the world's questions; those of published benchmarks are in ``pumice.score``."""

from __future__ import annotations

ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}


def normalise(text: str) -> str:
    """The form in which two answers are compared.

    Lower case; white space collapsed and stripped; one final full stop removed; leading articles
    removed unless nothing would be left (a sign may read "A"); number words zero to twenty as digits.

    >>> normalise(" A red  Circle. "), normalise("Two"), normalise("A")
    ('red circle', '2', 'a')
    """
    words = text.strip().lower().removesuffix(".").split()
    while len(words) > 1 and words[0] in ARTICLES:
        words.pop(0)
    return " ".join(NUMBERS.get(word, word) for word in words)


def exact_match(raw: str, truth: str) -> bool:
    """Whether an answer is the truth, after ``normalise`` on both. No substrings, no synonyms."""
    return normalise(raw) == normalise(truth)
