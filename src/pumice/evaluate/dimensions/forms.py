"""Forms of answers that instructions ask for, and whether an answer has them, apart from what it says."""

from __future__ import annotations

import re
from collections.abc import Callable

from pumice.errors import DataError, suggest
from pumice.evaluate.scorers import NUMBERS, normalise

PHRASE = 3
"""Words that a phrase has at most."""
_LETTER = re.compile(r"\(?[A-Z]\)?\.?")
_WORDS = re.compile(r"words-(\d+)")

INSTRUCTIONS = {
    "Answer the question using a single word or phrase.": "word",
    "Answer with the option's letter from the given choices directly.": "letter",
    "Please answer yes or no.": "yes-no",
}
"""Response-format prompts of published benchmarks, and the form that each asks for."""


def _words(raw: str) -> list[str]:
    return raw.split()


def _phrase(raw: str) -> bool:
    words = _words(raw)
    return 0 < len(words) <= PHRASE and not (len(words) > 1 and raw.rstrip().endswith((".", "!", "?")))


def _sentence(raw: str) -> bool:
    text = raw.strip()
    return len(_words(text)) > PHRASE - 1 and text[:1].isupper() and text.endswith((".", "!", "?"))


def _number(raw: str) -> bool:
    word = raw.strip().removesuffix(".").lower()
    return word.isdecimal() or word in NUMBERS


def _list(raw: str) -> bool:
    """Items with commas between, each a phrase; "and" may stand before the last."""
    items = [item.strip().removeprefix("and ") for item in raw.strip().removesuffix(".").split(",")]
    return len(items) > 1 and all(0 < len(item.split()) <= PHRASE for item in items)


FORMS: dict[str, Callable[[str], bool]] = {
    "word": _phrase,
    "yes-no": lambda raw: normalise(raw) in ("yes", "no"),
    "letter": lambda raw: _LETTER.fullmatch(raw.strip()) is not None,
    "number": _number,
    "sentence": _sentence,
    "list": _list,
}
"""By name; ``words-N`` besides, just N words."""


def obeys(form: str, raw: str) -> bool:
    """Whether an answer has a form.

    >>> obeys("word", "top left"), obeys("word", "It is red."), obeys("words-2", "two red")
    (True, False, True)
    """
    count = _WORDS.fullmatch(form)
    if count is not None:
        return len(_words(raw)) == int(count[1])
    return FORMS[form](raw)


def check_form(form: str, where: str) -> None:
    """DataError where there is no such form."""
    if form not in FORMS and _WORDS.fullmatch(form) is None:
        raise DataError(f"there is no form {form!r}", where=where, remedy=suggest(form, [*FORMS, "words-3"]))


def form_asked(prompt: str) -> str | None:
    """The form that the last response-format prompt of a benchmark's question asks for; None without one."""
    found = [(prompt.rfind(line), form) for line, form in INSTRUCTIONS.items() if line in prompt]
    return max(found)[1] if found else None


def says(form: str, raw: str, truth: str) -> bool:
    """Whether an answer says the truth, whatever its form: the true words stand in it, in their order; of a
    list all of them, in any order, and nothing else.

    >>> says("sentence", "The star is red.", "red"), says("list", "blue, red", "red, blue")
    (True, True)
    """
    if form == "list":
        return _items(raw) == _items(truth)
    given, wanted = _plain(raw), _plain(truth)
    return f" {wanted} " in f" {given} "


def _plain(text: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return " ".join(NUMBERS.get(word, word) for word in words)


def _items(text: str) -> set[str]:
    return {normalise(item) for item in re.split(r",|\band\b", text.removesuffix(".")) if item.strip()}
