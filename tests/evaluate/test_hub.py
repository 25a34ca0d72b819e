"""The hub's rows as the library gives them, without a network: ``load_dataset`` is a stand-in."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from pumice.errors import DataError, MissingExtraError, UsageError
from pumice.evaluate import hub
from pumice.evaluate.hub import NAMES, SOURCES, from_hub, load_from_hub
from pumice.evaluate.samples import Benchmark
from pumice.evaluate.scored import predictions
from pumice.evaluate.shapes import Answered, shapes_of
from pumice.evaluate.tasks import TASKS
from pumice.score import TASKS as SCORED
from pumice.score import score

from .tasks.official import png, scored, shown, whole
from .tasks.test_mmmu import ART, MATH

Rows = Sequence[Mapping[str, Any]]


class Hub:
    """Answers ``load_dataset`` with tables in which pictures are what the library's own feature makes."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str | None], Rows] = {}
        self.asked: list[tuple[str, str | None, str]] = []

    def load_dataset(self, name: str, config: str | None = None, *, split: str) -> datasets.Dataset:
        self.asked.append((name, config, split))
        if (name, config) not in self.tables:
            raise FileNotFoundError(f"Couldn't find any data file at {name}.\nMore.")
        rows = self.tables[name, config]
        table = datasets.Dataset.from_list([dict(row) for row in rows])
        for column in table.column_names:
            if re.fullmatch(r"image(_\d)?", column):
                table = table.cast_column(column, datasets.Image())
        return table


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Hub:
    own = Hub()
    monkeypatch.setattr(datasets, "load_dataset", own.load_dataset)
    return own


def picture(shade: int) -> dict[str, Any]:
    return {"bytes": png(shade), "path": None}


def test_every_source_is_a_task_that_is_scored() -> None:
    assert set(NAMES) <= set(SCORED)
    assert set(NAMES) - {"slake"} == set(SOURCES)


def test_mmmu_is_thirty_tables(stand_in: Hub, tmp_path: Path) -> None:
    for subject in SOURCES["mmmu"].configs:
        rows = [{**MATH[0], "id": f"validation_{subject}_1"}]
        stand_in.tables["MMMU/MMMU", subject] = ART if subject == "Art_Theory" else rows
    loaded = from_hub(TASKS["mmmu"]).load(Path("nowhere"), {})
    assert len(stand_in.asked) == 30
    assert stand_in.asked[0] == ("MMMU/MMMU", "Accounting", "validation")
    assert len(loaded.samples) == 29 + 3
    pictures = shown(loaded)
    assert pictures["validation_Art_Theory_1"] == [png(1), png(2), png(3)]
    assert pictures["validation_Pharmacy_1"] == [png(6)]
    assert scored(loaded, tmp_path / "out").metrics["accuracy"] == 100
    assert "read from the hub: MMMU/MMMU (30 configurations), split validation" in loaded.notes


def test_a_picture_that_a_question_shows_must_be_there(stand_in: Hub) -> None:
    for subject in SOURCES["mmmu"].configs:
        row = {**ART[0], "id": f"validation_{subject}_1", "image_3": None}
        stand_in.tables["MMMU/MMMU", subject] = [row, {**ART[0], "id": f"validation_{subject}_2"}]
    with pytest.raises(DataError, match="shows <image 3> and has no picture image_3") as caught:
        load_from_hub("mmmu", {})
    assert caught.value.where == "hub:MMMU/MMMU/Accounting@validation, row 1"


ONE = {
    "mmstar": {"index": 7, "question": "Which?\nA: x, B: y", "image": picture(1), "answer": "A",
               "category": "math", "l2_category": "geometry", "meta_info": {"source": "x"}},
    "chartqa": {"type": "human_test", "question": "How many?", "answer": "14", "image": picture(1)},
    "docvqa": {"questionId": "49153", "question": "When?", "question_types": ["form"], "image": picture(1),
               "docId": 1, "ucsf_document_id": "a", "ucsf_document_page_no": "1", "answers": ["1/8/93"],
               "data_split": "val"},
    "ai2d": {"question": "What?", "options": ["a", "b"], "answer": "1", "image": picture(1)},
    "vqa-rad": {"image": picture(1), "question": "is it?", "answer": "yes"},
    "pathvqa": {"image": picture(1), "question": "what is it?", "answer": "bone marrow"},
    "textvqa": {"image_id": "003a8ae2ef43b901", "question_id": 34602, "question": "what is the Brand?",
                "image": picture(1), "image_width": 4, "image_height": 3, "answers": ["nous les gosses"] * 10,
                "ocr_tokens": ["nous", "les"], "set_name": "val"},
    "vizwiz": {"question_id": "VizWiz_val_00000000", "image": picture(1), "question": "Ok. There is another?",
               "answers": ["beach"] * 7 + ["unanswerable"] * 3, "category": "other"},
}  # fmt: skip
TEXT = {
    "mmstar": "Which?\nA: x, B: y\nAnswer with the option's letter from the given choices directly",
    "chartqa": "How many?\nAnswer the question with a single word.",
    "docvqa": "When?\nAnswer the question using a single word or phrase.",
    "ai2d": "What?\nA. a\nB. b\nAnswer with the option's letter from the given choices directly.",
    "vqa-rad": "is it?",
    "pathvqa": "what is it?",
    "textvqa": "What is the brand?\nReference OCR token: nous, les\n"
    "Answer the question using a single word or phrase.",
    "vizwiz": "Ok. there is another?\nWhen the provided information is insufficient, respond with "
    "'Unanswerable'.\nAnswer the question using a single word or phrase.",
}


