"""POPE: its label files as they are published, LLaVA's question file, and the real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pumice.errors import DataError
from pumice.score import score

from .conftest import Ask, Put, scored

SHORT = "\nAnswer the question using a single word or phrase."
IMAGES = ("COCO_val2014_000000000001.jpg", "COCO_val2014_000000000002.jpg")


def labels(category: str) -> list[dict[str, object]]:
    thing = {"random": "car", "popular": "chair", "adversarial": "fork"}[category]
    return [
        {"question_id": 1, "image": IMAGES[0], "text": "Is there a dog in the image?", "label": "yes"},
        {"question_id": 2, "image": IMAGES[1], "text": f"Is there a {thing} in the image?", "label": "no"},
        {"question_id": 3, "image": IMAGES[0], "text": "Is there an owl in the imange?", "label": "no"},
    ]


@pytest.fixture
def folder(put: Put) -> None:
    for category in ("random", "popular", "adversarial"):
        put(f"coco/coco_pope_{category}.json", labels(category), lines=True)
    for image in IMAGES:
        put(f"val2014/{image}")


@pytest.mark.usefixtures("folder")
def test_prompts_ids_and_order_are_llavas(ask: Ask) -> None:
    samples = ask("pope").samples
    # LLaVA's numbers; those of one picture are neighbours
    assert [sample.id for sample in samples] == [
        "1", "3", "10000001", "10000003", "20000001", "20000003", "2", "10000002", "20000002",
    ]  # fmt: skip
    first = samples[0]
    assert first.text == f"Is there a dog in the image?{SHORT}"
    assert [image.name for image in first.images] == [IMAGES[0]]
    assert first.row == {"question_id": 1, "prompt": first.text, "category": "adversarial"}
    assert (first.truth, first.group) == ("yes", "adversarial")
    assert samples[-1].text == f"Is there a chair in the image?{SHORT}"


@pytest.mark.usefixtures("folder")
def test_right_answers_have_all_points_and_wrong_ones_none(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("pope")
    assert loaded.guesses == ("Yes", "No")
    assert loaded.notes == ()
    result = scored(loaded, tmp_path)
    assert result.metrics["accuracy"] == result.metrics["f1"] == 100
    assert list(result.groups) == ["random", "popular", "adversarial"]
    result = scored(loaded, tmp_path, lambda sample: "No" if sample.truth == "yes" else "Yes")
    assert result.metrics["accuracy"] == 0
    assert [len(result.items), result.n] == [9, 9]


@pytest.mark.usefixtures("folder")
def test_llavas_file_says_ids_and_order(ask: Ask, put: Put, tmp_path: Path) -> None:
    rows = [
        {**row, "question_id": f"{category}-{row['question_id']}", "text": f"{row['text']}{SHORT}"}
        | {"category": category}
        for category in ("popular", "random", "adversarial")
        for row in labels(category)
    ]
    put("llava_pope_test.jsonl", [{k: v for k, v in row.items() if k != "label"} for row in rows], lines=True)
    loaded = ask("pope")
    assert [sample.id for sample in loaded.samples][:3] == ["popular-1", "popular-3", "random-1"]
    assert scored(loaded, tmp_path).metrics["f1"] == 100
    put("llava_pope_test.jsonl", rows[1:], lines=True)
    with pytest.raises(DataError, match="3 labels of popular for 2 questions"):
        ask("pope")
    rows[0]["text"] = "Is there a cat in the image?"
    put("llava_pope_test.jsonl", rows, lines=True)
    with pytest.raises(DataError, match="the label is for 'Is there a dog in the image\\?'") as caught:
        ask("pope")
    assert "llava_pope_test.jsonl, line 1, and" in str(caught.value.where)


@pytest.mark.usefixtures("folder")
def test_a_category_that_is_not_there_is_told(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "data/coco/coco_pope_adversarial.json").unlink()
    loaded = ask("pope")
    assert loaded.notes == ("without adversarial: the labels are not there",)
    assert scored(loaded, tmp_path).n == 6


def test_what_is_missing_is_listed_with_where_it_comes_from(ask: Ask, put: Put) -> None:
    with pytest.raises(DataError, match="there is no folder of pope"):
        ask("pope")
    put("val2014/x.jpg")
    with pytest.raises(DataError, match="pope lacks coco_pope_random") as caught:
        ask("pope")
    remedy = str(caught.value.remedy)
    assert "missing  coco_pope_random.json (POPE, github.com/RUCAIBox/POPE, folder output/coco)" in remedy
    assert "found  val2014 (COCO, cocodataset.org" in remedy


@pytest.mark.usefixtures("folder")
def test_missing_pictures_are_named_with_their_rows(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / f"data/val2014/{IMAGES[1]}").unlink()
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 2") as caught:
        ask("pope")
    assert "coco_pope_adversarial.json, line 2" in str(caught.value.where)
    assert IMAGES[1] in str(caught.value.remedy)


@pytest.mark.usefixtures("folder")
def test_wrong_and_truncated_files_name_the_line(ask: Ask, put: Put) -> None:
    put("coco/coco_pope_random.json", json.dumps(labels("random")[0]) + '\n{"question_id": 2, "ima')
    with pytest.raises(DataError, match="breaks off") as caught:
        ask("pope")
    assert "coco_pope_random.json, line 2" in str(caught.value.where)
    put("coco/coco_pope_random.json", [{**labels("random")[0], "label": "maybe"}], lines=True)
    with pytest.raises(DataError, match="the label is 'maybe'"):
        ask("pope")
    put("coco/coco_pope_random.json", [{**labels("random")[0], "image": "../x.jpg"}], lines=True)
    with pytest.raises(DataError, match="leaves the image folder"):
        ask("pope")
    put("coco/coco_pope_random.json", labels("random")[:1] * 2, lines=True)
    with pytest.raises(DataError, match="question 10000001 stands twice, before in"):
        ask("pope")


@pytest.mark.skipif(not os.environ.get("PUMICE_REAL_DATA"), reason="PUMICE_REAL_DATA names no folder")
def test_the_real_files_give_llavas_real_questions(ask: Ask, tmp_path: Path) -> None:
    real = Path(os.environ["PUMICE_REAL_DATA"]) / "pope"
    pictures = tmp_path / "data/val2014"
    pictures.mkdir(parents=True)
    published = {}
    for category in ("random", "popular"):
        name = f"coco_pope_{category}.json"
        (tmp_path / "data" / name).write_bytes((real / name).read_bytes())
        for line in (real / f"questions_{category}.jsonl").read_text().splitlines():
            row = json.loads(line)
            published[row["question_id"]] = row
    for image in {row["image"] for row in published.values()}:
        (pictures / image).write_bytes(b"x")
    loaded = ask("pope")
    assert len(loaded.samples) == 5910
    for sample in loaded.samples:
        row = published[sample.row["question_id"]]
        assert (sample.text, sample.group, sample.images[0].name) == (
            row["text"],
            row["category"],
            row["image"],
        )
    answers = tmp_path / "real.jsonl"
    answers.write_text(
        "".join((real / f"answers_llava-v1.5-13b_{name}.jsonl").read_text() for name in ("popular", "random"))
    )
    result = score("pope", loaded.inputs(answers))
    assert {name: round(group.metrics["f1"], 2) for name, group in result.groups.items()} == {
        "random": 87.14,
        "popular": 86.25,
    }
