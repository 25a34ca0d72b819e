"""Letters of options: MMStar's own rule, and one for AI2D, which has none of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pumice.errors import DataError
from pumice.score.answers import by_id, match, read_answers, said
from pumice.score.files import Row, need, read, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, means

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER = re.compile(r"\(?([A-Z])\)?(?:[.:,)]|$)")
_SAYS = re.compile(r"[Aa]nswer is:? \(?([A-Z])\b")


def mmstar_correct(raw: str, truth: str) -> bool:
    """MMStar's rule: the letter stands first, first in brackets, or behind "option " or "the answer is ".

    Only one character is compared, lower case: "Apple" is an answer A.

    >>> mmstar_correct("(b) red", "B"), mmstar_correct("The answer is C", "C"), mmstar_correct("I say A", "A")
    (True, True, False)
    """
    wanted = truth.lower().strip().replace("\n", " ")
    given = raw.lower().strip().replace("\n", " ")
    if not given:
        return False
    places = [(given, 0)] + [
        (given, len(start)) for start in ("(", "option ", "the answer is ") if given.startswith(start)
    ]
    return any(text[place : place + 1] == wanted for text, place in places)


def choice_letter(raw: str, options: Sequence[str]) -> str | None:
    """The option that an answer names; None where it names none.

    A letter at its beginning, alone or with a mark behind it ("B", "B. Blue", "(B)"); or "answer is B"; or
    the words of exactly one option. Letters are capitals and among those of the options.

    >>> options = ["red", "blue"]
    >>> [choice_letter(text, options) for text in ("B", "(A) red", "The answer is B.", "Blue", "C", "A dog")]
    ['B', 'A', 'B', 'B', None, None]
    """
    text = raw.strip()
    letters = ALPHABET[: len(options)]
    for pattern in (_LETTER.match(text), _SAYS.search(text)):
        if pattern is not None and pattern[1] in letters:
            return pattern[1]
    plain = text.removesuffix(".").strip().lower()
    same = [
        letter for letter, option in zip(letters, options, strict=True) if option.strip().lower() == plain
    ]
    return same[0] if len(same) == 1 else None


def mmstar(inputs: Inputs) -> Result:
    """Accuracy over all questions, by category and by its finer kind."""
    answers = read_answers(inputs.said)
    rows = by_id(read(inputs.asked, "question file"))
    items = []
    for name in match(answers, rows, inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        correct = text is not None and mmstar_correct(text, text_of(row.value, "answer", row.where))
        groups = tuple(str(row.value[key]) for key in ("category", "l2_category") if row.value.get(key))
        items.append(Item(name, (text or "").strip(), float(correct), groups))
    return means("mmstar", items)


def ai2d(inputs: Inputs) -> Result:
    """Accuracy; rows have ``options`` and ``answer``, the number of the right one from 0 (or its letter).

    Rows without an id are counted from 0, as in the files of the hub.
    """
    answers = read_answers(inputs.said)
    rows = by_id(read(inputs.asked, "question file"), numbered=True)
    items, unread = [], 0
    for name in match(answers, rows, inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        options = [str(option) for option in need(row.value, "options", row.where)]
        letter = None if text is None else choice_letter(text, options)
        unread += text is not None and letter is None
        items.append(Item(name, letter or "", float(letter == true_letter(row, options))))
    return means("ai2d", items, counts={"unparsed": unread})


def true_letter(row: Row, options: Sequence[str]) -> str:
    """The letter of a row's true option.

    Raises:
        DataError: its answer is no option.
    """
    value = str(need(row.value, "answer", row.where)).strip()
    letters = ALPHABET[: len(options)]
    if value.isdecimal() and int(value) < len(options):
        return letters[int(value)]
    if value and value in letters:
        return value
    raise DataError(
        f"the answer is {value!r} of {len(options)} options",
        where=row.where,
        remedy="an answer is the number of an option, from 0, or its letter",
    )