@pytest.mark.parametrize("name", ONE)
def test_a_row_of_each(stand_in: Hub, tmp_path: Path, name: str) -> None:
    source = SOURCES[name]
    stand_in.tables[source.repository, source.configs[0] or None] = [ONE[name]]
    loaded = load_from_hub(name, {})
    assert [sample.text for sample in loaded.samples] == [TEXT[name]]
    assert list(shown(loaded).values()) == [[png(1)]]
    result = scored(loaded, tmp_path / "out")
    assert [item.id for item in result.items] == [sample.id for sample in loaded.samples]
    assert next(iter(result.metrics.values())) == 100
    wrong = scored(loaded, tmp_path / "out", lambda truth: "qqq")
    assert next(iter(wrong.metrics.values())) == 0


def test_choices_reach_the_hubs_rows(stand_in: Hub) -> None:
    stand_in.tables["lmms-lab/textvqa", None] = [ONE["textvqa"]]
    assert "OCR" not in load_from_hub("textvqa", {"ocr": "no"}).samples[0].text
    stand_in.tables["lmms-lab/ChartQA", None] = [ONE["chartqa"]]
    assert load_from_hub("chartqa", {"prompt": "phrase"}).samples[0].text.endswith("word or phrase.")


def test_pope(stand_in: Hub, tmp_path: Path) -> None:
    truths = [("adversarial", "yes"), ("popular", "no"), ("random", "yes")]
    stand_in.tables["lmms-lab/POPE", None] = [
        {"id": str(number), "question_id": "1", "question": f"Is there a {category}?", "answer": answer,
         "image_source": "COCO_val2014_1", "image": picture(number), "category": category}
        for number, (category, answer) in enumerate(truths)
    ]  # fmt: skip
    loaded = load_from_hub("pope", {})
    assert loaded.samples[1].text == "Is there a popular?\nAnswer the question using a single word or phrase."
    assert shown(loaded)["random/1"] == [png(0)], "questions about one picture share that of the first row"
    assert len({sample.images for sample in loaded.samples}) == 1
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["accuracy"] == 100
    assert set(result.groups) == {"random", "popular", "adversarial"}
    assert {item.id for item in result.items} == {sample.id for sample in loaded.samples}
    flipped = {"yes": "No", "no": "Yes"}
    assert scored(loaded, tmp_path / "out", lambda truth: flipped[truth]).metrics["accuracy"] == 0


def mme_rows() -> Rows:
    return [
        {"question_id": "OCR/0001.jpg", "image": picture(1),
         "question": f"Is it {word}? Please answer yes or no.", "answer": answer, "category": "OCR"}
        for word, answer in (("A", "Yes"), ("B", "No"))
    ]  # fmt: skip


