"""Files of other benchmarks among a judge's reviews or grades: whose they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pumice.errors import DataError, PumiceError
from pumice.score.files import is_object, read, read_under

REVIEWS, GRADES = "a judge's reviews of LLaVA-Bench", "a judge's grades of MM-Vet"
_REMEDIES = {
    REVIEWS: "score it as that: pumice score llava-bench --reviews FILE",
    GRADES: "score it as that: pumice score mm-vet --grades FILE",
}
_JUDGE_FIRST = "have answers judged first (pumice judge llava-bench or mm-vet), and give what that writes"
_OTHERS = "take the file that pumice judge wrote"
_PICTURE = re.compile(r".+\.(jpe?g|png)", re.I)


def check_own(path: Path, wanted: str) -> None:
    """Refuse a file that is plainly of another kind; one that nobody knows is left to its reader.

    Args:
        path: the file.
        wanted: ``REVIEWS`` or ``GRADES``.

    Raises:
        DataError: it says whose the file looks like.
    """
    found = looks_like(path)
    if found is None or found == wanted:
        return
    remedy = _REMEDIES.get(found, _JUDGE_FIRST if "answers" in found else _OTHERS)
    raise DataError(f"the file looks like {found}, not {wanted}", where=str(path), remedy=remedy)


def looks_like(path: Path) -> str | None:
    """Whose a file is by the keys of its first row; None where that is not plain, or it cannot be read."""
    try:
        if is_object(path, "file"):
            first = next(iter(islice(read_under(path, "", "file"), 1)), None)
            return None if first is None else _object(*first)
        return _row(read(path, "file")[0].value)
    except (PumiceError, OSError, ValueError):
        return None  # its reader has the better words


def _object(name: str, value: Any) -> str | None:
    """By the first member of a file that is one object."""
    if isinstance(value, str) and re.fullmatch(r"v\d+_\d+", name):
        return "answers to MM-Vet"
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("score"), list):
        return GRADES
    if "capability" in value:
        return "the questions of MM-Vet"
    if {"question", "choices", "answer"} <= set(value):
        return "the problems of ScienceQA"
    if {"role", "prompt"} <= set(value):
        return "the rules of LLaVA-Bench's judge"
    return None


def _row(row: Mapping[str, Any]) -> str | None:
    """By the first of many rows."""
    keys = set(row)
    if "tuple" in keys or {"answer1_id", "answer2_id"} <= keys or "review_id" in keys:
        return REVIEWS
    if {"round_id", "option_char"} <= keys:
        return "answers to MMBench"
    if {"parsed", "score", "groups"} <= keys:
        return "the details of pumice score"
    if {"index", "A", "B"} <= keys:
        return "the questions of MMBench"
    if {"image", "text", "label"} <= keys:
        return "the labels of POPE"
    if {"image", "caption"} <= keys:
        return "descriptions of pictures for LLaVA-Bench's judge"
    if {"image", "text", "category"} <= keys:
        return "questions in LLaVA's layout"
    if "text" in keys and keys & {"prompt", "model_id", "answer_id"}:
        return _answers(row)
    return None


def _answers(row: Mapping[str, Any]) -> str:
    name = str(row.get("question_id", ""))
    if re.fullmatch(r"v\d+_\d+", name):
        return "answers to MM-Vet"
    if "/" in name and _PICTURE.fullmatch(name):
        return "answers to MME"
    return "a model's answers, which no judge has read"
