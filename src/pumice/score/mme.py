"""MME: two yes/no questions to each picture, points for the right ones and more where both are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pumice.data.rows import kind
from pumice.errors import DataError, suggest
from pumice.score.answers import Answer, match, read_answers, row_id, said
from pumice.score.files import Row, missing_file
from pumice.score.inputs import Inputs
from pumice.score.result import Floats, Group, Item, Result, flat, stratified, wilson_ends
from pumice.text.prompts import SHORT, YES_NO

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
CATEGORIES = PERCEPTION + COGNITION
FOLDER = "questions_answers_YN"
BOTH = 2
"""Questions to a picture."""
MOST = 200.0
"""Points of a category."""


def mme_answer(raw: str) -> Literal["yes", "no", "other"]:
    """What an answer says, by MME's rule (calculation.py): lower case, "yes" or else "no" in its first four
    characters, and "other", which is wrong, without either.

    >>> mme_answer("Yes."), mme_answer("No, it"), mme_answer("None"), mme_answer("It is yes")
    ('yes', 'no', 'no', 'other')
    """
    start = raw.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: its category, the name of its picture's file without its ending, and the truth.

    ``words`` is the question as its file has it, but for the instruction; ``question`` has single spaces.
    """

    category: str
    picture: str
    question: str
    truth: str
    where: str
    words: str = ""

    @property
    def id(self) -> str:
        return f"{self.category}/{self.picture}: {self.question}"


def mme(inputs: Inputs) -> Result:
    """Perception and cognition (sums over their categories), and each category's points.

    A category has 100 points for all answers right and 100 more for both answers of every picture.
    A picture that lacks an answer (``missing="skip"``) is left out whole.
    """
    if inputs.said.is_dir():
        asked, answers = _results(inputs.said)
    else:
        asked = read_folder(inputs.truth)
        answers = read_answers(inputs.said, lambda answer, row: find(answer.id, row, "prompt", asked))
    wanted = inputs.wanted(asked, lambda row: find(row_id(row), row, "text", asked))
    scored = set(match(answers, wanted, inputs.missing, str(inputs.said)))
    items = {name: _item(one, said(answers, name)) for name, one in asked.items() if name in scored}
    pictures: dict[tuple[str, str], list[float]] = {}
    for name, item in items.items():
        pictures.setdefault((asked[name].category, asked[name].picture), []).append(item.score)
    whole = {key: scores for key, scores in pictures.items() if len(scores) == BOTH}
    kept = tuple(item for name, item in items.items() if (asked[name].category, asked[name].picture) in whole)
    return _result(kept, whole, {"halves_left_out": len(items) - len(kept)} if len(kept) < len(items) else {})


def read_folder(path: Path) -> dict[str, Asked]:
    """The questions of the official folder.

    They lie in CATEGORY/questions_answers_YN/PICTURE.txt, or CATEGORY/PICTURE.txt. Each file has two lines of
    question, tab, and Yes or No.

    Raises:
        DataError: there is no category, or a file that is not so; the line is named.
    """
    if not path.is_dir():
        raise missing_file(path, f"folder of categories with {FOLDER}")
    found: dict[str, Asked] = {}
    for category in sorted(entry.name for entry in path.iterdir() if entry.is_dir()):
        inner = path / category / FOLDER
        files = sorted((inner if inner.is_dir() else path / category).glob("*.txt"))
        if not files:
            continue
        _check_category(category, path / category)
        for file in files:
            found |= {one.id: one for one in _questions(file, category)}
    if not found:
        raise DataError(
            f"no folder of it holds {FOLDER} or text files",
            where=str(path),
            remedy="give MME_Benchmark_release_version, the folder of the categories",
        )
    return found


def _check_category(category: str, where: Path) -> None:
    if category not in CATEGORIES:
        raise DataError(
            f"MME has no category {category!r}", where=str(where), remedy=suggest(category, CATEGORIES)
        )


def _questions(file: Path, category: str) -> Iterator[Asked]:
    lines = [(number, line) for number, line in _lines(file) if line.strip()]
    for number, line in lines:
        where = f"{file}, line {number}"
        question, tab, truth = line.strip().rpartition("\t")
        if not tab or truth.lower() not in ("yes", "no"):
            raise DataError(
                "the line is not a question, a tab, and Yes or No",
                where=where,
                remedy="take the text files as they were published",
            )
        words = question.replace(YES_NO, "").strip()
        yield Asked(category, file.stem, _plain(question), truth.lower(), where, words)
    if len(lines) != BOTH:
        raise DataError(
            f"the picture has {len(lines)} questions, not {BOTH}",
            where=f"{file}, line {lines[-1][0] if lines else 1}",
            remedy="the file may have been cut off: fetch it again",
        )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        yield from enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1)
    except UnicodeDecodeError as error:
        raise DataError(
            f"the file is not UTF-8 ({error})", where=f"{file}, line 1", remedy="save it as UTF-8"
        ) from error


def _plain(question: str) -> str:
    """A question without instructions, its spaces single: prompts and files differ in these alone."""
    return " ".join(question.replace(SHORT, " ").replace(YES_NO, " ").split())


