from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.docvqa import DOCVQA, load

from .official import cell, parquet, pictures, png, scored, shown, whole


def row(id: int, page: int, answers: list[str]) -> dict[str, Any]:
    return {
        "questionId": id,
        "question": "What is the date?",
        "question_types": ["handwritten", "form"],
        "image": f"documents/xnbl0037_{page}.png",
        "docId": 279,
        "ucsf_document_id": "xnbl0037",
        "ucsf_document_page_no": str(page),
        "answers": answers,
        "data_split": "val",
    }


ROWS = [row(49153, 1, ["1/8/93", "Jan 8"]), row(24580, 2, ["$975.00"]), row(57349, 1, ["R. J. Reynolds"])]


def official(folder: Path, rows: list[dict[str, Any]] = ROWS, name: str = "documents") -> Path:
    head = {"dataset_name": "docvqa", "dataset_split": "val", "dataset_version": "1.0"}
    path = whole(folder / "val_v1.0_withQT.json", {**head, "data": rows})
    pictures(folder / name, {"xnbl0037_1.png": 1, "xnbl0037_2.png": 2})
    return path


@pytest.mark.parametrize("name", ["documents", "spdocvqa_images"])
def test_prompts_pictures_and_scores(tmp_path: Path, name: str) -> None:
    official(tmp_path / "docvqa", name=name)
    loaded = load(tmp_path / "docvqa", {})
    assert [sample.id for sample in loaded.samples] == ["49153", "57349", "24580"]
    assert loaded.samples[0].text == "What is the date?\nAnswer the question using a single word or phrase."
    assert loaded.samples[0].group == "handwritten"
    assert shown(loaded) == {"49153": [png(1)], "57349": [png(1)], "24580": [png(2)]}
    result = scored(loaded, tmp_path / "out")
    assert result.metrics == {"anls": 100, "accuracy": 100}
    assert set(result.groups) == {"handwritten", "form"}
    assert scored(loaded, tmp_path / "out", lambda truth: "?").metrics["anls"] == 0
    assert DOCVQA.max_new_tokens == 128


def test_the_hubs_rows_share_the_picture_of_a_page(tmp_path: Path) -> None:
    rows = [
        {**own, "questionId": str(own["questionId"]), "image": cell(int(own["ucsf_document_page_no"]))}
        for own in ROWS
    ]
    parquet(tmp_path / "docvqa" / "DocVQA" / "validation-00000-of-00001.parquet", rows)
    loaded = load(tmp_path / "docvqa", {})
    assert [sample.id for sample in loaded.samples] == ["49153", "57349", "24580"]
    assert shown(loaded) == {"49153": [png(1)], "57349": [png(1)], "24580": [png(2)]}
    assert len({image.name for sample in loaded.samples for image in sample.images}) == 2
    assert scored(loaded, tmp_path / "out").metrics["anls"] == 100


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the files of docvqa are not there") as caught:
        load(tmp_path, {})
    assert "rrc.cvc.uab.es" in str(caught.value)
    path = official(tmp_path, [ROWS[0], row(2, 3, ["x"])])
    with pytest.raises(DataError, match="missing or empty: 1 of 2") as caught:
        load(tmp_path, {})
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{path}, line 23")
    official(tmp_path, [ROWS[0], ROWS[0]])
    with pytest.raises(DataError, match="stands twice"):
        load(tmp_path, {})
    official(tmp_path, [row(1, 1, [])])
    with pytest.raises(DataError, match="answers is an empty list"):
        load(tmp_path, {})
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError) as caught:
        load(tmp_path, {})
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{path}, line ")
