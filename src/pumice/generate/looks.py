"""Whether colors and places that a text gives to things are borne out by the scene. English alone is read."""

from __future__ import annotations

import re

from pumice.generate.evidence import ALIKE, COLORS, PLAIN, Evidence
from pumice.generate.objects import Named, is_guess, word_set
from pumice.types import Box

_BE = word_set("is are was were looks look appears appear seems seem")
_HALF = 0.5
SLACK = 0.12
"""By how much of the picture a thing may be on the wrong side: left is where people see it."""
_WHICH_COLOR = re.compile(r"\s*(what|which) colou?r\b", re.I)
_NO_COLORS = re.compile(
    r"\b(black and white|(red|green|yellow|amber) lights?|(red|white|orange) (wine|juice|sauce)|white ?board|"
    r"white ?water|golden (hour|retriever)|green (tea|energy|space)s?|black ?board|brown bread|white noise)\b"
)
"""Words of colors that are none, or part of a thing's name."""
_LEAD = re.compile(
    r"\b((?:on|at|to|in) the (?:[a-z]+ )?(?:left|right)(?: (?:hand )?(?:side|corner|edge|part|half))?"
    r"(?: of the (?:picture|image|photo|scene|frame))?), ",
    re.I,
)
"""A place at the head of a sentence: with its comma it would be a clause by itself."""
_WHERE = re.compile(r"\s*where\b", re.I)
_ONLY_A_PLACE = re.compile(
    r"(?:(?:at|on|in|to) the )?(?:top |bottom |middle |center |upper |lower )?(left|right)"
    r"(?: side| corner)?\W*"
)
_IN_PICTURE = re.compile(
    r"\b(?:on|at|to|in|near|toward|towards) the "
    r"(?:far |very |upper |lower |top |bottom |middle |center )?(left|right)\b"
    r"(?! (?:hand|arm|foot|leg|ear|eye|lane|wing|wrist|knee|shoulder|of|paw)\b)"
    r"(?! (?:side|corner|edge|end|part|half) of (?!the (?:picture|image|photo|scene|frame)))"
)
_THERE = re.compile(r"\b(left|right)\b[a-z ]*\b(there (is|are)|(is|are|sits?|stands?|lies|see))\b")
_BESIDE = re.compile(r"\b(left|right)(?: (?:hand )?side)? (?:of|from) (?:the|a|an)\b(?: \w+){0,3}$")
_ABOVE = re.compile(
    r"^(?:is |are |hangs |floats )?(?:directly |just )?(above|below) (?:the|a|an)\b(?: \w+){0,3}$"
)


def color_fault(named: Named, evidence: Evidence) -> str | None:
    """A color that a text gives to a thing and that nobody gave it; None where nothing is wrong.

    Whoever wrote it has not seen the picture: a color that no sentence about such a thing holds is made up.
    """
    if not evidence.has(named):
        return None
    allowed = _allowed(named, evidence)
    for color in _colors_of(named):
        if ALIKE.get(color, color) not in allowed:
            return f"it calls the {named.word} {color}, and nobody says so"
    return None


def _allowed(named: Named, evidence: Evidence) -> set[str]:
    """The colors that something says of such a thing."""
    kinds = named.kinds & evidence.kinds or named.kinds
    return set().union(*(evidence.colors.get(kind, set()) for kind in kinds))


def made_up_color(question: str, answer: str, evidence: Evidence, *, guesses: bool) -> str | None:
    """A color of which nobody speaks at all, or not of the thing whose color is asked for."""
    allowed = evidence.all_colors
    if _WHICH_COLOR.match(question):
        asked = [named for named in evidence.vocabulary.of(question) if evidence.has(named)]
        if len(asked) == 1:
            allowed = _allowed(asked[0], evidence)
    for clause in re.split(r"[.,;:!?()]", _NO_COLORS.sub(" ", answer.lower())):
        words = clause.split()
        if (guesses and is_guess(words)) or not {"no", "not", "without"}.isdisjoint(words):
            continue
        for before, word in zip(["", *words], words, strict=False):
            fruit = word == "orange" and before in ("an", "a", "the", "one", "fresh", "and")
            if word in COLORS and ALIKE.get(word, word) not in allowed and not fruit:
                return f"it says {word}, and nobody says so"
    return None


