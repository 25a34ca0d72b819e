"""The questions of one's own benchmark: rows of named columns become samples and what is right of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.data.checks import identity, image_name
from pumice.data.rows import kind
from pumice.errors import DataError, suggest
from pumice.evaluate.samples import Sample
from pumice.evaluate.tasks.collected import Collected
from pumice.score.choice import ALPHABET
from pumice.score.files import Row, need, read
from pumice.score.rules import Rule, Truth

FIELDS = ("question", "options")
"""What a prompt may name besides columns."""
_FIELD = re.compile(r"\{(\w+)\}")

Truths = Mapping[str, tuple[Truth, tuple[str, ...]]]
"""By id: what is right, and the groups."""


@dataclass(frozen=True)
class Layout:
    """Where everything of a question stands.

    Attributes:
        questions: the file: JSONL, a JSON list, CSV, TSV or parquet.
        images: the folder that pictures are relative to.
        prompt: with ``{question}``, ``{options}`` and ``{COLUMN}``.
        rule: how answers are scored.
        question, image, answer, options, group, id: names of columns; several where there may be several.
    """

    questions: Path
    images: Path
    prompt: str
    rule: Rule
    question: str
    image: tuple[str, ...]
    answer: tuple[str, ...]
    options: tuple[str, ...]
    group: str | None
    id: str | None


def read_own_rows(layout: Layout) -> tuple[tuple[Sample, ...], Truths]:
    """The samples, and what is right of each.

    Raises:
        DataError: the file, a row or a picture is missing or wrong; the row is named, and of a column that is
            not there the nearest.
    """
    collected = Collected()
    truths: dict[str, tuple[Truth, tuple[str, ...]]] = {}
    for number, row in enumerate(read(layout.questions, "question file"), 1):
        own = number if layout.id is None else identity(_value(row, layout.id), layout.id, row.where)
        truth = _truth(layout, row)
        group = "" if layout.group is None else _text(_value(row, layout.group), layout.group, row)
        prompt = _prompt(layout, row, truth)
        images = [layout.images / image_name(name, row.where) for name in _many(row, layout.image)]
        collected.add(
            str(own), prompt, images, {"question_id": own, "prompt": prompt}, row.where,
            truth=", ".join(dict.fromkeys(truth.answers)), group=group,
        )  # fmt: skip
        truths[str(own)] = (truth, (group,) if group else ())
    return collected.done(layout.questions), truths


def _truth(layout: Layout, row: Row) -> Truth:
    answers, options = _many(row, layout.answer), _many(row, layout.options)
    if not answers:
        raise DataError(
            "the question has no true answer", where=row.where, remedy="write it, or drop the row"
        )
    if layout.rule.name == "yes-no":
        answers = [one.strip().lower() for one in answers]
    if layout.rule.name == "choice":
        words = [option.strip().lower() for option in options]
        answers = [
            ALPHABET[words.index(one.strip().lower())]
            if words.count(one.strip().lower()) == 1
            else one.strip()
            for one in answers
        ]
    truth = Truth(tuple(answers), tuple(options))
    wrong = layout.rule.wrong(truth)
    if wrong is not None:
        raise DataError(wrong[0], where=row.where, remedy=wrong[1])
    return truth


def _prompt(layout: Layout, row: Row, truth: Truth) -> str:
    fields = FIELDS if layout.options else FIELDS[:1]

    def put(found: re.Match[str]) -> str:
        name = found[1]
        if name == "question":
            return _text(_value(row, layout.question), layout.question, row)
        if name == "options" and layout.options:
            return "\n".join(f"{a}. {b}" for a, b in zip(ALPHABET, truth.options, strict=False))
        if name not in row.value:
            raise DataError(
                f"the prompt names {name!r}, and the row has no such column",
                where=row.where,
                remedy=suggest(name, dict.fromkeys([*fields, *map(str, row.value)])),
            )
        return _text(row.value[name], name, row)

    return _FIELD.sub(put, layout.prompt)


def _value(row: Row, column: str) -> Any:
    return need(row.value, column, row.where)


def _many(row: Row, columns: tuple[str, ...]) -> list[str]:
    """All that stands in some columns, in their order; an empty cell is nothing, a list is several."""
    found: list[str] = []
    for column in columns:
        value = _value(row, column)
        found += [_text(one, column, row) for one in (value if isinstance(value, list) else [value])]
    return [one for one in found if one.strip()]


def _text(value: Any, column: str, row: Row) -> str:
    if value is None or value != value:  # an empty cell of a column of numbers is NaN
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise DataError(
            f"{column} is {kind(value)}, not text", where=row.where, remedy=f"write {column} as text"
        )
    return str(value)
