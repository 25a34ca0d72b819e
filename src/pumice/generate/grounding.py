"""Whether what a teacher wrote is borne out by the scene: things, numbers, boxes, text.

English alone is read: words of other languages for things are in no list here. Numbers and boxes of phrases,
text and the balance of yes and no are looked at in every language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pumice.generate.evidence import PLAIN, Evidence
from pumice.generate.looks import color_fault, made_up_color, place_fault
from pumice.generate.objects import NUMBERS, Vocabulary
from pumice.generate.protocol import Instance

_DENIAL = re.compile(r"\b(no|not|none|nothing|nobody|without|neither|never)\b|n't\b", re.I)
_NUMBER_OF = re.compile(r"^what(?: is|'s) the (?:total )?number of ")
_OBJECTS = re.compile(r"there are \w+ (?:objects|things|items)\b", re.I)
_GENERIC = ("objects", "things", "items")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_ORDINAL = re.compile(rf"\b({'|'.join(_ORDINALS)})\b.{{0,40}}?\bfrom the (left|right)\b")
_HOW_MANY = re.compile(r"^how many\b", re.I)
SMALL = {"one": 1, "no": 0, "zero": 0, "none": 0}
_ANY = re.compile(r"^(yes|no)\b", re.I)


def absent_things(text: str, evidence: Evidence, *, guesses: bool) -> list[str]:
    """Things that a text says are there, and of which the scene knows nothing.

    Args:
        text: a sentence or more.
        evidence: of the scene.
        guesses: whether guesses, purposes and advice may name what they like.
    """
    return [
        named.word
        for named in evidence.vocabulary.of(text)
        if not named.denied and not (guesses and named.guessed) and not evidence.has(named)
    ]


def statement_fault(question: str, answer: str, evidence: Evidence, *, guesses: bool) -> str | None:
    """What the scene does not bear out in a question with its answer."""
    if re.match(r"(no|none|zero|0)\b", answer, re.I):
        question = ""  # what is asked for and denied need not be there
    for text in (answer, "" if guesses or _open(question) else question):
        missing = absent_things(text, evidence, guesses=guesses)
        if missing:
            return f"it names {missing[0]}, of which the scene knows nothing"
        for named in evidence.vocabulary.of(text):
            free = guesses and named.guessed
            fault = None if named.denied or (free and not named.definite) else evidence.count_fault(named)
            if fault is None and not (named.denied or free):
                fault = color_fault(named, evidence)
            if fault:
                return fault
    if fault := place_fault(question, answer, evidence, guesses=guesses):
        return fault
    return made_up_color(question, answer, evidence, guesses=guesses) or _how_many_fault(
        question, answer, evidence
    )


def _open(question: str) -> bool:
    """Whether a question leaves open whether a thing is there."""
    return bool(
        re.match(r"(is|are) there\b|do(es)? .* have\b|can (you|one) see\b|are any\b|is any\b", question, re.I)
    )


def _how_many_fault(question: str, answer: str, evidence: Evidence) -> str | None:
    """The number in the answer to "How many X are there?" against the boxes of X."""
    stated = _OBJECTS.match(answer)
    question = "how many objects are there" if stated else _NUMBER_OF.sub("how many ", question.lower())
    if not _HOW_MANY.match(question) or not evidence.alone:
        return None
    said = re.findall(r"[a-z]+|\d+", answer.lower())
    numbers = [NUMBERS.get(word, SMALL.get(word, int(word) if word.isdigit() else None)) for word in said]
    number = next((one for one in numbers if one is not None), None)
    words = re.findall(r"[a-z]+", _HOW_MANY.sub("", question))
    if number is None or not words:
        return None
    if generic := next((n for n, word in enumerate(words[:4]) if word in _GENERIC), None):
        return _of_such_fault(number, words[:generic], words[generic + 1 :], evidence)
    if generic == 0:
        return _of_such_fault(number, [], words[1:], evidence)
    asked = evidence.vocabulary.of(question)
    if not asked or asked[0].word.split()[0] != words[0]:
        return None  # "How many red cups" counts some of the cups
    kinds = asked[0].kinds
    if kinds & evidence.uncounted or any((kind, number) in evidence.told for kind in kinds):
        return None
    boxes = evidence.count(kinds)
    rest = words[len(asked[0].word.split()) :]
    if boxes and set(rest) <= PLAIN and number != boxes:
        return f"it counts {number} {asked[0].word}, and there are {boxes} boxes"
    return None


def _of_such_fault(number: int, such: Sequence[str], rest: Sequence[str], evidence: Evidence) -> str | None:
    """A number of objects of whatever kind, of all or of those whose categories have these words."""
    if evidence.uncounted or not set(rest) <= PLAIN:
        return None
    boxes = sum(any(set(such) <= set(kind.split()) for kind in one) for one in evidence.boxes)
    if boxes and number != boxes:
        return f"it counts {number} {' '.join((*such, 'objects'))}, and there are {boxes} boxes"
    return None


def existence_fault(question: str, answer: str, evidence: Evidence) -> str | None:
    """Whether yes or no to "Is there an X?" is right."""
    match = _ANY.match(answer)
    if match is None:
        return "the answer is neither yes nor no"
    asked = evidence.vocabulary.of(question)
    there = [evidence.has(named) for named in asked]
    if match[1].lower() == "yes":
        if not all(there):
            return f"it says that {asked[there.index(False)].word} is there"
        return next((fault for named in asked if (fault := color_fault(named, evidence))), None)
    if asked and all(there) and not evidence.supposed(question):
        return f"it says that {asked[0].word} is not there"
    return None


def correction_fault(question: str, answer: str, evidence: Evidence) -> str | None:
    """Whether a question supposes what is not there, and the answer says so."""
    asked = evidence.vocabulary.of(question)
    if all(evidence.has(named) for named in asked) and not evidence.supposed(question):
        return "all that the question supposes is there"
    first = re.split(r"(?<=[.!?])\s", answer, maxsplit=1)[0]
    if not _DENIAL.search(first):
        return "its first sentence does not say what is not there"
    missing = [
        named.word
        for named in evidence.vocabulary.of(answer)
        if not named.denied and not evidence.has(named) and named.kinds.isdisjoint(*(a.kinds for a in asked))
    ]
    return f"it names {missing[0]}, of which the scene knows nothing" if missing else None


def phrase_faults(
    phrases: dict[int, str],
    things: Sequence[Instance],
    vocabulary: Vocabulary,
    language: str,
    others: Sequence[Instance] = (),
) -> dict[int, str]:
    """What is wrong with phrases for boxes, by the numbers of the boxes, from 1.

    Args:
        phrases: by number.
        things: all that were numbered.
        vocabulary: kinds of things and their words.
        language: of the phrases; kinds and places are read in English.
        others: things of the scene that were not numbered, from which a phrase must tell its own apart, too.
    """
    faults: dict[int, str] = {}
    for text, count in Counter(phrase.lower() for phrase in phrases.values()).items():
        if count > 1:
            same = [n for n, phrase in phrases.items() if phrase.lower() == text]
            faults.update(dict.fromkeys(same, "another box has the same phrase"))
    for number, phrase in phrases.items():
        if re.search(r"\d|\[", phrase):
            faults.setdefault(number, "it holds numbers or coordinates")
        if language != "en":
            continue
        kinds = vocabulary.kinds_of(things[number - 1].category)
        named = vocabulary.of(phrase)
        last = things[number - 1].category.lower().split()[-1]
        other = any(one.word.split()[-1] == last and not one.kinds & kinds for one in named)
        if not any(one.kinds & kinds for one in named) and (other or last not in phrase.lower()):
            faults.setdefault(number, f"it does not name a {things[number - 1].category}")
        if fault := _side_fault(phrase, things[number - 1], [*things, *others]):
            faults.setdefault(number, fault)
    return faults


def _side_fault(phrase: str, thing: Instance, things: Sequence[Instance]) -> str | None:
    """A phrase that says left or right of a box that is on the other side of its like, or of the picture."""
    words = phrase.lower()
    if found := _ORDINAL.search(words):
        row = sorted(one.box[0] + one.box[2] for one in things if one.category == thing.category)
        place = row.index(thing.box[0] + thing.box[2])
        place = place if found[2] == "left" else len(row) - 1 - place
        if len(row) > 1 and _ORDINALS.index(found[1]) != place:
            return f"it says {found[1]} from the {found[2]}, and the box is another one"
    found = re.search(r"\b(on|at|to) the (far )?(left|right)(?! of| side of)\b|\b(left|right)most\b", words)
    if found is None:
        return None
    side = found[3] or found[4]
    like = [one for one in things if one.category == thing.category]
    x = (thing.box[0] + thing.box[2]) / 2
    places = sorted((one.box[0] + one.box[2]) / 2 for one in like)
    if len(places) > 1:
        wrong = x > places[len(places) // 2] if side == "left" else x < places[(len(places) - 1) // 2]
    else:
        wrong = x > 0.65 if side == "left" else x < 0.35
    return f"it says {side}, and the box is on the other side" if wrong else None


def text_fault(question: str, answer: str, evidence: Evidence) -> str | None:
    """Whether an answer gives text as it stands in the picture, and the question does not give it away."""
    plain = " ".join(evidence.texts).casefold()
    quoted = re.findall(r'["\u201c]([^"\u201d]+)["\u201d]', answer)
    for words in quoted:
        if words.strip(" .,").casefold() not in plain:
            return f"it reads {words!r}, which stands nowhere in the picture"
    folded = answer.casefold()
    if not quoted and not any(
        text.casefold() in folded or folded.strip(" .") in text.casefold() for text in evidence.texts
    ):
        return "it holds no text of the picture"
    known = [text for text in evidence.texts if len(text) > 2 and text.casefold() in folded]
    if known and all(re.search(rf"\b{re.escape(text.casefold())}\b", question.casefold()) for text in known):
        return "the question gives the text away"
    return None
