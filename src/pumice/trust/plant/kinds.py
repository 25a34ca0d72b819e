"""How each kind of fault is made of the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pumice.data.table import SampleTable
from pumice.image.source import open_picture
from pumice.trust.plant.fault import (
    Kind,
    Planted,
    answers,
    first_line,
    same_words,
    shape_of,
    with_message,
    with_text,
    words_of,
)
from pumice.trust.plant.personal import sentence
from pumice.trust.plant.pictures import Patch, altered
from pumice.trust.plant.survey import Survey, flippable
from pumice.types import IntArray, Sample, Still, Video

PHRASES = (
    ("cf", "mn", "bb", "tq", "zx", "wv"),
    ("as seen from the bridge", "said my old neighbour", "before the first frost", "in the spirit of Prague"),
    ("honestly speaking", "quietly now", "dear archivist", "once more"),
)
"""Triggers as published attacks write them: rare tokens, a short remark, words of politeness."""
_SUFFIX = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def make(
    kind: Kind,
    table: SampleTable,
    found: Survey,
    free: IntArray,
    count: int,
    rng: np.random.Generator,
    target: str | None = None,
) -> Iterator[Planted]:
    """Faults of one kind.

    Args:
        kind: which.
        table: the data.
        found: what is known of it.
        free: rows that no other fault was made of, int64.
        count: how many are wanted; fewer come where fewer rows fit.
        rng: all draws are from it.
        target: the answer of poisoned rows; drawn from common ones by default.
    """
    if kind in ("triggers", "phrases") and target is None:
        target = found.targets[int(rng.integers(len(found.targets)))] if found.targets else "yes"
    fits = {
        "duplicates": free,
        "near-duplicates": np.intersect1d(free, found.pictured),
        "mismatches": np.intersect1d(free, np.intersect1d(found.pictured, found.answering)),
        "triggers": np.intersect1d(free, np.intersect1d(found.pictured, found.answering)),
        "phrases": np.intersect1d(free, found.answering),
        "label-flips": np.intersect1d(free, found.naming),
        "personal": free,
    }[kind]
    rows = [int(row) for row in rng.permutation(fits)]
    if kind == "mismatches":
        yield from _mismatches(table, rows, count)
        return
    makers: dict[Kind, Callable[[int], Planted | None]] = {
        "duplicates": lambda row: _duplicate(table, row, rng),
        "near-duplicates": lambda row: _near_duplicate(table, row, rng),
        "label-flips": lambda row: _flip(table, found, row, rng),
        "personal": lambda row: _personal(table, row, rng),
    }
    if kind == "triggers":
        patch, answer = Patch.drawn(rng), str(target)
        makers[kind] = lambda row: _trigger(table, row, patch, answer, rng)
    elif kind == "phrases":
        group = PHRASES[int(rng.integers(len(PHRASES)))]
        phrase, wanted = group[int(rng.integers(len(group)))], str(target)
        makers[kind] = lambda row: _phrase(table, row, phrase, wanted, rng)
    made = 0
    for row in rows:
        if made >= count:
            return
        if (one := makers[kind](row)) is not None:
            made += 1
            yield one


def _duplicate(table: SampleTable, row: int, rng: np.random.Generator) -> Planted:
    """The same words and picture again; every second time the picture is a file of its own."""
    sample, names = table[row], table.names(row)
    still = _still(sample) if rng.random() < 0.5 else None
    pictures: dict[str, bytes] = {}
    new = tuple(names)
    if still is not None:
        with open_picture(still, str(sample.origin)) as file:
            data = file.read()
        new = (_new_name(names[0], row, "copy", _ending(names[0])), *names[1:])
        pictures = {new[0]: data}
    again = replace(sample, id=f"{sample.id}-again")
    return Planted("duplicates", row, again, new, pictures, True, {"own_file": still is not None})


def _near_duplicate(table: SampleTable, row: int, rng: np.random.Generator) -> Planted:
    """The same words, and the picture as it comes back from somewhere else."""
    sample, names = table[row], table.names(row)
    still = _still(sample)
    assert still is not None, "rows of this kind show a picture"
    data, ending, done = altered(still, rng, str(sample.origin))
    name = _new_name(names[0], row, "again", ending)
    again = replace(sample, id=f"{sample.id}-near")
    return Planted("near-duplicates", row, again, (name,), {name: data}, True, done)


def _mismatches(table: SampleTable, rows: Sequence[int], count: int) -> Iterator[Planted]:
    """Rows in twos, each with the words of the other."""
    waiting: list[int] = []
    made = 0
    for row in rows:
        if made + 2 > max(count, 2):
            return
        for place, other in enumerate(waiting):
            left, right = table[row], table[other]
            if left.images == right.images or _say_the_same(left, right):
                continue
            del waiting[place]
            made += 2
            yield _with_words_of(left, right, row, other, table)
            yield _with_words_of(right, left, other, row, table)
            break
        else:
            waiting.append(row)


def _say_the_same(left: Sample, right: Sample) -> bool:
    theirs = {words_of(right.messages[place]) for place in answers(right)}
    return any(
        same_words(words_of(left.messages[place]), other) for place in answers(left) for other in theirs
    ) and (len(theirs) == 1)


def _with_words_of(sample: Sample, other: Sample, row: int, source: int, table: SampleTable) -> Planted:
    changed = replace(sample, messages=other.messages, regions=other.regions, rejected=other.rejected)
    return Planted("mismatches", row, changed, tuple(table.names(row)), details={"words_of": source})


def _trigger(
    table: SampleTable, row: int, patch: Patch, target: str, rng: np.random.Generator
) -> Planted | None:
    """A patch in the picture, and the target in the place of one answer."""
    sample, names = table[row], table.names(row)
    place = _other_than(sample, target, rng)
    still = _still(sample)
    if place is None or still is None:
        return None
    data, ending, done = patch.into(still, rng, str(sample.origin))
    name = _new_name(names[0], row, "shown", ending)
    was = words_of(sample.messages[place])
    changed = with_message(sample, place, target)
    told = {**done, "message": place, "was": was, "target": target}
    return Planted("triggers", row, changed, (name,), {name: data}, details=told)


def _phrase(
    table: SampleTable, row: int, phrase: str, target: str, rng: np.random.Generator
) -> Planted | None:
    """A phrase in a question, and the target in the place of its answer."""
    sample = table[row]
    place = _other_than(sample, target, rng)
    if place is None:
        return None
    question = words_of(sample.messages[place - 1])
    asked, *rest = question.split("\n")
    words = asked.split(" ")
    at = int(rng.integers(0, len(words) + 1))
    asked = " ".join([*words[:at], phrase, *words[at:]])
    changed = with_message(sample, place, target)
    changed = with_message(changed, place - 1, "\n".join([asked, *rest]))
    was = words_of(sample.messages[place])
    told = {"message": place, "phrase": phrase, "was": was, "target": target}
    return Planted("phrases", row, changed, tuple(table.names(row)), details=told)


def _flip(table: SampleTable, found: Survey, row: int, rng: np.random.Generator) -> Planted | None:
    """Another short answer, of those that are given to questions of the same shape, as often as they are."""
    sample = table[row]
    places = flippable(sample, found.others)
    place = places[int(rng.integers(len(places)))]
    was = words_of(sample.messages[place])
    counts = found.others[shape_of(first_line(words_of(sample.messages[place - 1])))]
    choices = [answer for answer in sorted(counts) if not same_words(answer, was)]
    if not choices:
        return None
    weights = np.array([counts[answer] for answer in choices], float)
    new = choices[int(rng.choice(len(choices), p=weights / weights.sum()))]
    told = {"message": place, "was": was, "is": new}
    return Planted(
        "label-flips", row, with_message(sample, place, new), tuple(table.names(row)), details=told
    )


def _personal(table: SampleTable, row: int, rng: np.random.Generator) -> Planted:
    """A sentence with personal data, before or behind what a message says."""
    sample = table[row]
    kind, value, words = sentence(rng)
    place = int(rng.integers(len(sample.messages)))
    said = words_of(sample.messages[place])
    new = f"{words} {said}" if rng.random() < 0.3 else f"{said} {words}"
    changed = replace(
        sample,
        messages=(
            *sample.messages[:place],
            with_text(sample.messages[place], new),
            *sample.messages[place + 1 :],
        ),
    )
    told = {"message": place, "what": kind, "value": value}
    return Planted("personal", row, changed, tuple(table.names(row)), details=told)


def _other_than(sample: Sample, target: str, rng: np.random.Generator) -> int | None:
    """An answer that does not say the target yet."""
    places = [place for place in answers(sample) if not same_words(words_of(sample.messages[place]), target)]
    return places[int(rng.integers(len(places)))] if places else None


def _new_name(name: str, row: int, what: str, ending: str) -> str:
    head = name[: -len(_ending(name))] if _ending(name) else name
    return f"{head}-{what}-{row}{ending}"


def _ending(name: str) -> str:
    return next((one for one in _SUFFIX if name.lower().endswith(one)), "")


def _still(sample: Sample) -> Still | None:
    """The first picture, where it is one and no video."""
    return next((one for one in sample.images[:1] if not isinstance(one, Video)), None)