def find(id: str, row: Row, key: str, asked: Mapping[str, Asked]) -> str:
    """The question of one of LLaVA's rows: its id names the picture, ``key`` has the question's words."""
    parts = id.split("/")
    prompt = row.value.get(key)
    if len(parts) < BOTH or not isinstance(prompt, str):
        raise DataError(
            f"the row of {id!r} does not tell its question (its {key} is {kind(prompt)})",
            where=row.where,
            remedy='write {"question_id": "CATEGORY/PICTURE.jpg", "prompt": "the question", "text": "Yes"}',
        )
    # LLaVA's own converter cuts the name at its first full stop
    picture = re.sub(r"\.\w+$", "", parts[-1])
    name = f"{parts[0]}/{picture}: {_plain(prompt)}"
    if name not in asked:
        short = f"{parts[0]}/{picture.split('.')[0]}: {_plain(prompt)}"
        name = short if short in asked else name
    return name


def _results(folder: Path) -> tuple[dict[str, Asked], dict[str, Answer]]:
    """The official tool's own input: CATEGORY.txt with picture, question, truth and answer, tabs between."""
    asked: dict[str, Asked] = {}
    answers: dict[str, Answer] = {}
    for file in sorted(folder.glob("*.txt")):
        _check_category(file.stem, file)
        for number, line in _lines(file):
            where = f"{file}, line {number}"
            fields = line.split("\t")
            if len(fields) != 4 or fields[2].lower() not in ("yes", "no"):
                raise DataError(
                    f"the line has {len(fields)} fields, not picture, question, Yes or No, and answer",
                    where=where,
                    remedy="write four fields with tabs between, or give answers as JSONL",
                )
            one = Asked(file.stem, fields[0], _plain(fields[1]), fields[2].lower(), where)
            if one.id in asked:
                raise DataError("the question was answered before", where=where, remedy="keep one answer")
            asked[one.id], answers[one.id] = one, Answer(one.id, fields[3], where)
    if not asked:
        raise DataError(
            "the folder holds no CATEGORY.txt", where=str(folder), remedy="give the folder of results"
        )
    return asked, answers


def _item(one: Asked, text: str | None) -> Item:
    given = "other" if text is None else mme_answer(text)
    return Item(one.id, given, float(given == one.truth), (one.category,))


def both_of(pairs_N2: Floats) -> Floats:
    """Of each picture the share of right answers, and whether both are right, ``(N, 2)``."""
    return np.stack([pairs_N2.mean(axis=1), pairs_N2.min(axis=1)], axis=1)


def points(means_R2: Floats) -> Floats:
    """A category's points, ``(R,)``, from the means of ``both_of``."""
    return np.asarray(100 * means_R2.sum(axis=1))


def sum_of_categories(each_RS: Floats) -> Floats:
    """Perception or cognition, ``(R,)``, from the points of each category."""
    return np.asarray(each_RS.sum(axis=1))


def interval(strata: Sequence[Floats]) -> tuple[float, float]:
    """The 95% bootstrap interval of the points of some categories, by picture.

    Where all answers are right or all wrong, resamples are all alike and would claim to be certain: then it
    is Wilson's interval of the share of pictures, each with all its points or none.
    """
    found = stratified(strata, points, sum_of_categories)
    full = MOST * len(strata)
    if not flat(found) or found[0] not in (0.0, full):
        return found
    pictures = sum(len(values_N2) for values_N2 in strata)
    return wilson_ends(pictures if found[0] else 0, pictures, full)


def _result(
    items: tuple[Item, ...], pictures: Mapping[tuple[str, str], list[float]], counts: dict[str, int]
) -> Result:
    rows: dict[str, Floats] = {}
    for category in CATEGORIES:
        scores = [scores for (own, _), scores in pictures.items() if own == category]
        if scores:
            rows[category] = both_of(np.asarray(scores))
    shares = {category: 100 * values_N2.mean(axis=0) for category, values_N2 in rows.items()}
    groups = {
        category: Group(
            BOTH * len(rows[category]),
            {"score": float(both.sum()), "accuracy": float(both[0]), "accuracy_plus": float(both[1])},
            interval([rows[category]]),
        )
        for category, both in shares.items()
    }
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    notes = []
    for name, categories in (("perception", PERCEPTION), ("cognition", COGNITION)):
        present = [category for category in categories if category in rows]
        if not present:
            continue
        metrics[name] = sum(groups[category].metrics["score"] for category in present)
        intervals[name] = interval([rows[category] for category in present])
        absent = [category for category in categories if category not in rows]
        if absent:
            notes.append(f"{name} lacks {', '.join(absent)}: it is no official figure")
    metrics |= {category: group.metrics["score"] for category, group in groups.items()}
    intervals |= {category: group.interval for category, group in groups.items() if group.interval}
    other = sum(item.parsed == "other" for item in items)
    return Result(
        "mme", len(items), metrics, intervals, groups, {"unparsed": other, **counts}, tuple(notes), items
    )