def test_mme(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.tables["lmms-lab/MME", None] = mme_rows()
    loaded = load_from_hub("mme", {})
    assert loaded.samples[0].text == "Is it A?\nAnswer the question using a single word or phrase."
    assert loaded.samples[0].row["question_id"] == "OCR/0001.jpg"
    folder = tmp_path / "out"
    folder.mkdir()
    answers = folder / "answers.jsonl"
    answers.write_text("".join(json.dumps({**own.row, "text": own.truth}) + "\n" for own in loaded.samples))
    result = score("mme", loaded.inputs(answers))
    assert result.metrics["OCR"] == 200
    assert {item.id for item in result.items} == {own.id for own in loaded.samples}
    written = predictions(loaded.samples, lambda sample: sample.truth, result, Path("hub"))
    answered = [
        Answered(row["id"], row["parsed"] or "", row["score"], tuple(row["groups"]), row["images"][0])
        for row in written
    ]
    assert shapes_of("mme")["perception"].of(answered) == 200, "a comparison finds the pairs of a picture"


def gqa_tables(stand_in: Hub, image: str = "n161313") -> None:
    types = {"detailed": "relS", "semantic": "rel", "structural": "query"}
    stand_in.tables["lmms-lab/GQA", "testdev_balanced_instructions"] = [
        {"id": "201307251", "imageId": image, "question": "Is it overcast?", "answer": "no", 
         "fullAnswer": "No.", "isBalanced": True, "types": types}
    ]  # fmt: skip
    stand_in.tables["lmms-lab/GQA", "testdev_balanced_images"] = [
        {"id": "n1", "image": picture(8)}, {"id": "n161313", "image": picture(9)}
    ]  # fmt: skip


def test_gqa_joins_two_tables(stand_in: Hub, tmp_path: Path) -> None:
    gqa_tables(stand_in)
    loaded = load_from_hub("gqa", {})
    assert shown(loaded) == {"201307251": [png(9)]}
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["accuracy"] == 100
    assert "query" in result.groups
    gqa_tables(stand_in, "n2")
    with pytest.raises(DataError, match="picture 'n2' is not among the pictures"):
        load_from_hub("gqa", {})


def test_slake_is_its_authors_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"img_name": "xmlab1/source.jpg", "question": "What?", "answer": "MRI", "q_lang": language,
             "answer_type": "OPEN", "qid": qid} for qid, language in ((1, "en"), (2, "zh"))]  # fmt: skip
    whole(tmp_path / "test.json", rows)
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab1/source.jpg", png(4))
        archive.writestr("imgs/xmlab1/mask.png", png(5))
    fetched: list[tuple[str, str, str]] = []

    def download(repository: str, name: str, *, repo_type: str) -> str:
        fetched.append((repository, name, repo_type))
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    loaded = from_hub(TASKS["slake"]).load(Path("nowhere"), {})
    assert fetched == [("BoKelvin/SLAKE", name, "dataset") for name in ("test.json", "imgs.zip")]
    assert shown(loaded) == {"1": [png(4)]}
    assert scored(loaded, tmp_path / "out").metrics["open_recall"] == 100
    whole(tmp_path / "test.json", [{**rows[0], "img_name": "xmlab2/source.jpg"}])
    with pytest.raises(DataError, match=r"has no picture xmlab2/source\.jpg"):
        load_from_hub("slake", {})
    (tmp_path / "imgs.zip").write_bytes(b"PK cut")
    with pytest.raises(DataError, match="archive cannot be read"):
        load_from_hub("slake", {})


def test_a_task_that_the_hub_has_otherwise_names_those_that_can_be_read() -> None:
    with pytest.raises(UsageError, match="llava-bench is not read from the hub") as caught:
        from_hub(Benchmark("llava-bench", ("questions.jsonl (its authors)",), lambda folder, choices: None))  # type: ignore[arg-type, return-value]
    assert "questions.jsonl (its authors)" in str(caught.value)
    assert "mmmu" in str(caught.value)


def test_offline_is_told(stand_in: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set") as caught:
        load_from_hub("mmstar", {})
    assert caught.value.where == "hub:Lin-Chen/MMStar/val@val"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(
        DataError, match=r"cannot be fetched \(Couldn't find any data file at Lin-Chen/MMStar\.\)"
    ):
        load_from_hub("mmstar", {})


@pytest.mark.parametrize(
    "error", [datasets.exceptions.DatasetGenerationError("disk full"), httpx2.ReadTimeout("too slow")]
)
def test_what_breaks_off_on_the_way_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*args: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match=r"cannot be fetched \((disk full|too slow)\)"):
        load_from_hub("mmstar", {})


def test_offline_slake(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, name: str, *, repo_type: str) -> str:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set") as caught:
        load_from_hub("slake", {})
    assert caught.value.where == "hub:BoKelvin/SLAKE"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError) as caught:
        load_from_hub("mmstar", {})
    assert 'pip install "pumice[tables]"' in str(caught.value)


def test_rows_of_another_layout_are_refused(stand_in: Hub) -> None:
    stand_in.tables["Lin-Chen/MMStar", "val"] = [{"idx": 1, "question": "?"}]
    with pytest.raises(DataError, match="no column 'index'"):
        load_from_hub("mmstar", {})
    stand_in.tables["lmms-lab/POPE", None] = [
        {"question_id": "1", "question": "?", "answer": "maybe", "image_source": "x", "category": "random"}
    ]
    with pytest.raises(DataError, match="the answer is 'maybe'") as caught:
        load_from_hub("pope", {})
    assert caught.value.where == "hub:lmms-lab/POPE@test, row 1"


def test_nothing_is_decoded_and_pictures_are_read_alone(
    stand_in: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*args: object, **named: object) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(datasets.Image, "decode_example", decode)
    stand_in.tables["lmms-lab/ai2d", None] = [{**ONE["ai2d"], "image": picture(shade)} for shade in range(5)]
    loaded = load_from_hub("ai2d", {})
    assert shown(loaded) == {str(shade): [png(shade)] for shade in range(5)}
    assert (
        hub.HubTable(stand_in.load_dataset("lmms-lab/ai2d", split="test"), "x").filled("image") == [True] * 5
    )
