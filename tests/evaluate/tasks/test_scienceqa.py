"""ScienceQA: problems.json with its splits, or LLaVA's file; prompts against the published ones."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.scienceqa import question_text

from .conftest import Ask, Put, scored

LETTER = "\nAnswer with the option's letter from the given choices directly."
PROBLEMS: dict[str, dict[str, Any]] = {
    "5": {
        "question": "Which of the following could Gordon's test show?",
        "choices": ["if the spacecraft was damaged", "how steady a parachute  was", "nothing"],
        "answer": 1,
        "hint": "People can use the process.\nFigure: a wind tunnel.",
        "image": "image.png",
        "subject": "natural science",
        "split": "test",
    },
    "4": {
        "question": "Which figure of speech is used in this text?\nSing, O goddess!\n—Homer, The Iliad",
        "choices": ["chiasmus", "apostrophe"],
        "answer": 1,
        "hint": "",
        "image": None,
        "subject": "language science",
        "split": "test",
    },
    "6": {"question": "?", "choices": ["x"], "answer": 0, "hint": "", "image": None, "split": "val"},
}
FIRST = (
    "Which figure of speech is used in this text?\nSing, O goddess!\n—Homer, The Iliad\n"
    f"A. chiasmus\nB. apostrophe{LETTER}"
)
SECOND = (
    "Context: People can use the process.\nFigure: a wind tunnel.\n"
    "Which of the following could Gordon's test show?\nA. if the spacecraft was damaged\n"
    f"B. how steady a parachute was\nC. nothing{LETTER}"
)


@pytest.fixture
def folder(put: Put) -> None:
    put("problems.json", PROBLEMS)
    put("pid_splits.json", {"train": [], "val": ["6"], "test": ["4", "5"]})
    put("images/test/5/image.png")


@pytest.mark.usefixtures("folder")
def test_prompts_and_scores(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("scienceqa")
    first, second = loaded.samples
    assert (first.id, first.text, first.images, first.truth) == ("4", FIRST, (), "B")
    assert first.row == {"question_id": "4", "prompt": FIRST}
    assert (second.id, second.text, second.group) == ("5", SECOND, "natural science")
    assert second.row == {"question_id": "5", "prompt": f"<image>\n{SECOND}"}
    assert second.images == (tmp_path / "data/images/test/5/image.png",)
    assert loaded.guesses == ("A", "B", "C", "D", "E")
    assert scored(loaded, tmp_path).metrics == {"accuracy": 100, "accuracy_img": 100}
    assert scored(loaded, tmp_path, lambda _: "A").metrics == {"accuracy": 0, "accuracy_img": 0}


def test_llavas_file_alone_is_enough(ask: Ask, put: Put, tmp_path: Path) -> None:
    def turns(text: str) -> list[dict[str, str]]:
        return [
            {"from": "human", "value": text.removesuffix(LETTER)},
            {"from": "gpt", "value": "B"},
        ]

    rows = [
        {"id": "4", "conversations": turns(FIRST)},
        {"id": "5", "image": "5/image.png", "conversations": turns(f"<image>\n{SECOND}")},
    ]
    put("llava_test_CQM-A.json", rows)
    put("images/test/5/image.png")
    loaded = ask("scienceqa")
    assert [sample.text for sample in loaded.samples] == [FIRST, SECOND]
    assert [sample.group for sample in loaded.samples] == ["text", "image"]
    assert scored(loaded, tmp_path).metrics == {"accuracy": 100, "accuracy_img": 100}
    put("llava_test_CQM-A.json", [{"id": "4", "conversations": turns(FIRST)[:1]}])
    with pytest.raises(DataError, match="has not a question and an answer") as caught:
        ask("scienceqa")
    assert "llava_test_CQM-A.json, line 2" in str(caught.value.where)


@pytest.mark.usefixtures("folder")
def test_errors_name_file_and_row(ask: Ask, put: Put, tmp_path: Path) -> None:
    put("pid_splits.json", {"test": ["4", "5", "9"]})
    with pytest.raises(DataError, match="question 9 of the test split is not among the problems"):
        ask("scienceqa")
    put("pid_splits.json", {"test": ["4", "5"]})
    put("problems.json", {**PROBLEMS, "4": {**PROBLEMS["4"], "answer": 2}})
    with pytest.raises(DataError, match="the answer is none of the choices") as caught:
        ask("scienceqa")
    assert "('4')" in str(caught.value.where)
    put("problems.json", PROBLEMS)
    (tmp_path / "data/images/test/5/image.png").unlink()
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 1"):
        ask("scienceqa")
    put("problems.json", (tmp_path / "data/problems.json").read_text()[:-40])
    with pytest.raises(DataError) as caught:
        ask("scienceqa")
    assert "problems.json, line" in str(caught.value.where)


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put("images/test/5/image.png")
    with pytest.raises(DataError, match=r"scienceqa lacks problems\.json, pid_splits") as caught:
        ask("scienceqa")
    assert "or llava_test_CQM-A.json (LLaVA" in str(caught.value.remedy)
    put("problems.json", PROBLEMS)
    with pytest.raises(DataError, match="scienceqa lacks pid_splits"):
        ask("scienceqa")


@pytest.mark.skipif(not os.environ.get("PUMICE_REAL_DATA"), reason="PUMICE_REAL_DATA names no folder")
def test_the_published_prompts_are_made_again_of_their_parts() -> None:
    """Each published prompt is taken apart into hint, question and choices, and must come out the same.

    Where the hint ends and the question begins, a prompt does not tell; any line end will do.
    """
    path = Path(os.environ["PUMICE_REAL_DATA"]) / "scienceqa" / "llava-v1.5-13b_output.json"
    published = json.loads(path.read_text(encoding="utf-8"))
    rows = published["correct"] + published["incorrect"]
    assert len(rows) == 4241
    for row in rows:
        text = row["question"].removeprefix("<image>\n")
        assert text.endswith(LETTER)
        head, letters, choices = _apart(text.removesuffix(LETTER))
        assert letters == "ABCDE"[: len(choices)]
        hint, question = "", head
        if head.startswith("Context: "):
            hint, _, question = head.removeprefix("Context: ").rpartition("\n")
        made = question_text({"hint": hint, "question": question, "choices": choices}, "here")
        assert f"{made}{LETTER}" == text, row["question_id"]


def _apart(text: str) -> tuple[str, str, list[str]]:
    """What stands before the options, their letters, and the options: "A." is the last one of its kind."""
    start = text.rindex("\nA. ")
    options = re.split(r"\n(?=[B-E]\. )", text[start + 1 :])
    return text[:start], "".join(option[0] for option in options), [option[3:] for option in options]
