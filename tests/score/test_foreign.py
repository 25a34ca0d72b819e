"""Files of others among a judge's reviews and grades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score

REVIEW = {"question_id": 0, "answer1_id": "a", "answer2_id": "b", "content": "8 6", "tuple": [8, 6]}
GRADES = {"v1_0": {"model": ["gpt-4"], "content": ["0.5"], "score": [0.5]}}
POPE = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "no"}


def written(folder: Path, value: Any) -> Path:
    """A row of JSONL, or one object by question."""
    rows = "v1_0" not in value
    path = folder / ("file.jsonl" if rows else "file.json")
    path.write_text(json.dumps(value, indent=None if rows else 1) + "\n")
    return path


@pytest.mark.parametrize(
    ("value", "said", "remedy"),
    [
        (GRADES, "a judge's grades of MM-Vet", "score mm-vet --grades"),
        ({"v1_0": "a dog"}, "answers to MM-Vet", "pumice judge"),
        ({"question_id": 1, "prompt": "?", "text": "A dog."}, "a model's answers", "pumice judge"),
        ({"question_id": "v1_0", "prompt": "?", "text": "x"}, "answers to MM-Vet", "pumice judge"),
        ({"question_id": "count/1.jpg", "prompt": "?", "text": "x"}, "answers to MME", "pumice judge"),
        (
            {"question_id": 1, "round_id": 0, "prompt": "?", "text": "A", "option_char": ["A"]},
            "answers to MMBench",
            "pumice judge",
        ),
        (POPE, "the labels of POPE", "that pumice judge wrote"),
    ],
)
def test_what_is_no_review_says_whose_it_looks_like(
    tmp_path: Path, value: Any, said: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        score("llava-bench", Inputs(reviews=(written(tmp_path, value),)))
    assert f"the file looks like {said}" in caught.value.what
    assert caught.value.what.endswith("not a judge's reviews of LLaVA-Bench")
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("value", "said"),
    [(REVIEW, "a judge's reviews of LLaVA-Bench"), ({"v1_0": "a dog"}, "answers to MM-Vet"), (POPE, "POPE")],
)
def test_what_is_no_grade_says_whose_it_looks_like(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"looks like .*{said}, not a judge's grades of MM-Vet"):
        score("mm-vet", Inputs(grades=written(tmp_path, value)))


def test_what_nobody_knows_is_left_to_its_reader(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither scores nor words"):
        score("llava-bench", Inputs(reviews=(written(tmp_path, {"question_id": 1}),)))


def test_where_no_review_or_grade_can_be_read_the_judge_is_quoted(tmp_path: Path) -> None:
    review = REVIEW | {"content": "Both are\nfine.", "tuple": [-1, -1]}
    with pytest.raises(DataError, match=r'to question 0 the judge said "Both are fine\."'):
        score("llava-bench", Inputs(reviews=(written(tmp_path, review),)))
    grades = {"v1_0": {"model": ["gpt-4"], "content": ["Fine."], "score": [None]}}
    with pytest.raises(DataError, match=r'to question v1_0 the judge said "Fine\."'):
        score("mm-vet", Inputs(grades=written(tmp_path, grades)))
