"""MM-Vet: a judge's grade between 0 and 1 for each question, in several runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from pumice.data.checks import is_number
from pumice.errors import DataError
from pumice.files import write_text
from pumice.score.answers import match, names, quoted, read_answers
from pumice.score.files import Row, missing_file, need, object_rows
from pumice.score.foreign import GRADES, check_own
from pumice.score.inputs import Inputs
from pumice.score.result import Floats, Group, Item, Result, mean_interval

QUESTIONS = 218
CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


def parse_grade(text: str) -> float | None:
    """A grade by MM-Vet's rule: the first word as a number from 0 to 1; None where it is none.

    >>> parse_grade("0.4"), parse_grade("1.0 because"), parse_grade("7"), parse_grade("x")
    (0.4, 1.0, None, None)
    """
    try:
        grade = float(text.split(" ")[0].strip())
    except ValueError:
        return None
    return grade if 0.0 <= grade <= 1.0 else None


def mm_vet(inputs: Inputs) -> Result:
    """The mean grade in per cent, over all questions and by capability where ``mm-vet.json`` tells them.

    Where the judge gave no grade, the official tool wrote 0.0, which counts as 0; this program writes null,
    which is left out of the means. How many there are is told.
    """
    path = inputs.need(inputs.grades, "grades")
    if not path.is_file():
        raise missing_file(path, "grade file")
    check_own(path, GRADES)
    grades = {name: _scores(row) for name, row in object_rows(path, "", "grade file")}
    if not grades:
        raise DataError(
            "the grade file holds no grades", where=str(path), remedy="check that it is the right file"
        )
    runs = Counter(len(scores) for scores in grades.values())
    if len(runs) > 1:
        usual = runs.most_common(1)[0][0]
        odd = [name for name, scores in grades.items() if len(scores) != usual]
        raise DataError(
            f"{len(odd)} questions do not have {usual} grades as the others: {names(odd)}",
            where=str(path),
            remedy="the judge was stopped in a run: let it go on, or take out the unfinished run",
        )
    capabilities = _capabilities(inputs, set(grades), path)
    if inputs.missing == "wrong":
        grades |= {name: [0.0] * next(iter(runs)) for name in capabilities if name not in grades}
    grades = {name: scores for name, scores in grades.items() if not np.isnan(scores).all()}
    if not grades:
        name, said = _first_words(path)
        raise DataError(
            f"no grade can be read: to question {name} the judge said {quoted(said)}",
            where=str(path),
            remedy="take another judge, or check that it is the right file",
        )
    grades_NR = np.asarray(list(grades.values()), dtype=np.float64)
    items = tuple(
        Item(
            name,
            " ".join("?" if np.isnan(grade) else f"{grade:g}" for grade in scores),
            float(np.nanmean(scores)),
            capabilities.get(name, ()),
        )
        for name, scores in grades.items()
    )
    notes = []
    if not capabilities and len(grades) != QUESTIONS:
        notes.append(f"MM-Vet has {QUESTIONS} questions; this file has grades of {len(grades)}")
    return Result(
        "mm-vet",
        len(grades),
        {"total": 100 * float(np.nanmean(grades_NR))},
        {"total": mean_interval([item.score for item in items])},
        _groups(items, grades_NR),
        {"unparsed": _unread(path)},
        tuple(notes),
        items,
    )


def _groups(items: tuple[Item, ...], grades_NR: Floats) -> dict[str, Group]:
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        for capability in item.groups:
            found.setdefault(capability, []).append(place)
        if len(item.groups) > 1:
            found.setdefault("_".join(item.groups), []).append(place)
    groups = {
        name: Group(
            len(places),
            {"score": 100 * float(np.nanmean(grades_NR[places]))},
            mean_interval([items[place].score for place in places]),
        )
        for name, places in sorted(found.items(), key=lambda pair: (pair[0].count("_"), -len(pair[1])))
    }
    runs = ((number, column_N[~np.isnan(column_N)]) for number, column_N in enumerate(grades_NR.T, 1))
    return groups | {
        f"run {number}": Group(
            len(given_N), {"score": 100 * float(given_N.mean())}, mean_interval(list(given_N))
        )
        for number, given_N in runs
        if len(given_N)
    }


def _scores(row: Row) -> list[float]:
    scores = need(row.value, "score", row.where)
    if not isinstance(scores, list) or not scores:
        raise DataError("there are no scores", where=row.where, remedy='write {"score": [0.5]}, one a run')
    for score in scores:
        if score is not None and (not is_number(score) or not 0 <= score <= 1):
            raise DataError(f"the grade is {score!r}", where=row.where, remedy="a grade is from 0 to 1")
    return [np.nan if score is None else float(score) for score in scores]


def _unread(path: Path) -> int:
    """Grades whose words are no grade: the official tool wrote 0.0 for them after five attempts."""
    unread = 0
    for _, row in object_rows(path, "", "grade file"):
        contents = row.value.get("content")
        if isinstance(contents, list):
            unread += sum(isinstance(content, str) and parse_grade(content) is None for content in contents)
    return unread


def _first_words(path: Path) -> tuple[str, str]:
    """The first question of a grade file, and what the judge said to it."""
    name, row = next(object_rows(path, "", "grade file"))
    contents = row.value.get("content")
    return name, str(contents[0]) if isinstance(contents, list) and contents else ""


def _capabilities(inputs: Inputs, graded: set[str], path: Path) -> dict[str, tuple[str, ...]]:
    if inputs.questions is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, row in object_rows(inputs.questions, "", "question file"):
        own = set(need(row.value, "capability", row.where))
        unknown = own - set(CAPABILITIES)
        if unknown:
            raise DataError(
                f"there is no capability {sorted(unknown)[0]!r}", where=row.where, remedy="take mm-vet.json"
            )
        found[name] = tuple(capability for capability in CAPABILITIES if capability in own)
    unknown_ids, absent = graded - set(found), [name for name in found if name not in graded]
    if unknown_ids:
        raise DataError(
            f"{len(unknown_ids)} grades of no question: {names(sorted(unknown_ids))}",
            where=str(path),
            remedy="check that both files are of the same version of MM-Vet",
        )
    if absent and inputs.missing == "error":
        raise DataError(
            f"{len(absent)} of {len(found)} questions have no grade: {names(absent)}",
            where=str(path),
            remedy="let the judge go on, or say --missing skip to leave them out",
        )
    return found


def submit_mm_vet(inputs: Inputs, target: Path) -> int:
    """Write the results file that MM-Vet's grader and its server take: {"v1_0": "the answer"}."""
    answers = read_answers(inputs.said)
    named = {name if name.startswith("v") else f"v1_{name}": answer.text for name, answer in answers.items()}
    if inputs.questions is not None:
        asked = [name for name, _ in object_rows(inputs.questions, "", "question file")]
        by_name = {name if name.startswith("v") else f"v1_{name}": answer for name, answer in answers.items()}
        named = {
            name: named.get(name, "") for name in match(by_name, asked, inputs.missing, str(inputs.said))
        }
    write_text(target, json.dumps(named, indent=2))
    return len(named)
