"""GQA: the balanced questions of the development test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError

from .conftest import Ask, Put, scored

SHORT = "\nAnswer the question using a single word or phrase."
NAME = "testdev_balanced_questions.json"


def question(image: str, text: str, answer: str, structural: str) -> dict[str, Any]:
    return {"imageId": image, "question": text, "answer": answer, "isBalanced": True} | {
        "types": {"detailed": "x", "semantic": "attr", "structural": structural}
    }


ROWS = {
    "201307251": question("n161313", "Is it overcast?", "no", "verify"),
    "201640614": question("n235859", "Who is wearing the dress?", "woman", "query"),
    "201307252": question("n161313", "Which color is the sky?", "blue", "query"),
}


@pytest.fixture
def folder(put: Put) -> None:
    put(NAME, ROWS)
    put("images/n161313.jpg")
    put("images/n235859.jpg")


@pytest.mark.usefixtures("folder")
def test_prompts_and_scores(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("gqa")
    assert [sample.id for sample in loaded.samples] == ["201307251", "201307252", "201640614"]
    first = loaded.samples[0]
    assert first.text == f"Is it overcast?{SHORT}"
    assert first.row == {"question_id": "201307251", "prompt": first.text}
    assert (first.truth, first.group) == ("no", "verify")
    assert first.images == (tmp_path / "data/images/n161313.jpg",)
    result = scored(loaded, tmp_path)
    assert (result.metrics["accuracy"], result.metrics["binary"], result.n) == (100, 100, 3)
    assert scored(loaded, tmp_path, lambda _: "cat").metrics["accuracy"] == 0


@pytest.mark.usefixtures("folder")
def test_llavas_file_says_prompts_and_order(ask: Ask, put: Put, tmp_path: Path) -> None:
    rows = [
        {"question_id": name, "image": f"{row['imageId']}.jpg", "text": f"{row['question']}{SHORT}"}
        for name, row in reversed(ROWS.items())
    ]
    put("llava_gqa_testdev_balanced.jsonl", rows, lines=True)
    loaded = ask("gqa")
    assert [sample.id for sample in loaded.samples] == ["201307252", "201307251", "201640614"]
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    put("llava_gqa_testdev_balanced.jsonl", rows[:-1], lines=True)
    with pytest.raises(DataError, match="1 question of the official file without a row here: 201307251"):
        ask("gqa")
    put("llava_gqa_testdev_balanced.jsonl", [*rows, {**rows[0], "question_id": "7"}], lines=True)
    with pytest.raises(DataError, match="question 7 is not in the official file") as caught:
        ask("gqa")
    assert "llava_gqa_testdev_balanced.jsonl, line 4" in str(caught.value.where)
    put("llava_gqa_testdev_balanced.jsonl", [*rows, rows[0]], lines=True)
    with pytest.raises(DataError, match="201307252 stands twice, before in"):
        ask("gqa")


@pytest.mark.usefixtures("folder")
def test_errors_name_file_and_row(ask: Ask, put: Put, tmp_path: Path) -> None:
    (tmp_path / "data/images/n235859.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 2") as caught:
        ask("gqa")
    assert f"{NAME}, line 13 ('201640614')" in str(caught.value.where)
    put(NAME, {"1": {**ROWS["201307251"], "imageId": "/etc/passwd"}})
    with pytest.raises(DataError, match="leaves the image folder"):
        ask("gqa")
    put(NAME, {"1": {"imageId": "n161313", "question": "What?"}})
    with pytest.raises(DataError, match="the key 'types' is missing"):
        ask("gqa")
    put(NAME, '{\n"1": {"imageId": "n161313", "question": "Wh')
    with pytest.raises(DataError) as caught:
        ask("gqa")
    assert f"{NAME}, line 2" in str(caught.value.where)
    put(NAME, {})
    with pytest.raises(DataError, match="there are no questions"):
        ask("gqa")


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put("data/images/n161313.jpg")
    with pytest.raises(DataError, match=f"gqa lacks {NAME}\n") as caught:
        ask("gqa")
    assert "missing  testdev_balanced_questions.json (GQA, cs.stanford.edu" in str(caught.value.remedy)
    assert "found  images" in str(caught.value.remedy)
    put(f"data/{NAME}", ROWS)
    put("data/images/n235859.jpg")
    assert len(ask("gqa").samples) == 3  # LLaVA's layout, all below data


def test_at_most_twenty_pictures_are_named(ask: Ask, put: Put) -> None:
    put("images/other.jpg")
    put(NAME, {str(n): question(f"n{n}", "What?", "cat", "query") for n in range(25)})
    with pytest.raises(DataError, match="pictures are missing or empty: 25 of 25") as caught:
        ask("gqa")
    remedy = str(caught.value.remedy)
    assert remedy.count(".jpg") == 20
    assert remedy.endswith("and 5 more")
