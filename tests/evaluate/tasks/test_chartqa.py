from __future__ import annotations

from pathlib import Path

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.chartqa import CHARTQA, load

from .official import cell, parquet, pictures, png, scored, shown, whole

HUMAN = [
    {"imgname": "41.png", "query": "How many bars?", "label": "14"},
    {"imgname": "two_col_1.png", "query": "Is it high?", "label": "Yes"},
    {"imgname": "41.png", "query": "What colour?", "label": "0.57"},
]
AUGMENTED = [{"imgname": "multi.png", "query": "What was the share in 2019?", "label": "23.5"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole(tmp_path / "chartqa" / "test" / "test_human.json", HUMAN)
    whole(tmp_path / "chartqa" / "test" / "test_augmented.json", AUGMENTED)
    pictures(tmp_path / "chartqa" / "test" / "png", {"41.png": 1, "two_col_1.png": 2, "multi.png": 3})
    return tmp_path / "chartqa"


def test_prompts_ids_and_pictures(folder: Path) -> None:
    loaded = load(folder, {})
    by_id = {sample.id: sample for sample in loaded.samples}
    assert by_id["test_human/0"].text == "How many bars?\nAnswer the question with a single word."
    assert by_id["test_augmented/0"].group == "augmented"
    assert by_id["test_human/1"].group == "human"
    assert shown(loaded) == {
        "test_human/0": [png(1)], "test_human/1": [png(2)], "test_human/2": [png(1)],
        "test_augmented/0": [png(3)],
    }  # fmt: skip
    # Questions on one chart are neighbours.
    assert [sample.id for sample in loaded.samples][1:3] == ["test_human/0", "test_human/2"]
    assert load(folder / "test", {}).samples == loaded.samples


def test_the_older_instruction(folder: Path) -> None:
    assert CHARTQA.choices[0].values == ("word", "phrase")
    texts = [sample.text for sample in load(folder, {"prompt": "phrase"}).samples]
    assert all(text.endswith("?\nAnswer the question using a single word or phrase.") for text in texts)


def test_scores(folder: Path, tmp_path: Path) -> None:
    loaded = load(folder, {})
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["relaxed_accuracy"] == 100
    assert {name: group.n for name, group in result.groups.items()} == {"augmented": 1, "human": 3}
    assert scored(loaded, tmp_path / "out", lambda truth: "none").metrics["relaxed_accuracy"] == 0


def test_the_hubs_rows(tmp_path: Path) -> None:
    rows = [
        {"type": "human_test", "question": "How many?", "answer": "14", "image": cell(1)},
        {"type": "augmented_test", "question": "What?", "answer": "Yes", "image": cell(2)},
    ]
    parquet(tmp_path / "chartqa" / "data" / "test-00000-of-00001.parquet", rows)
    loaded = load(tmp_path / "chartqa", {})
    assert shown(loaded) == {"0": [png(1)], "1": [png(2)]}
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["relaxed_accuracy"] == 100
    assert set(result.groups) == {"human", "augmented"}


def test_errors(folder: Path) -> None:
    human = folder / "test" / "test_human.json"
    whole(human, [HUMAN[0], {"imgname": "42.png", "query": "?", "label": "x"}])
    with pytest.raises(DataError, match="missing or empty: 1 of 3") as caught:
        load(folder, {})
    assert caught.value.where == f"{human}, line 7"
    assert f"{folder}/test/png/42.png, of {human}, line 7" in str(caught.value)
    whole(human, [{"imgname": "../../41.png", "query": "?", "label": "x"}])
    with pytest.raises(DataError, match="leaves the image folder"):
        load(folder, {})
    whole(human, [{"imgname": "41.png", "query": "?"}])
    with pytest.raises(DataError, match="'answer' is missing"):
        load(folder, {})
    human.write_text(human.read_text()[:-10])
    with pytest.raises(DataError) as caught:
        load(folder, {})
    assert str(human) in str(caught.value.where)
    human.unlink()
    with pytest.raises(DataError, match="the files of chartqa are not there") as caught:
        load(folder, {})
    assert "vis-nlp/ChartQA" in str(caught.value)
    assert "there is: png, test_augmented.json" in str(caught.value)
