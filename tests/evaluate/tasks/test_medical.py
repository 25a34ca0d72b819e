from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.medical import PATHVQA, SLAKE, VQA_RAD

from .official import cell, parquet, pictures, png, scored, shown, whole


def med(
    id: int, image: str, question: str, answer: str, kind: str, key: str = "conversations"
) -> dict[str, Any]:
    return {
        "id": id,
        "image": image,
        "answer_type": kind,
        key: [{"from": "human", "value": question}, {"from": "gpt", "value": answer}],
    }


MED = [
    med(3, "a.jpg", "What organ is this?\n<image>", "The heart", "OPEN"),
    med(
        4,
        "b.jpg",
        "Is it normal? Please choose from the following two options: [yes, no].\n<image>",
        "Yes",
        "CLOSED",
    ),
    med(5, "a.jpg", "<image>\nMRI or CT?", "MRI", "CLOSED", "conversatons"),
]


@pytest.mark.parametrize("benchmark", [VQA_RAD, SLAKE, PATHVQA])
def test_llava_meds_layout(tmp_path: Path, benchmark: Any) -> None:
    folder = tmp_path / benchmark.name
    whole(folder / "test.json", MED)
    pictures(folder / "images", {"a.jpg": 1, "b.jpg": 2})
    loaded = benchmark.load(folder, {})
    assert [(sample.id, sample.text) for sample in loaded.samples] == [
        ("3", "What organ is this?"),
        ("5", "MRI or CT?"),
        ("4", "Is it normal? Please choose from the following two options: [yes, no]."),
    ]
    assert shown(loaded) == {"3": [png(1)], "5": [png(1)], "4": [png(2)]}
    assert [sample.group for sample in loaded.samples] == ["open", "closed", "closed"]
    assert loaded.guesses == ("yes", "no")
    assert benchmark.max_new_tokens == 1024
    result = scored(loaded, tmp_path / "out")
    assert (result.metrics["open_recall"], result.metrics["closed_accuracy"]) == (100, 100)
    assert result.counts == {"open": 1, "closed": 2}
    wrong = scored(loaded, tmp_path / "out", lambda truth: "xyz")
    assert (wrong.metrics["open_recall"], wrong.metrics["closed_accuracy"]) == (0, 0)


def rad(qid: int, phrase: str, answer: Any, kind: str) -> dict[str, Any]:
    return {
        "qid": qid, "phrase_type": phrase, "qid_linked_id": "x", "image_name": "synpic1.jpg",
        "image_organ": "HEAD", "question": "Is there a bleed? ", "question_type": "PRES", "answer": answer,
        "answer_type": kind,
    }  # fmt: skip


def test_vqa_rads_own_file_holds_both_splits(tmp_path: Path) -> None:
    rows = [
        rad(1, "freeform", "No", "CLOSED"),
        rad(2, "test_freeform", "Yes", "CLOSED "),
        rad(3, "test_para", 4, "OPEN"),
        rad(4, "para", "x", "OPEN"),
    ]
    whole(tmp_path / "rad" / "VQA_RAD Dataset Public.json", rows)
    pictures(tmp_path / "rad" / "VQA_RAD Image Folder", {"synpic1.jpg": 5})
    loaded = VQA_RAD.load(tmp_path / "rad", {})
    assert [(sample.id, sample.text, sample.group) for sample in loaded.samples] == [
        ("2", "Is there a bleed?", "closed"),
        ("3", "Is there a bleed?", "open"),
    ]
    assert shown(loaded) == {"2": [png(5)], "3": [png(5)]}
    assert scored(loaded, tmp_path / "out").metrics["closed_accuracy"] == 100
    whole(tmp_path / "rad" / "VQA_RAD Dataset Public.json", rows[:1])
    with pytest.raises(DataError, match="none of the rows is a question of vqa-rad's test split"):
        VQA_RAD.load(tmp_path / "rad", {})


def test_slakes_own_files_without_chinese(tmp_path: Path) -> None:
    def row(qid: int, language: str, answer: str, kind: str) -> dict[str, Any]:
        return {
            "img_id": 1, "img_name": "xmlab102/source.jpg", "question": "What modality?", "answer": answer,
            "q_lang": language, "location": "Abdomen", "modality": "MRI", "answer_type": kind,
            "base_type": "vqa", "content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": qid,
        }  # fmt: skip

    rows = [
        row(11934, "en", "MRI", "OPEN"),
        row(11935, "zh", "是", "CLOSED"),
        row(11936, "en", "No", "CLOSED"),
    ]
    whole(tmp_path / "slake" / "test.json", rows)
    pictures(tmp_path / "slake" / "imgs" / "xmlab102", {"source.jpg": 6})
    loaded = SLAKE.load(tmp_path / "slake", {})
    assert [sample.id for sample in loaded.samples] == ["11934", "11936"]
    assert shown(loaded)["11934"] == [png(6)]
    assert "1 question in another language than English left out" in loaded.notes
    result = scored(loaded, tmp_path / "out")
    assert (result.metrics["open_recall"], result.metrics["closed_accuracy"]) == (100, 100)


