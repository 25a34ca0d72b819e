"""LLaVA's own tasks out of the hub's rows, as lmms-lab publishes them: prompts are those of LLaVA.

The scorers read files. So the labels are written beside the answers in the layout of the official files,
without pictures, and ``pumice score`` reads them, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pumice.data.lines import write_lines
from pumice.errors import DataError, UsageError
from pumice.evaluate.samples import Loaded, Sample, ordered
from pumice.evaluate.tables import Table, stored
from pumice.evaluate.tasks.collected import commonest
from pumice.evaluate.tasks.found import labelled, unique, whole_set
from pumice.evaluate.tasks.prompts import YES_NO, short
from pumice.evaluate.tasks.textvqa import textvqa_prompt
from pumice.evaluate.tasks.vqa import vizwiz_prompt
from pumice.files import write_text
from pumice.score import Inputs
from pumice.score.answers import row_id
from pumice.score.files import Row, need, strings_of, text_of
from pumice.score.pope import CATEGORIES, PREFIX
from pumice.score.vqa import people_of

Choices = Mapping[str, str]


def pope(tables: Sequence[Table], choices: Choices) -> Loaded:
    """lmms-lab/POPE: 9,000 questions, 3,000 of each category (LLaVA's random ones are 2,910)."""
    samples, labels = [], []
    first: dict[str, int] = {}
    for number, row in enumerate(
        tables[0].rows(("question_id", "question", "answer", "image_source", "category"))
    ):
        category = _text(row, "category")
        if category not in CATEGORIES:
            raise DataError(f"there is no category {category!r}", where=row.where, remedy=_LAYOUT)
        id, truth = f"{category}/{row_id(row)}", _yes_or_no(row)
        question = _text(row, "question").strip()
        image = _text(row, "image_source")
        picture = stored(tables[0], first.setdefault(image, number), "image", image)
        text = short(question)
        answer_row = {"question_id": id, "prompt": text, "category": category}
        samples.append(Sample(id, text, (picture,), answer_row, truth, category))
        labels.append((category, {"question_id": id, "text": question, "label": truth}))

    def inputs(answers: Path) -> Inputs:
        folder = answers.parent / "labels"
        folder.mkdir(exist_ok=True)
        for category in dict.fromkeys(category for category, _ in labels):
            own = [label for other, label in labels if other == category]
            write_lines(folder / f"{PREFIX}{category}.json", own)
        path = answers.parent / "questions.jsonl"
        write_lines(path, ({**own.row, "text": own.text} for own in samples))
        return Inputs(answers=answers, questions=path, labels=folder)

    return _loaded("pope", samples, inputs, ("Yes", "No"), whole_set(len(samples), (9000,)))


def mme(tables: Sequence[Table], choices: Choices) -> Loaded:
    """lmms-lab/MME: two rows a picture, whose name is their common ``question_id``."""
    samples = []
    first: dict[str, int] = {}
    lines: dict[tuple[str, str], list[str]] = {}
    for number, row in enumerate(tables[0].rows(("question_id", "question", "answer", "category"))):
        category, name = _text(row, "category"), _text(row, "question_id")
        question, truth = _text(row, "question").replace(YES_NO, "").strip(), _yes_or_no(row)
        own = lines.setdefault((category, PurePosixPath(name).stem), [])
        own.append(f"{question} {YES_NO}\t{truth.capitalize()}")
        id = f"{category}/{PurePosixPath(name).stem}: {' '.join(question.split())}"
        text = short(question)
        image = f"{category}/{PurePosixPath(name).name}"
        picture = stored(tables[0], first.setdefault(image, number), "image", image)
        answer_row = {"question_id": name, "prompt": text, "category": category}
        samples.append(Sample(id, text, (picture,), answer_row, truth.capitalize(), category))

    def inputs(answers: Path) -> Inputs:
        for (category, picture), own in lines.items():
            folder = answers.parent / "labels" / category
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{picture}.txt").write_text("".join(line + "\n" for line in own), "utf-8")
        return Inputs(answers=answers, labels=answers.parent / "labels")

    return _loaded("mme", samples, inputs, ("Yes", "No"), whole_set(len(samples), (2374,)))


def gqa(tables: Sequence[Table], choices: Choices) -> Loaded:
    """lmms-lab/GQA, test-dev balanced: a table of questions and one of pictures, which ``imageId`` joins."""
    asked, shown = tables
    places = {row_id(row): number for number, row in enumerate(shown.rows(("id",)))}
    samples: list[Sample] = []
    labels: dict[str, Any] = {}
    rows = unique(list(asked.rows(("id", "imageId", "question", "answer", "isBalanced", "types"))))
    for id, row in rows.items():
        image, types = _text(row, "imageId"), need(row.value, "types", row.where)
        if image not in places:
            raise DataError(
                f"the picture {image!r} is not among the pictures", where=row.where, remedy=_LAYOUT
            )
        if not isinstance(types, Mapping) or not {"structural", "semantic"} <= set(types):
            raise DataError("types names no structural and semantic type", where=row.where, remedy=_LAYOUT)
        text = short(_text(row, "question"))
        picture = stored(shown, places[image], "image", image)
        samples.append(_sample(id, text, picture, _text(row, "answer"), str(types["structural"])))
        labels[id] = {key: row.value[key] for key in ("answer", "isBalanced", "types")}

    def inputs(answers: Path) -> Inputs:
        path = answers.parent / "labels.json"
        lines = ",\n".join(f"{json.dumps(id)}: {json.dumps(label)}" for id, label in labels.items())
        write_text(path, "{\n" + lines + "\n}\n")
        return Inputs(answers=answers, labels=path)

    return _loaded("gqa", samples, inputs, (), whole_set(len(samples), (12578,)))


def textvqa(tables: Sequence[Table], choices: Choices) -> Loaded:
    """lmms-lab/textvqa: 5,000 questions, with the words that an OCR system read."""
    keys = ("image_id", "question_id", "question", "answers", "ocr_tokens")
    rows = unique(list(tables[0].rows(keys)))
    with_tokens = choices.get("ocr", "yes") == "yes"
    first: dict[str, int] = {}
    samples: list[Sample] = []
    labels: list[dict[str, Any]] = []
    for number, (id, row) in enumerate(rows.items()):
        tokens = need(row.value, "ocr_tokens", row.where) if with_tokens else None
        if with_tokens and not (isinstance(tokens, list) and all(isinstance(one, str) for one in tokens)):
            raise DataError("ocr_tokens is no list of texts", where=row.where, remedy=_LAYOUT)
        text = textvqa_prompt(_text(row, "question"), tokens)
        image, answers = _text(row, "image_id"), people_of(row)
        picture = stored(tables[0], first.setdefault(image, number), "image", image)
        samples.append(_sample(id, text, picture, commonest(answers)))
        labels.append({key: row.value[key] for key in ("question_id", "image_id", "question", "answers")})
    note = "with the hub's OCR tokens in the prompt" if with_tokens else "no OCR tokens in the prompt"
    notes = (note, *whole_set(len(samples), (5000,)))
    return _loaded("textvqa", samples, labelled(labels), (), notes)


def vizwiz(tables: Sequence[Table], choices: Choices) -> Loaded:
    """lmms-lab/VizWiz-VQA, the validation split: a question a picture, whose name is its id."""
    if choices.get("split") == "test":
        raise UsageError(
            "the hub's rows are read of VizWiz's validation split alone",
            where="--set vizwiz.split=test",
            remedy="leave it out, or put the files of the test split into a folder: --data DIR",
        )
    samples: list[Sample] = []
    labels: list[dict[str, Any]] = []
    for number, row in enumerate(tables[0].rows(("question_id", "question", "answers", "category"))):
        id = _text(row, "question_id")
        image = id if PurePosixPath(id).suffix else f"{id}.jpg"
        answers = strings_of(row.value, "answers", row.where)
        text = vizwiz_prompt(row)
        group = str(row.value["category"] or "")
        samples.append(
            _sample(image, text, stored(tables[0], number, "image", image), commonest(answers), group)
        )
        labels.append({"image": image, "answers": answers, "answer_type": group})
    notes = (
        "val: papers report the test split, which only the server scores",
        *whole_set(len(samples), (4319,)),
    )
    return _loaded("vizwiz", samples, labelled(labels), (), notes)


_LAYOUT = "the hub's rows are in another layout than is known: put the benchmark's files into a folder"


def _loaded(
    task: str,
    samples: Sequence[Sample],
    inputs: Callable[[Path], Inputs],
    guesses: tuple[str, ...],
    notes: tuple[str, ...],
) -> Loaded:
    ids = Counter(sample.id for sample in samples)
    if twice := [id for id, count in ids.items() if count > 1]:
        raise DataError(f"{twice[0]!r} stands twice", where=f"the hub's rows of {task}", remedy=_LAYOUT)
    return Loaded(task, ordered(samples), inputs, guesses, notes)


def _sample(id: str, text: str, picture: Any, truth: str, group: str = "") -> Sample:
    return Sample(id, text, (picture,), {"question_id": id, "prompt": text}, truth, group)


def _text(row: Row, key: str) -> str:
    return text_of(row.value, key, row.where)


def _yes_or_no(row: Row) -> str:
    truth = _text(row, "answer").strip().lower()
    if truth not in ("yes", "no"):
        raise DataError(f"the answer is {truth!r}", where=row.where, remedy="an answer is yes or no")
    return truth
