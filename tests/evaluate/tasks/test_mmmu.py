from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.mmmu import MMMU, PICTURES, load
from pumice.score import score

from .official import cell, parquet, png, scored, shown


def row(id: str, question: str, options: list[str], answer: str, images: dict[int, int]) -> dict[str, Any]:
    kind = "multiple-choice" if options else "open"
    return {
        "id": id,
        "question": question,
        "options": str(options),
        "explanation": "",
        **{f"image_{number}": cell(images.get(number)) for number in range(1, PICTURES + 1)},
        "img_type": "['Plots']",
        "answer": answer,
        "topic_difficulty": "Easy",
        "question_type": kind,
        "subfield": "x",
    }


ART = [
    row(
        "validation_Art_Theory_1",
        "Who? <image 1>",
        ["<image 2>", "<image 3>", "Bosch"],
        "C",
        {1: 1, 2: 2, 3: 3},
    ),
    row("validation_Art_Theory_2", "Which of these?", ["one", "two"], "B", {1: 9}),
    row("validation_Art_Theory_3", "See <image 2> and <image 1>.", ["x", "y"], "A", {1: 4, 2: 5}),
]
MATH = [row("validation_Math_7", "How long is <image 1>?", [], "['24/7', '3.429']", {1: 6})]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "mmmu"
    parquet(own / "Art_Theory" / "validation-00000-of-00001.parquet", ART)
    parquet(own / "Art_Theory" / "test-00000-of-00001.parquet", [{**ART[0], "answer": "?"}])
    parquet(own / "Math" / "validation-00000-of-00001.parquet", MATH)
    return own


def test_prompts_and_pictures(folder: Path) -> None:
    loaded = load(folder, {})
    texts = {sample.id: sample.text for sample in loaded.samples}
    assert texts["validation_Art_Theory_1"] == (
        "Who? <image 1>\nA. <image 2>\nB. <image 3>\nC. Bosch\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert texts["validation_Math_7"] == (
        "How long is <image 1>?\n\nAnswer the question using a single word or phrase."
    )
    assert shown(loaded) == {
        "validation_Art_Theory_1": [png(1), png(2), png(3)],
        "validation_Art_Theory_2": [],
        "validation_Art_Theory_3": [png(4), png(5)],
        "validation_Math_7": [png(6)],
    }
    assert [sample.group for sample in loaded.samples] == ["Art_Theory"] * 3 + ["Math"]
    assert [sample.truth for sample in loaded.samples] == ["C", "B", "A", "24/7"]
    assert loaded.guesses == ("A", "B", "C")
    assert MMMU.max_new_tokens == 16
    names = [image.name for sample in loaded.samples for image in sample.images]
    assert len(set(names)) == len(names)


def test_the_notes_say_what_is_not_there(folder: Path) -> None:
    notes = " ".join(load(folder, {}).notes)
    assert "4 questions; the published set has 900" in notes
    assert "2 of the 30 subjects" in notes


def test_scores(folder: Path, tmp_path: Path) -> None:
    loaded = load(folder, {})
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["accuracy"] == 100
    assert set(result.groups) == {"Art_Theory", "Math", "Art and Design", "Science"}
    assert scored(loaded, tmp_path / "out", lambda truth: "Z").metrics["accuracy"] == 0
    # The second answer in the list is true, too.
    math = scored(loaded, tmp_path / "out", lambda truth: "It is 3.429." if "/" in truth else truth)
    assert math.metrics["accuracy"] == 100


def test_the_written_labels_serve_pumice_score(folder: Path, tmp_path: Path) -> None:
    scored(load(folder, {}), tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "id": "validation_Art_Theory_1",
        "question_type": "multiple-choice",
        "options": "['<image 2>', '<image 3>', 'Bosch']",
        "answer": "C",
    }
    from pumice.score import Inputs

    inputs = Inputs(answers=tmp_path / "out" / "answers.jsonl", labels=tmp_path / "out" / "labels.jsonl")
    assert score("mmmu", inputs).metrics["accuracy"] == 100


def test_one_table_of_all_subjects(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "validation-00000-of-00002.parquet", ART)
    parquet(tmp_path / "data" / "validation-00001-of-00002.parquet", MATH)
    assert shown(load(tmp_path, {}))["validation_Math_7"] == [png(6)]
    (tmp_path / "data" / "validation-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"the first is validation-00000-of-00002\.parquet"):
        load(tmp_path, {})


def test_missing_files_name_what_is_expected_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mmmu").mkdir()
    (tmp_path / "mmmu" / "notes.txt").touch()
    with pytest.raises(DataError, match="the files of mmmu are not there") as caught:
        load(tmp_path / "mmmu", {})
    assert "hub: MMMU/MMMU" in str(caught.value)
    assert "there is: notes.txt" in str(caught.value)
    with pytest.raises(DataError, match="not there") as caught:
        load(tmp_path / "mmnu", {})
    assert "does not exist; beside it there is: mmmu" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer": "?"}, "the answer is '\\?', no letter"),
        ({"question": "<image 3>"}, "shows <image 3> and has no picture image_3"),
        ({"question": "<image 9>"}, "shows <image 9> and has no picture image_9"),
        ({"question_type": "essay"}, "question type is 'essay'"),
        ({"question": None}, "question is null"),
        ({"id": "validation_Art_Theory_1"}, "stands twice, before in .*row 1"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = parquet(tmp_path / "validation-00000-of-00001.parquet", [ART[0], {**ART[1], **changed}])
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, {})
    assert caught.value.where == f"{path}, row 2"