def pathvqa(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "qas" / "test" / "test_qa.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))
    pictures(folder / "images" / "test", {"test_0273.jpg": 7})
    return path


ROWS = [
    {"image": "test_0273", "question": "What is present?", "answer": "neutrophils"},
    {"image": "test_0273", "question": "Are cells present?", "answer": "yes"},
]


def test_the_guess_that_is_right_more_often_comes_first(tmp_path: Path) -> None:
    pictures(tmp_path / "images", {"a.jpg": 1})
    for answers, guesses in ((["No", "yes", "no"], ("no", "yes")), (["Yes", "no", "yes"], ("yes", "no"))):
        whole(
            tmp_path / "test.json", [med(id, "a.jpg", "?", said, "CLOSED") for id, said in enumerate(answers)]
        )
        assert VQA_RAD.load(tmp_path, {}).guesses == guesses


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pathvqas_own_files(tmp_path: Path, protocol: int) -> None:
    pathvqa(tmp_path / "pathvqa", ROWS, protocol)
    loaded = PATHVQA.load(tmp_path / "pathvqa", {})
    assert [(sample.id, sample.text, sample.group) for sample in loaded.samples] == [
        ("0", "What is present?", "open"),
        ("1", "Are cells present?", "closed"),
    ]
    assert shown(loaded) == {"0": [png(7)], "1": [png(7)]}
    result = scored(loaded, tmp_path / "out")
    assert (result.metrics["open_recall"], result.metrics["closed_accuracy"]) == (100, 100)


def test_the_hubs_rows(tmp_path: Path) -> None:
    rows = [{"image": cell(1), "question": "what is it?", "answer": "x ray"}]
    parquet(tmp_path / "vqa-rad" / "data" / "test-00000-of-00001-abc.parquet", rows)
    loaded = VQA_RAD.load(tmp_path / "vqa-rad", {})
    assert shown(loaded) == {"0": [png(1)]}
    assert scored(loaded, tmp_path / "out").metrics["open_recall"] == 100


def test_a_program_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    path = pathvqa(tmp_path / "pathvqa", [Runs()])
    with pytest.raises(DataError, match="does more than hold plain data") as caught:
        PATHVQA.load(tmp_path / "pathvqa", {})
    assert caught.value.where == str(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("keep", [0, 1, 30, -1, -20])
def test_a_cut_pickle_is_told(tmp_path: Path, keep: int) -> None:
    path = pathvqa(tmp_path / "pathvqa", ROWS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="cannot be read"):
        PATHVQA.load(tmp_path / "pathvqa", {})


def test_what_a_pickle_may_hold_besides(tmp_path: Path) -> None:
    more = [
        {**ROWS[0], "qid": number, "extra": [1, 2.5, None, True, {"a": -70000}, 2**70]} for number in (8, 9)
    ]
    for protocol in (0, 2, 4):
        pathvqa(tmp_path / "pathvqa", more, protocol)
        assert [own.id for own in PATHVQA.load(tmp_path / "pathvqa", {}).samples] == ["8", "9"]
    pathvqa(tmp_path / "pathvqa", {"rows": 1})
    with pytest.raises(DataError, match="holds no list"):
        PATHVQA.load(tmp_path / "pathvqa", {})
    pathvqa(tmp_path / "pathvqa", [1])
    with pytest.raises(DataError, match="the row is a number"):
        PATHVQA.load(tmp_path / "pathvqa", {})


def test_errors(tmp_path: Path) -> None:
    folder = tmp_path / "slake"
    with pytest.raises(DataError, match="the files of slake are not there") as caught:
        SLAKE.load(folder, {})
    assert "imgs (the same: xmlabN/source.jpg; or images)" in str(caught.value)
    path = whole(folder / "test.json", MED)
    pictures(folder / "images", {"a.jpg": 1, "B.jpg": 2})
    with pytest.raises(DataError, match="missing or empty: 1 of 2") as caught:
        SLAKE.load(folder, {})
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{path}, line ")
    assert f"{folder}/imgs/b.jpg" in str(caught.value)
    whole(path, [MED[0], MED[0]])
    with pytest.raises(DataError, match="stands twice"):
        SLAKE.load(folder, {})
    whole(path, [{"id": 1, "image": "a.jpg", "question": "?"}])
    with pytest.raises(DataError, match="'img_name' is missing"):
        SLAKE.load(folder, {})
    whole(path, [{"id": 1, "img_name": "a.jpg", "question": "?"}])
    with pytest.raises(DataError, match="'answer' is missing"):
        SLAKE.load(folder, {})
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError) as caught:
        SLAKE.load(folder, {})
    assert str(path) in str(caught.value.where)
