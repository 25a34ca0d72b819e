"""ScienceQA: schoolbook questions with options, half of them with a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pumice.data.checks import image_name
from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.evaluate.tasks.collected import Collected
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import LETTER, lettered
from pumice.score import Inputs
from pumice.score.answers import row_id
from pumice.score.files import need as key_of
from pumice.score.files import object_rows, read, read_under, text_of
from pumice.score.scienceqa import LETTERS, SPLIT, scienceqa_letter

_SOURCE = "ScienceQA, github.com/lupantech/ScienceQA, folder data/scienceqa"
PROBLEMS = Official(("problems.json",), _SOURCE)
SPLITS = Official(("pid_splits.json",), f"{_SOURCE}, beside problems.json")
PICTURES = Official(("images/test", "test"), f"{_SOURCE}: ID/image.png of the test split")
LLAVA = Official(("llava_test_CQM-A.json",), "LLaVA, docs/Evaluation.md, eval.zip; instead of problems.json")


class _Question(NamedTuple):
    id: str
    text: str
    image: str | None
    truth: str
    group: str
    where: str


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    problems, llava = PROBLEMS.find(folder), LLAVA.find(folder)
    if problems is None and llava is None:
        raise missing(folder, "scienceqa", (PROBLEMS, SPLITS, PICTURES), f"or {LLAVA.told}")
    if problems is not None:
        problems, splits = need(folder, "scienceqa", (PROBLEMS, SPLITS))
        if splits.parent != problems.parent:
            raise missing(folder, "scienceqa", (PROBLEMS, SPLITS, PICTURES))
        questions, path = list(_official(problems, splits)), problems
    else:
        assert llava is not None
        questions, path = list(_of_llava(llava)), llava
    pictures = PICTURES.find(folder)
    if pictures is None and any(one.image is not None for one in questions):
        raise missing(folder, "scienceqa", (PROBLEMS if problems else LLAVA, PICTURES))
    samples = Collected()
    for one in questions:
        prompt = f"{one.text}\n{LETTER}"
        images = [] if one.image is None or pictures is None else [pictures / one.image]
        samples.add(
            one.id,
            prompt,
            images,
            {"question_id": one.id, "prompt": f"<image>\n{prompt}" if images else prompt},
            one.where,
            truth=one.truth,
            group=one.group,
        )
    return Loaded("scienceqa", samples.done(path), lambda answers: Inputs(answers, labels=path), LETTERS)


def _official(problems: Path, splits: Path) -> Iterator[_Question]:
    """The test split, in the order of its file."""
    rows = dict(object_rows(problems, "", "problem file"))
    for _, value in read_under(splits, SPLIT, "file of splits"):
        name = str(value)
        if name not in rows:
            raise DataError(
                f"question {name} of the test split is not among the problems",
                where=str(splits),
                remedy=f"take {problems.name} and {splits.name} from the same release",
            )
        row = rows[name]
        options = key_of(row.value, "choices", row.where)
        answer = key_of(row.value, "answer", row.where)
        if not isinstance(options, list) or not isinstance(answer, int) or not 0 <= answer < len(options):
            raise DataError(
                "the answer is none of the choices",
                where=row.where,
                remedy="take the file as it was published",
            )
        image = key_of(row.value, "image", row.where)
        yield _Question(
            name,
            question_text(row.value, row.where),
            None if image is None else f"{name}/{image_name(image, row.where)}",
            LETTERS[answer],
            str(row.value.get("subject", "")),
            row.where,
        )


def question_text(problem: Mapping[str, Any], where: str) -> str:
    """LLaVA's format CQM: context where there is one, question, options on a line each; spaces single.

    Raises:
        DataError: the problem lacks a part.
    """
    context = text_of(problem, "hint", where).strip()
    question = text_of(problem, "question", where)
    text = lettered(question, [str(option) for option in key_of(problem, "choices", where)])
    if context:
        text = f"Context: {context}\n{text}"
    return text.replace("  ", " ").strip()


def _of_llava(path: Path) -> Iterator[_Question]:
    for row in read(path, "question file"):
        turns = key_of(row.value, "conversations", row.where)
        if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns):
            raise DataError(
                "conversations has not a question and an answer",
                where=row.where,
                remedy="take the file as it was published",
            )
        truth = scienceqa_letter(text_of(turns[1], "value", row.where))
        if truth is None:
            raise DataError("the second turn names no letter", where=row.where, remedy="take the file CQM-A")
        image = row.value.get("image")
        text = text_of(turns[0], "value", row.where).replace("<image>", "").strip()
        yield _Question(
            row_id(row),
            text,
            None if image is None else image_name(image, row.where),
            truth,
            "text" if image is None else "image",
            row.where,
        )


SCIENCEQA = Benchmark(
    "scienceqa",
    tuple(one.told for one in (PROBLEMS, SPLITS, PICTURES, LLAVA)),
    _load,
    max_new_tokens=1024,
)
