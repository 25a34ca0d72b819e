"""TextVQA: with the tokens of LLaVA's file, with Rosetta's, and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError

from .conftest import Ask, Put, scored

SHORT = "Answer the question using a single word or phrase."
NAME = "TextVQA_0.5.1_val.json"
LLAVA = "llava_textvqa_val_v051_ocr.jsonl"
ROSETTA = "TextVQA_Rosetta_OCR_v0.2_val.json"


def question(name: int, image: str, text: str, answers: list[str]) -> dict[str, Any]:
    return {"question_id": name, "image_id": image, "question": text, "answers": answers}


ROWS = [
    question(
        34602, "003a8ae2ef43b901", "what is the brand of this camera?", ["dakota"] * 9 + ["dakota digital"]
    ),
    question(34603, "97b1112b17015396", "whats the lowest number yard line that you can see?", ["40"] * 10),
    question(34604, "003a8ae2ef43b901", "is this CANON?", ["no"] * 10),
    question(34605, "003a8ae2ef43b901", "is this CANON?", ["no"] * 10),
]
TOKENS = "DAKOTA, DIGITAL, Single-Use, Camera, Pire, digitat"


@pytest.fixture
def folder(put: Put) -> None:
    put(NAME, {"dataset_type": "val", "data": ROWS})
    put("train_images/003a8ae2ef43b901.jpg")
    put("train_images/97b1112b17015396.jpg")


def llavas(tokens: str = TOKENS) -> list[dict[str, str]]:
    shown = {"003a8ae2ef43b901": tokens, "97b1112b17015396": ""}
    return [
        {"question_id": row["image_id"], "image": f"{row['image_id']}.jpg", "category": "default"}
        | {"text": f"{row['question'].capitalize()}\nReference OCR token: {shown[row['image_id']]}\n{SHORT}"}
        for row in ROWS
    ]


@pytest.mark.usefixtures("folder")
def test_prompts_of_llavas_file(ask: Ask, put: Put, tmp_path: Path) -> None:
    put(LLAVA, llavas(), lines=True)
    loaded = ask("textvqa")
    assert [sample.id for sample in loaded.samples] == ["34602", "34604", "34605", "34603"]
    first = loaded.samples[0]
    assert first.text == f"What is the brand of this camera?\nReference OCR token: {TOKENS}\n{SHORT}"
    assert first.row == {"question_id": 34602, "prompt": first.text}
    assert first.truth == "dakota"
    assert first.images == (tmp_path / "data/train_images/003a8ae2ef43b901.jpg",)
    assert loaded.samples[3].text == (
        f"Whats the lowest number yard line that you can see?\nReference OCR token: \n{SHORT}"
    )
    assert loaded.notes == ("with OCR tokens in the prompt",)
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    assert scored(loaded, tmp_path, lambda _: "cat").metrics["accuracy"] == 0


@pytest.mark.usefixtures("folder")
def test_the_same_prompts_out_of_rosettas_tokens(ask: Ask, put: Put) -> None:
    put(LLAVA, llavas(), lines=True)
    own = [sample.text for sample in ask("textvqa").samples]
    data = [
        {"image_id": "003a8ae2ef43b901", "ocr_tokens": TOKENS.split(", "), "ocr_info": []},
        {"image_id": "97b1112b17015396", "ocr_tokens": []},
    ]
    put(LLAVA, "").unlink()
    put(ROSETTA, {"data": data})
    loaded = ask("textvqa")
    assert [sample.text for sample in loaded.samples] == own
    assert "Rosetta" in loaded.notes[0]
    put(ROSETTA, {"data": data[:1]})
    with pytest.raises(DataError, match="no OCR tokens of the picture 97b1112b17015396") as caught:
        ask("textvqa")
    assert f"{NAME}, line " in str(caught.value.where)


@pytest.mark.usefixtures("folder")
def test_without_tokens(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("textvqa", ocr="no")
    assert loaded.samples[0].text == f"What is the brand of this camera?\n{SHORT}"
    assert loaded.notes == ("no OCR tokens in the prompt",)
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    with pytest.raises(DataError, match=f"textvqa lacks {LLAVA}") as caught:
        ask("textvqa")
    assert f"or {ROSETTA}" in str(caught.value.remedy)
    assert "--set textvqa.ocr=no" in str(caught.value.remedy)


@pytest.mark.usefixtures("folder")
def test_a_file_of_other_questions_is_refused(ask: Ask, put: Put) -> None:
    put(LLAVA, llavas()[:-1], lines=True)
    with pytest.raises(DataError, match="does not ask 'is this canon\\?' of the picture 003a8ae2ef43b901"):
        ask("textvqa")
    put(LLAVA, [*llavas(), llavas()[0]], lines=True)
    with pytest.raises(DataError, match="1 prompt of LLaVA's file without a question"):
        ask("textvqa")
    put(LLAVA, [{**llavas()[0], "text": "What?"}], lines=True)
    with pytest.raises(DataError, match="the question cannot be found in the prompt") as caught:
        ask("textvqa")
    assert f"{LLAVA}, line 1" in str(caught.value.where)


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put(NAME, {"data": ROWS})
    with pytest.raises(DataError, match="textvqa lacks train_images") as caught:
        ask("textvqa")
    assert "found  TextVQA_0.5.1_val.json (TextVQA, textvqa.org" in str(caught.value.remedy)


@pytest.mark.parametrize("answers", [[], [""] * 10])
def test_a_row_of_the_test_split_is_told_as_such(
    ask: Ask, put: Put, tmp_path: Path, answers: list[str]
) -> None:
    put(NAME, {"data": [ROWS[1], question(7, ROWS[1]["image_id"], "what is it?", answers)]})
    put("train_images/97b1112b17015396.jpg")
    with pytest.raises(DataError, match="no answers of people") as caught:
        ask("textvqa", ocr="no")
    assert f"{NAME}, line " in str(caught.value.where)
    assert "validation" in str(caught.value.remedy)


def test_the_published_test_split_has_no_answers_at_all(ask: Ask, put: Put) -> None:
    row = {key: value for key, value in ROWS[1].items() if key != "answers"}
    put(NAME, {"data": [{**row, "set_name": "test"}]})
    put("train_images/97b1112b17015396.jpg")
    with pytest.raises(DataError, match="test split"):
        ask("textvqa", ocr="no")
