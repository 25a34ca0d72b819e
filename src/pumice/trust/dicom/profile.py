"""The table of PS3.15 Annex E as data (``profile.tsv``), and the options that change it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from pumice.errors import UsageError, suggest

Action = Literal["X", "Z", "D", "U", "K", "C"]
Dates = Literal["remove", "shift", "keep"]
FILE = Path(__file__).with_name("profile.tsv")
EDITION = "2024b"
KEEP = {
    "uids": "113110",
    "patient": "113108",
    "device": "113109",
    "institution": "113112",
    "private": "113111",
}
"""What may be kept, with the code of its option (PS3.16, CID 7050)."""
MEANINGS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table.

    Attributes:
        keyword: the attribute's.
        basic: the basic profile's action, as it is printed: ``X/Z/D``.
        options: what options make of it.
    """

    keyword: str
    basic: str
    options: dict[str, str]

    @property
    def descriptor(self) -> bool:
        """Whether it describes: what it says is of the picture, unless somebody wrote a name into it."""
        return "descriptors" in self.options or "patient" in self.options


@dataclass(frozen=True)
class Options:
    """What is done beyond the basic profile.

    Attributes:
        dates: removed, moved by a secret number of days, or kept.
        keep: names of ``KEEP``.
        clean: whether descriptions stay, with the words of ``terms`` alone.
        terms: words, lower case.
    """

    dates: Dates = "remove"
    keep: frozenset[str] = frozenset()
    clean: bool = False
    terms: frozenset[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        for name in sorted(self.keep - set(KEEP)):
            raise UsageError(
                f"there is nothing called {name!r} to keep", where="--keep", remedy=suggest(name, KEEP)
            )

    def codes(self, *, masked: bool) -> list[str]:
        """The codes of all that was done to a file, in order."""
        dates = {"remove": [], "keep": ["113106"], "shift": ["113107"]}[self.dates]
        kept = [KEEP[name] for name in self.keep]
        return sorted(
            ["113100", *dates, *kept, *(["113105"] if self.clean else []), *(["113101"] if masked else [])]
        )


def action_of(rule: Rule, options: Options) -> tuple[Action, str]:
    """What is done to an attribute, and by which rule: ``("K", "device")``, ``("D", "X/Z/D")``.

    Of combined actions the last is taken. It is what an object needs where the attribute must be there, and
    a dummy tells nothing where it need not.
    """
    for name in KEEP:
        if name in options.keep and (found := rule.options.get(name)):
            return ("K" if found == "K" else "C"), name
    if "dates" in rule.options and options.dates != "remove":
        return ("K" if options.dates == "keep" else "C"), "dates"
    if options.clean and "descriptors" in rule.options:
        return "C", "descriptors"
    last = rule.basic.split("/")[-1].rstrip("*")
    assert last in ("X", "Z", "D", "U"), rule.basic
    return last, rule.basic  # type: ignore[return-value]  # just asserted


@cache
def read_profile() -> dict[str, Rule]:
    """The table by tag, eight hexadecimal digits in upper case; x in a tag is any digit."""
    rules: dict[str, Rule] = {}
    for line in FILE.read_text("ascii").splitlines():
        if line.startswith("#"):
            continue
        tag, keyword, basic, *options = line.split()
        place = tag.replace(",", "")
        assert place not in rules, tag
        pairs = [one.partition(":") for one in options]
        rules[place] = Rule(keyword, basic, {name: action for name, _, action in pairs})
    return rules


def rule_of(tag: int) -> Rule | None:
    """The row for a tag of an even group; None where the table has none."""
    rules, name = read_profile(), f"{tag:08X}"
    found = rules.get(name)
    if found is None and name[:2] in ("50", "60"):
        found = rules.get(f"{name[:2]}xx{name[4:]}") or rules.get(f"{name[:2]}xxxxxx")
    return found


_PIECES = re.compile(r"[^\W\d_]+|\d[\d.,:/\-]*")
"""Words, and numbers with all that makes one of several: a date or a telephone number is one piece."""
MOST_DIGITS = 3
_SHORT_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,3})?")


_MIXED = re.compile(r"[^\W_]+")
_WITHIN_NUMBER = re.compile(r"[\s./_\-\u00a0]*")
"""What stands between the parts of one long number: 943 476 5919. A comma parts numbers of a list."""


def clean_words(text: str, terms: Iterable[str]) -> str:
    """What is left of a description: words of the list, and numbers of up to three digits.

    Short numbers side by side that have more than three digits in sum are one long number, written in parts.
    A number that touches letters which are not on the list is a part of something that is no measure.
    """
    known = terms if isinstance(terms, frozenset | set) else frozenset(terms)
    pieces = [(at.start(), at[0].rstrip(".,:/-")) for at in _PIECES.finditer(text)]
    parts = _parts_of_numbers(text, pieces)
    for mixed in _MIXED.finditer(text):
        if not all(one.lower() in known for one in re.findall(r"[^\W\d_]+", mixed[0])):
            parts.update(range(mixed.start(), mixed.end()))
    left = (
        piece
        for start, piece in pieces
        if piece.lower() in known or (_SHORT_NUMBER.fullmatch(piece) and start not in parts)
    )
    return " ".join(left)


def _parts_of_numbers(text: str, pieces: Sequence[tuple[int, str]]) -> set[int]:
    """Where the numbers begin that are parts of a longer one."""
    out: set[int] = set()
    run: list[tuple[int, str]] = []
    for start, piece in [*pieces, (len(text), "")]:
        goes_on = piece[:1].isdigit()
        if not goes_on or (run and not _WITHIN_NUMBER.fullmatch(text[run[-1][0] + len(run[-1][1]) : start])):
            if len(run) > 1 and sum(one.isdigit() for _, number in run for one in number) > MOST_DIGITS:
                out.update(place for place, _ in run)
            run = []
        if goes_on:
            run.append((start, piece))
    return out


def read_terms(more: Path | None = None) -> frozenset[str]:
    """The words that may stay in a description: ours, and those of a file with a word in each line.

    Raises:
        UsageError: the file cannot be read.
    """
    text = FILE.with_name("terms.txt").read_text("utf-8")
    if more is not None:
        try:
            text += "\n" + more.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise UsageError(
                "the list of words cannot be read",
                where=f"--terms {more}",
                remedy="write a word a line, in UTF-8",
            ) from error
    lines = (line.partition("#")[0] for line in text.splitlines())
    return frozenset(word.lower() for line in lines for word in line.split())
