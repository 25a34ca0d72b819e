"""Questions of the dimensions: their steps, their pairs, their forms."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pumice.evaluate import read_questions
from pumice.evaluate.dimensions.asked import conclusion
from pumice.evaluate.dimensions.captions import read_captions
from pumice.evaluate.dimensions.forms import obeys
from pumice.world.benchmarks import write_benchmarks
from pumice.world.benchmarks.probes import program
from pumice.world.domains import DOMAINS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes") / "data"
    write_benchmarks(folder, n=24, names=["retrieval", "instructions", "reasoning", "domain"])
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ("How many objects are there?", ["count"]),
        ("How many red rings are there?", ["filter", "filter", "count"]),
        ("What color is the object at the top left?", ["filter", "query"]),
        ("What shape is the small red object in the center?", ["filter", "filter", "filter", "query"]),
        ("Where is the sign?", ["filter", "query"]),
        ("Where is the red star relative to the sign?", ["filter", "filter", "filter", "relate"]),
        ("Is there an orange cross in the image?", ["filter", "filter", "exist"]),
        ("Are there more rings than stars?", ["filter", "count", "filter", "count", "compare"]),
        (
            "If all red objects were taken away, how many objects would be left?",
            ["count", "filter", "count", "subtract"],
        ),
    ],
)
def test_steps(question: str, steps: list[str]) -> None:
    assert program(question) == steps


def test_reasoning_has_as_many_questions_of_every_number_of_steps(written: Path) -> None:
    questions = read_questions(written / "reasoning" / "questions.jsonl").questions
    steps = Counter(dict(question.facts or {})["steps"] for question in questions)
    assert sorted(steps) == [1, 2, 3, 4, 5, 6]
    assert set(steps.values()) == {4}
    chains = [question for question in questions if question.type == "reasoning"]
    assert all(conclusion(question.answer) for question in chains)


def test_a_domain_changes_the_picture_and_nothing_else(written: Path) -> None:
    found = rows(written / "domain" / "questions.jsonl")
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        pairs.setdefault(row["facts"]["pair"], []).append(row)
    for own in pairs.values():
        assert [row["facts"]["domain"] for row in own] == list(DOMAINS)
        assert len({(row["text"], row["answer"]) for row in own}) == 1
        pictures = {(written / "domain" / row["image"]).read_bytes() for row in own}
        assert len(pictures) == len(DOMAINS)


def test_true_answers_have_the_form_that_is_asked_for(written: Path) -> None:
    found = rows(written / "instructions" / "questions.jsonl")
    forms = {row["facts"]["form"] for row in found}
    assert forms == {"word", "yes-no", "number", "sentence", "letter", "words-3", "list"}
    for row in found:
        form = row["facts"]["form"]
        if form not in ("sentence", "words-3"):  # these are to be built around the word
            assert obeys(form, row["answer"]), row


def test_captions_are_read_as_cocos(written: Path) -> None:
    captions = read_captions(written / "retrieval")
    assert len(captions.pictures) == 24
    assert len(captions.texts) == 5 * 24
    assert Counter(captions.of) == dict.fromkeys(range(24), 5)