def _colors_of(named: Named) -> list[str]:
    """Colors that stand right before a thing, or behind it with a verb between."""
    found = []
    for word in reversed(named.before[-3:]):
        if word in COLORS:
            found.append(word)
        elif word in ("and", "the", "a", "an", "of", "with", "in", "on", "to"):
            break
    if named.after and named.after[0] in _BE:
        for word in named.after[1:4]:
            if word in COLORS:
                found.append(word)
            elif word in ("and", "in", "on", "with", "under", "near", "next", "of"):
                break
    return found


def place_fault(question: str, answer: str, evidence: Evidence, *, guesses: bool) -> str | None:
    """A thing that a text puts on the wrong side of the picture or of another thing.

    Only where all boxes of its kind speak against it. Of two pictures nothing is said.
    """
    if not evidence.alone:
        return None
    asked = evidence.vocabulary.of(question)
    plain = len(asked) == 1 and set(asked[0].after) <= PLAIN and "to" not in asked[0].before
    if _WHERE.match(question) and plain and (only := _ONLY_A_PLACE.fullmatch(answer.lower())):
        answer = f"the {asked[0].word} is on the {only[1]}"
        mine = _boxes(asked[0], evidence)
        # A place of one among several is told from the others by words that are not read here.
        if len(mine) == 1 and _wrong_half(mine[0], only[1]):
            return f"it says that the {asked[0].word} is on the {only[1]}, and its box is not"
        return None
    things = evidence.vocabulary.of(_LEAD.sub(r"\1 ", answer))
    for n, named in enumerate(things):
        if named.denied or (guesses and named.guessed):
            continue
        mine = _boxes(named, evidence)
        behind = " ".join(named.after)
        if not mine:
            continue
        before = " ".join(named.before)
        if found := _IN_PICTURE.search(behind) or (_THERE.search(before) and _IN_PICTURE.search(before)):
            if all(_wrong_half(box, found[1]) for box in mine):
                return f"it says that the {named.word} is on the {found[1]}, and its box is not"
        elif n + 1 < len(things) and things[n + 1].before == named.after:
            theirs = _boxes(things[n + 1], evidence)
            if theirs and (word := _against(behind, mine, theirs)):
                return (
                    f"it says {word} of the {named.word} and the {things[n + 1].word}, and the boxes do not"
                )
    return None


def _boxes(named: Named, evidence: Evidence) -> list[Box]:
    """Those that a thing may be, told apart by what stands before it: a red star, where boxes are of such."""
    mine = [(name, box) for name, kinds, box in evidence.places if not kinds.isdisjoint(named.kinds)]
    such = {word for word in named.before[-3:] if any(word in name.split() for name, _ in mine)}
    return [box for name, box in mine if such <= set(name.split())]


def _wrong_half(box: Box, side: str) -> bool:
    middle = (box[0] + box[2]) / 2
    return middle > _HALF + SLACK if side == "left" else middle < _HALF - SLACK


def _against(words: str, mine: list[Box], theirs: list[Box]) -> str:
    """The relation that words between two things give, where no pair of their boxes has it; else nothing."""
    if found := _BESIDE.search(words):
        axis, before = 0, found[1] == "left"
    elif found := _ABOVE.search(words):
        axis, before = 1, found[1] == "above"
    else:
        return ""

    def middle(box: Box) -> float:
        return (box[axis] + box[axis + 2]) / 2

    gap = SLACK / 2
    for one in mine:
        for other in theirs:
            apart = middle(other) - middle(one) if before else middle(one) - middle(other)
            if one != other and apart > -gap:
                return ""
    return found[1]
