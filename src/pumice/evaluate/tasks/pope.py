"""POPE: is the object in the picture?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.evaluate.tasks.collected import Collected, picture
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import short
from pumice.score import Inputs
from pumice.score.answers import counted, row_id
from pumice.score.files import Row, read, text_of
from pumice.score.pope import CATEGORIES, NUMBERED_FROM, PREFIX

_SOURCE = "POPE, github.com/RUCAIBox/POPE, folder output/coco"
LABELS = tuple(
    Official(
        tuple(f"{folder}{PREFIX}{name}.json" for folder in ("", "coco/", "output/coco/")),
        _SOURCE,
    )
    for name in CATEGORIES
)
PICTURES = Official(("val2014",), "COCO, cocodataset.org/#download, 2014 Val images")
LLAVA = Official(("llava_pope_test.jsonl",), "LLaVA, docs/Evaluation.md, eval.zip; may be left out")


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    found = {name: path for name, one in zip(CATEGORIES, LABELS, strict=True) if (path := one.find(folder))}
    if not found:
        raise missing(folder, "pope", (*LABELS, PICTURES))
    pictures = need(folder, "pope", (PICTURES,))[0]
    places = {path.parent for path in found.values()}
    if len(places) > 1:
        raise DataError(
            "the label files lie in two folders",
            where=str(folder),
            remedy=f"put all {PREFIX}CATEGORY.json into one",
        )
    labels = {name: read(path, "label file") for name, path in found.items()}
    asked = LLAVA.find(folder)
    rows = _numbered(labels) if asked is None else _of_llava(asked, labels)
    samples = Collected()
    for name, row, label in rows:
        category = str(row.value["category"])
        truth = text_of(label.value, "label", label.where)
        if truth not in ("yes", "no"):
            raise DataError(f"the label is {truth!r}", where=label.where, remedy="a label is yes or no")
        prompt = str(row.value["text"])
        samples.add(
            str(name),
            prompt,
            [picture(pictures, row)],
            {"question_id": name, "prompt": prompt, "category": category},
            row.where,
            truth=truth,
            group=category,
        )
    absent = [name for name in CATEGORIES if name not in found]
    notes = (f"without {', '.join(absent)}: the labels are not there",) if absent else ()
    place = next(iter(places))
    return Loaded(
        "pope",
        samples.done(place),
        lambda answers: Inputs(answers, asked, place),
        ("Yes", "No"),
        notes,
    )


def _numbered(labels: Mapping[str, list[Row]]) -> list[tuple[int, Row, Row]]:
    """The questions of the label files, numbered as LLaVA does: each category begins at another number."""
    rows = []
    for category in NUMBERED_FROM:
        for label in labels.get(category, ()):
            own = label.value.get("question_id")
            if not isinstance(own, int):
                raise DataError(
                    "question_id is no number", where=label.where, remedy="take the file as it was published"
                )
            text = short(text_of(label.value, "text", label.where))
            row = Row({**label.value, "text": text, "category": category}, label.where)
            rows.append((NUMBERED_FROM[category] + own, row, label))
    return rows


def _of_llava(path: Path, labels: Mapping[str, list[Row]]) -> list[tuple[int | str, Row, Row]]:
    """The questions of LLaVA's file, the k-th of a category with the k-th label of that category."""
    own: dict[str, list[Row]] = {}
    for row in read(path, "question file"):
        row_id(row)
        text_of(row.value, "text", row.where)
        own.setdefault(text_of(row.value, "category", row.where), []).append(row)
    for category, every in labels.items():
        asked = own.get(category, [])
        if len(asked) != len(every):
            raise DataError(
                f"{counted(len(every), 'label')} of {category} for {len(asked):,} questions",
                where=str(path),
                remedy="take both files of one release, or take this one away: prompts are then made here",
            )
        for row, label in zip(asked, every, strict=True):
            if row.value["text"].split("\n")[0] != label.value.get("text"):
                raise DataError(
                    f"the label is for {label.value.get('text')!r}",
                    where=f"{row.where}, and {label.where}",
                    remedy="take both files of one release, whole",
                )
    return [
        (row.value["question_id"], row, label)
        for category, asked in own.items()
        for row, label in zip(asked, labels.get(category, ()), strict=False)
    ]


POPE = Benchmark("pope", tuple(one.told for one in (*LABELS, PICTURES, LLAVA)), _load)
