"""LLaVA-Bench (in the wild) and MM-Vet: what is asked, and what the judge gets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks import benchmark_of
from pumice.score import score

from .conftest import Ask, Put, answered, pixel

QUESTIONS = [
    {"question_id": 0, "image": "001.jpg", "category": "conv", "text": "What is this sight?"},
    {"question_id": 1, "image": "001.jpg", "category": "detail", "text": "Describe this photo in detail."},
]


@pytest.fixture
def bench(put: Put) -> None:
    put("questions.jsonl", QUESTIONS, lines=True)
    put("context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "A volcano."}], lines=True)
    reference = [{"question_id": n, "text": text} for n, text in enumerate(("Diamond Head.", "A view."))]
    put("answers_gpt4.jsonl", reference, lines=True)
    put("images/001.jpg")


@pytest.mark.usefixtures("bench")
def test_llava_bench_asks_without_instructions(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("llava-bench")
    first = loaded.samples[0]
    assert (first.id, first.text, first.group) == ("0", "What is this sight?", "conv")
    assert first.truth == "Diamond Head."
    assert first.row == {"question_id": 0, "prompt": "What is this sight?", "category": "conv"}
    assert first.images == (tmp_path / "data/images/001.jpg",)
    reviews = tmp_path / "reviews.jsonl"
    rows = [
        {"question_id": row["question_id"], "category": f"llava_bench_{row['category']}", "tuple": [8, 8]}
        for row in QUESTIONS
    ]
    reviews.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = score("llava-bench", loaded.inputs(reviews))
    assert result.metrics == {"overall": 100, "conv": 100, "detail": 100}
    reviews.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="1 of 2 questions have no review"):
        score("llava-bench", loaded.inputs(reviews))
    assert benchmark_of("llava-bench").judge == "llava-bench"
    assert benchmark_of("llava-bench").max_new_tokens == 1024


@pytest.mark.usefixtures("bench")
def test_llava_bench_finds_what_the_judge_would_lack(ask: Ask, put: Put, tmp_path: Path) -> None:
    put("context.jsonl", [{"id": "002", "image": "002.jpg", "caption": "x"}], lines=True)
    with pytest.raises(DataError, match=r"context\.jsonl tells nothing of 001\.jpg") as caught:
        ask("llava-bench")
    assert "questions.jsonl, line 1" in str(caught.value.where)
    put("context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "x"}], lines=True)
    put("answers_gpt4.jsonl", [{"question_id": 0, "text": "x"}], lines=True)
    with pytest.raises(DataError, match=r"answers_gpt4\.jsonl has no answer to question 1"):
        ask("llava-bench")
    (tmp_path / "data/context.jsonl").unlink()
    with pytest.raises(DataError, match=r"llava-bench lacks context\.jsonl") as caught:
        ask("llava-bench")
    assert "found  questions.jsonl (LLaVA, the data set llava-bench-in-the-wild" in str(caught.value.remedy)
    put("questions.jsonl", '{"question_id": 0, "image": "001.jpg",\n')
    put("context.jsonl", [{"image": "001.jpg"}], lines=True)
    with pytest.raises(DataError) as caught:
        ask("llava-bench")
    assert "questions.jsonl, line 1" in str(caught.value.where)


def vet(image: str, question: str, answer: str, capability: list[str]) -> dict[str, Any]:
    return {"imagename": image, "question": question, "answer": answer, "capability": capability}


VET = {
    "v1_0": vet("v1_0.png", "What is x in the equation?", "-1<OR>-5", ["ocr", "math"]),
    "v1_1": vet("v1_1.jpg", "Who is it?", "Ann<AND>Bob", ["rec"]),
}


@pytest.fixture
def vetted(put: Put) -> None:
    put("mm-vet.json", VET)
    put("images/v1_0.png", pixel(form="PNG"))
    put("images/v1_1.jpg")


@pytest.mark.usefixtures("vetted")
def test_mm_vet_asks_without_instructions(ask: Ask, put: Put, tmp_path: Path) -> None:
    loaded = ask("mm-vet")
    first = loaded.samples[0]
    assert (first.id, first.text, first.truth) == ("v1_0", "What is x in the equation?", "-1<OR>-5")
    assert first.row == {"question_id": "v1_0", "prompt": "What is x in the equation?"}
    assert first.group == "ocr_math"
    assert first.images == (tmp_path / "data/images/v1_0.png",)
    grades = put("../grades.json", {name: {"model": ["m"], "content": ["1"], "score": [1.0]} for name in VET})
    result = score("mm-vet", loaded.inputs(grades))
    assert result.metrics == {"total": 100}
    assert "ocr_math" in result.groups
    rows = [{"question_id": n, "image": "x", "text": text} for n, text in enumerate(("One?", "Two?"))]
    put("llava-mm-vet.jsonl", rows, lines=True)
    assert [sample.text for sample in ask("mm-vet").samples] == ["One?", "Two?"]
    put("llava-mm-vet.jsonl", rows[:1], lines=True)
    with pytest.raises(DataError, match="LLaVA's file does not ask question v1_1"):
        ask("mm-vet")
    assert answered(loaded, tmp_path).is_file()


@pytest.mark.usefixtures("vetted")
def test_mm_vet_names_file_and_row(ask: Ask, put: Put, tmp_path: Path) -> None:
    put("mm-vet.json", {"v1_0": {**VET["v1_0"], "capability": ["ocr", "luck"]}})
    with pytest.raises(DataError, match="the capabilities are") as caught:
        ask("mm-vet")
    assert "mm-vet.json, line 2 ('v1_0')" in str(caught.value.where)
    put("mm-vet.json", {"v1_0": {**VET["v1_0"], "imagename": "v1_9.png"}})
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 1"):
        ask("mm-vet")
    (tmp_path / "data/mm-vet.json").unlink()
    with pytest.raises(DataError, match=r"mm-vet lacks mm-vet\.json") as caught:
        ask("mm-vet")
    assert "github.com/yuweihao/MM-Vet" in str(caught.value.remedy)


@pytest.mark.skipif(not os.environ.get("PUMICE_REAL_DATA"), reason="PUMICE_REAL_DATA names no folder")
def test_the_published_answers_and_reviews_are_those_of_the_questions(
    ask: Ask, put: Put, tmp_path: Path
) -> None:
    """The question file is built of the published answers' prompts; ids and categories are the reviews'."""
    real = Path(os.environ["PUMICE_REAL_DATA"]) / "llava-bench"
    answers = [json.loads(line) for line in (real / "answers_llava-v1.5-13b.jsonl").read_text().splitlines()]
    reviews = real / "llava-v1.5-13b-eval1.jsonl"
    kinds = {}
    for line in reviews.read_text().splitlines():
        row = json.loads(line)
        kinds[row["question_id"]] = row["category"].removeprefix("llava_bench_")
    questions = [
        {"question_id": row["question_id"], "image": "001.jpg", "text": row["prompt"]}
        | {"category": kinds[row["question_id"]]}
        for row in answers
    ]
    put("questions.jsonl", questions, lines=True)
    put("context.jsonl", [{"id": "001", "image": "001.jpg", "caption": "x"}], lines=True)
    put(
        "answers_gpt4.jsonl",
        [{"question_id": row["question_id"], "text": "x"} for row in answers],
        lines=True,
    )
    put("images/001.jpg")
    loaded = ask("llava-bench")
    assert [sample.row["prompt"] for sample in loaded.samples] == [row["prompt"] for row in answers]
    assert [sample.row["question_id"] for sample in loaded.samples] == [row["question_id"] for row in answers]
    result = score("llava-bench", loaded.inputs(reviews))
    assert round(result.metrics["overall"], 1) == 72.8
    graded = Path(os.environ["PUMICE_REAL_DATA"]) / "mm-vet" / "llava-v1.5-13b_gpt-4-grade-3runs.json"
    names = json.loads(graded.read_text())
    put("mm-vet.json", {name: vet("001.jpg", "?", "x", ["rec"]) for name in names})
    loaded = ask("mm-vet")
    assert {sample.id for sample in loaded.samples} == set(names)
    assert round(score("mm-vet", loaded.inputs(graded)).metrics["total"], 1) == 36.3
