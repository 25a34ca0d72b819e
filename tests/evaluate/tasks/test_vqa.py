"""VQAv2 and VizWiz: validation sets that are scored here, test sets that only a server scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.score import submit

from .conftest import Ask, Put, answered, scored

SHORT = "\nAnswer the question using a single word or phrase."
VIZWIZ = "\nWhen the provided information is insufficient, respond with 'Unanswerable'." + SHORT
QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"


def people(*answers: str) -> list[dict[str, Any]]:
    spread = [answers[number % len(answers)] for number in range(10)]
    return [{"answer": text, "answer_confidence": "yes", "answer_id": n} for n, text in enumerate(spread, 1)]


def annotation(name: int, answers: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    first = answers[0]["answer"]
    return {"question_id": name, "image_id": 42, "answers": answers, "multiple_choice_answer": first} | {
        "answer_type": kind,
        "question_type": "what",
    }


@pytest.fixture
def val(put: Put) -> None:
    questions = [
        {"image_id": 42, "question": "What color is the cat?", "question_id": 42000},
        {"image_id": 73, "question": "Is it day?", "question_id": 73000},
        {"image_id": 42, "question": "How many cats?", "question_id": 42001},
    ]
    put(QUESTIONS, {"info": {}, "data_subtype": "val2014", "questions": questions})
    annotations = [
        annotation(42000, people("black"), "other"),
        annotation(42001, people("1", "2"), "number"),
        annotation(73000, people("yes"), "yes/no"),
    ]
    put(ANNOTATIONS, {"info": {}, "annotations": annotations})
    put("val2014/COCO_val2014_000000000042.jpg")
    put("val2014/COCO_val2014_000000000073.jpg")


@pytest.mark.usefixtures("val")
def test_vqav2_asks_the_validation_set_as_llava_does(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("vqav2")
    assert loaded.scored
    assert [sample.id for sample in loaded.samples] == ["42000", "42001", "73000"]
    first = loaded.samples[0]
    assert first.text == f"What color is the cat?{SHORT}"
    assert first.row == {"question_id": 42000, "prompt": first.text}
    assert first.images == (tmp_path / "data/val2014/COCO_val2014_000000000042.jpg",)
    assert [(sample.truth, sample.group) for sample in loaded.samples] == [
        ("black", "other"),
        ("1", "number"),
        ("yes", "yes/no"),
    ]
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    assert scored(loaded, tmp_path, lambda _: "dog").metrics["accuracy"] == 0
    assert "test-dev" in loaded.notes[0]


@pytest.mark.usefixtures("val")
def test_vqav2_names_what_does_not_fit(ask: Ask, put: Put) -> None:
    put(ANNOTATIONS, {"annotations": [annotation(42000, people("black"), "other")]})
    with pytest.raises(DataError, match="question 73000 has no annotation") as caught:
        ask("vqav2")
    assert f"{QUESTIONS}, line 10" in str(caught.value.where)
    text = put(ANNOTATIONS, {"annotations": [annotation(42000, people("black"), "other")]}).read_text()
    put(ANNOTATIONS, text[:200])
    with pytest.raises(DataError) as caught:
        ask("vqav2")
    assert f"{ANNOTATIONS}, line" in str(caught.value.where)


def test_vqav2_lists_what_it_takes(ask: Ask, put: Put) -> None:
    put(ANNOTATIONS, {})
    with pytest.raises(DataError, match=f"vqav2 lacks {QUESTIONS}, val2014") as caught:
        ask("vqav2")
    assert "visualqa.org" in str(caught.value.remedy)
    with pytest.raises(DataError, match="vqav2 lacks v2_OpenEnded_mscoco_test-dev2015_questions"):
        ask("vqav2", split="test-dev")
    with pytest.raises(UsageError, match="split of vqav2 is never 'train'"):
        ask("vqav2", split="train")


def test_vqav2_without_anything_tells_of_both_ways(ask: Ask) -> None:
    with pytest.raises(DataError) as caught:
        ask("vqav2")
    assert "or, for a submission, v2_OpenEnded_mscoco_test-dev2015_questions.json" in str(caught.value.remedy)


@pytest.mark.parametrize("llava", [False, True])
def test_vqav2_test_dev_gives_a_submission_alone(ask: Ask, put: Put, tmp_path: Path, llava: bool) -> None:
    whole = [{"image_id": n, "question": "What?", "question_id": n * 1000} for n in (1, 2, 3)]
    if llava:
        rows = [
            {"question_id": 2000, "image": "COCO_test2015_000000000002.jpg", "text": f"What?{SHORT}"}
            | {"category": "default"}
        ]
        put("llava_vqav2_mscoco_test-dev2015.jsonl", rows, lines=True)
    else:
        put("v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": whole[1:2]})
    put("test2015/COCO_test2015_000000000002.jpg")
    loaded = ask("vqav2")
    assert not loaded.scored
    assert [sample.text for sample in loaded.samples] == [f"What?{SHORT}"]
    assert [sample.truth for sample in loaded.samples] == [""]
    assert "put v2_OpenEnded_mscoco_test2015_questions.json beside" in loaded.notes[1]
    put("v2_OpenEnded_mscoco_test2015_questions.json", {"questions": whole})
    loaded = ask("vqav2", split="test-dev")
    upload = tmp_path / "upload.json"
    assert submit("vqav2", loaded.inputs(answered(loaded, tmp_path, lambda _: "A cat.")), upload) == 3
    assert json.loads(upload.read_text()) == [
        {"question_id": 1000, "answer": ""},
        {"question_id": 2000, "answer": "cat"},
        {"question_id": 3000, "answer": ""},
    ]


@pytest.mark.parametrize(
    ("official", "llavas"),
    [
        # both as they are published: LLaVA's file has small letters behind the first
        ("What is this? And what color is it?", "What is this? and what color is it?"),
        ("What is this? ", "What is this? "),
        ("Which cereal is this?  Question mark.", "Which cereal is this?  question mark."),
    ],
)
def test_vizwiz_prompts_are_llavas(ask: Ask, put: Put, official: str, llavas: str) -> None:
    put("val.json", [{"image": "VizWiz_val_00000000.jpg", "question": official, "answers": people("can")}])
    put("val/VizWiz_val_00000000.jpg")
    assert ask("vizwiz").samples[0].text == f"{llavas}{VIZWIZ}"


def test_vizwiz_validation_is_scored_by_picture(ask: Ask, put: Put, tmp_path: Path) -> None:
    rows = [
        {"image": f"VizWiz_val_{n:08d}.jpg", "question": "What is this?", "answers": people(text)}
        | {"answer_type": kind, "answerable": 1}
        for n, (text, kind) in enumerate([("can", "other"), ("unanswerable", "unanswerable")])
    ]
    put("Annotations/val.json", rows)
    for row in rows:
        put(f"val/{row['image']}")
    loaded = ask("vizwiz")
    assert loaded.scored
    first = loaded.samples[0]
    name = "VizWiz_val_00000000.jpg"
    assert (first.id, first.row["question_id"], first.row["image"]) == (name, name, name)
    assert (first.truth, first.group) == ("can", "other")
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    assert scored(loaded, tmp_path, lambda _: "dog").metrics["accuracy"] == 0


@pytest.mark.parametrize("llava", [False, True])
def test_vizwiz_test_gives_a_submission_alone(ask: Ask, put: Put, tmp_path: Path, llava: bool) -> None:
    names = [f"VizWiz_test_{n:08d}.jpg" for n in range(2)]
    if llava:
        rows = [{"question_id": n, "image": image, "text": f"What?{VIZWIZ}"} for n, image in enumerate(names)]
        put("llava_test.jsonl", rows, lines=True)
    else:
        put("test.json", [{"image": image, "question": "What?"} for image in names])
    for name in names:
        put(f"test/{name}")
    loaded = ask("vizwiz")
    assert not loaded.scored
    assert {sample.text for sample in loaded.samples} == {f"What?{VIZWIZ}"}
    upload = tmp_path / "upload.json"
    assert submit("vizwiz", loaded.inputs(answered(loaded, tmp_path, lambda _: "Red")), upload) == 2
    assert json.loads(upload.read_text()) == [{"image": name, "answer": "red"} for name in names]


def test_vizwiz_lists_what_it_takes_and_names_rows(ask: Ask, put: Put) -> None:
    with pytest.raises(DataError, match="there is no folder of vizwiz") as caught:
        ask("vizwiz")
    assert "missing  val.json (VizWiz, vizwiz.org" in str(caught.value.remedy)
    put("val.json", [{"image": "a.jpg", "question": "What?", "answers": people("can")}])
    with pytest.raises(DataError, match=r"vizwiz lacks val\n"):
        ask("vizwiz")
    put("val/b.jpg")
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 1") as caught:
        ask("vizwiz")
    assert "val.json, line 2" in str(caught.value.where)
    put("val.json", [{"image": "b.jpg", "question": "What?"}])
    with pytest.raises(DataError, match="the key 'answers' is missing"):
        ask("vizwiz")
