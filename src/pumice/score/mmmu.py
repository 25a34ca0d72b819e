"""MMMU: letters and open answers, read out of free text by the rules of its authors (eval_utils.py)."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from pumice.errors import DataError
from pumice.score.answers import by_id, match, read_answers, said
from pumice.score.choice import ALPHABET
from pumice.score.files import Row, is_object, need, object_rows, read
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, means

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power",
        "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
DOMAIN = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects}
UNKNOWN_OPTIONS = 9
"""Letters that are looked for where the file does not tell the options."""
LONG = 5
"""An answer of more words may name an option by its words."""

_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_SUBJECT = re.compile(r"[^_]+_(.+?)_\d+")


def mmmu_letter(raw: str, options: Sequence[str] | None) -> str | None:
    """The option that an answer names; None where the official rule would guess at random.

    Letters in brackets count before letters with a space behind them, these before letters with a full stop,
    and in answers of more than five words the options' own words come last. Of several the last one counts.
    "USA is" names A: only what stands behind a letter is looked at.

    >>> mmmu_letter("It is (B) or (C).", ["1", "2", "3"]), mmmu_letter("B", None), mmmu_letter("?", ["x"])
    ('C', 'B', None)
    """
    text = raw
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    letters = ALPHABET[: UNKNOWN_OPTIONS if options is None else len(options)]
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(place.format(letter)))
    if options is None or len(text.split()) <= LONG:
        return None
    words = text.lower()
    named = [letter for letter, option in zip(letters, options, strict=True) if option.lower() in words]
    by_letter = dict(zip(letters, options, strict=True))
    return max(named, key=lambda letter: words.rfind(by_letter[letter].lower())) if named else None


def normalised(text: str) -> list[str | float]:
    """A number rounded to two places, or lower case; a lone letter with a space on either side, so that it is
    not found inside words."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def open_answers(raw: str) -> list[str | float]:
    """What an open answer may mean: the ends of sentences behind words like "is", and the numbers in them."""
    response = raw.strip().strip(".").lower()
    found: list[str] = []
    # The authors look for a capital behind the full stop, but the text is lower case: only lines part it.
    sentences = re.split(r"\.\s(?=[A-Z])|\n", response)
    for place, sentence in enumerate(sentences):
        last = place == len(sentences) - 1
        ends = [
            sentence.split(key)[-1].strip() for key in (*_KEYS, *(["="] if last else [])) if key in sentence
        ]
        shortest = _shortest(ends)
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            found.append(shortest)
    found = found or [response]
    numbers = [number for text in found for pattern in _NUMBERS for number in pattern.findall(text)]
    return list(dict.fromkeys(value for text in (*found, *numbers) for value in normalised(text)))


def _shortest(ends: Sequence[str]) -> str:
    """The first of the shortest ends; an empty one is replaced by whatever comes next."""
    shortest = ""
    for end in ends:
        if not shortest or len(end) < len(shortest):
            shortest = end
    return shortest


def open_correct(raw: str, truths: Sequence[str]) -> bool:
    """Whether a true answer is inside one of the texts that were meant, or is one of the numbers."""
    wanted = [value for truth in truths for value in normalised(truth)]
    words = [value for value in wanted if isinstance(value, str)]
    return any(
        any(word in given for word in words) if isinstance(given, str) else given in wanted
        for given in open_answers(raw)
    )


def mmmu(inputs: Inputs) -> Result:
    """Accuracy over all questions, by subject and by domain. An answer that names no option is wrong.

    Labels are the hub's rows (``id``, ``question_type``, ``options``, ``answer``), or the official
    ``answer_dict_val.json``, which has no options.
    """
    answers = read_answers(inputs.said)
    items, unread = [], 0
    rows = _rows(inputs)
    for name in match(answers, inputs.wanted(rows), inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        truths = truths_of(row)
        if type_of(row) == "open":
            given, correct = (text or "").strip(), text is not None and open_correct(text, truths)
        else:
            letter = None if text is None else mmmu_letter(text, options_of(row))
            unread += text is not None and letter is None
            given, correct = letter or "", letter in truths
        items.append(Item(name, given, float(correct), _groups(name)))
    return means("mmmu", items, counts={"unparsed": unread})


def _rows(inputs: Inputs) -> dict[str, Row]:
    path = inputs.truth
    if is_object(path, "label file"):
        return dict(object_rows(path, "", "label file"))
    return by_id(read(path, "label file"))


def type_of(row: Row) -> str:
    """``multiple-choice`` or ``open``.

    Raises:
        DataError: the row says neither.
    """
    value = str(need(row.value, "question_type", row.where))
    if value not in ("multiple-choice", "open", "short-answer"):
        raise DataError(
            f"the question type is {value!r}", where=row.where, remedy="it is multiple-choice or open"
        )
    return "multiple-choice" if value == "multiple-choice" else "open"


def _listed(value: Any) -> list[str]:
    """A list, or a text that is one, as the hub's files write it; anything else is its only member."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return [value]
    return [str(entry) for entry in value] if isinstance(value, list) else [str(value)]


def options_of(row: Row) -> list[str] | None:
    """The options of a row; None where it does not tell."""
    return _listed(row.value["options"]) if "options" in row.value else None


def truths_of(row: Row) -> list[str]:
    """The true answers of a row; of a letter or a word there is one."""
    return _listed(
        row.value["ground_truth"] if "ground_truth" in row.value else need(row.value, "answer", row.where)
    )


def subject_of(name: str) -> str:
    """The subject of a question's id; empty where it has none.

    >>> subject_of("validation_Art_Theory_3")
    'Art_Theory'
    """
    found = _SUBJECT.fullmatch(name)
    return "" if found is None else found[1]


def _groups(name: str) -> tuple[str, ...]:
    """Its subject and domain."""
    subject = subject_of(name)
    return (subject, DOMAIN[subject]) if subject in DOMAIN else (subject,) if subject else ()
