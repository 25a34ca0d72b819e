"""VQAv2 and VizWiz: ten people's short answers to a question, and test splits that a server keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.data.checks import identity
from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Choice, Loaded
from pumice.evaluate.tasks.collected import Collected, commonest, picture
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import UNANSWERABLE, short
from pumice.score import Inputs
from pumice.score.answers import row_id
from pumice.score.files import Row, object_rows, read, rows_or_under, strings_of, text_of
from pumice.score.files import need as key_of

SERVER = "the files do not tell the truth: only the benchmark's server scores this split"
_VQA = "VQA, visualqa.org/download.html"
_COCO = "COCO, cocodataset.org/#download"
_LLAVA = "LLaVA, docs/Evaluation.md, eval.zip"
_VIZWIZ = "VizWiz, vizwiz.org/tasks-and-datasets/vqa"

VQA_VAL = (
    Official(("v2_OpenEnded_mscoco_val2014_questions.json",), _VQA),
    Official(("v2_mscoco_val2014_annotations.json",), _VQA),
    Official(("val2014",), f"{_COCO}, 2014 Val images"),
)
TEST_PICTURES = Official(("test2015",), f"{_COCO}, 2015 Test images")
TEST_DEV = Official(
    ("v2_OpenEnded_mscoco_test-dev2015_questions.json", "llava_vqav2_mscoco_test-dev2015.jsonl"),
    f"{_VQA}; or llava_vqav2_mscoco_test-dev2015.jsonl: {_LLAVA}",
)
TEST = Official(
    ("v2_OpenEnded_mscoco_test2015_questions.json", "llava_vqav2_mscoco_test2015.jsonl"),
    f"{_VQA}; or llava_vqav2_mscoco_test2015.jsonl: {_LLAVA}",
)


def _vqav2(folder: Path, choices: Mapping[str, str]) -> Loaded:
    split = choices["split"]
    if split == "auto":
        there = [name for name, one in (("val", VQA_VAL[1]), ("test-dev", TEST_DEV), ("test", TEST))
                 if one.find(folder) is not None]  # fmt: skip
        if not there:
            hint = f"or, for a submission, {TEST_DEV.told} and {TEST_PICTURES.told}"
            raise missing(folder, "vqav2", VQA_VAL, hint)
        split = there[0]
    if split == "val":
        return _vqav2_val(folder)
    questions, pictures = need(folder, "vqav2", (TEST_DEV if split == "test-dev" else TEST, TEST_PICTURES))
    samples = Collected()
    for row in rows_or_under(questions, "questions", "question file"):
        _add_vqa(samples, row, pictures, "COCO_test2015")
    whole = TEST.find(folder)
    takes = questions if whole is None else whole
    notes = [SERVER]
    if split == "test-dev":
        notes.append(
            "the server takes answers to all of test2015; those that are not asked are left empty"
            if whole is not None
            else f"the server takes answers to all of test2015: put {TEST.names[0]} beside for a submission"
        )
    return Loaded(
        "vqav2",
        samples.done(questions),
        lambda answers: Inputs(answers, takes, missing="error" if takes == questions else "wrong"),
        notes=tuple(notes),
        scored=False,
    )


def _vqav2_val(folder: Path) -> Loaded:
    questions, annotations, pictures = need(folder, "vqav2", VQA_VAL)
    truths: dict[str, tuple[str, str]] = {}
    for _, row in object_rows(annotations, "annotations", "annotation file"):  # 2 million answers: not held
        answer = row.value.get("multiple_choice_answer")
        people = strings_of(row.value, "answers", row.where)
        truth = answer if isinstance(answer, str) else commonest(people)
        truths[row_id(row)] = (truth, str(row.value.get("answer_type", "")))
    samples = Collected()
    for row in rows_or_under(questions, "questions", "question file"):
        name = row_id(row)
        if name not in truths:
            raise DataError(
                f"question {name} has no annotation in {annotations.name}",
                where=row.where,
                remedy="take both files of one split",
            )
        _add_vqa(samples, row, pictures, "COCO_val2014", *truths[name])
    return Loaded(
        "vqav2",
        samples.done(questions),
        lambda answers: Inputs(answers, questions, annotations),
        notes=("val2014: papers report test-dev, which only the server scores",),
    )


def _add_vqa(
    samples: Collected, row: Row, pictures: Path, subset: str, truth: str = "", group: str = ""
) -> None:
    """One question: LLaVA's row names its picture and has the prompt, the official one has their parts."""
    name = identity(key_of(row.value, "question_id", row.where), "question_id", row.where)
    if "image" in row.value:
        image, prompt = picture(pictures, row), text_of(row.value, "text", row.where)
    else:
        number = key_of(row.value, "image_id", row.where)
        if not isinstance(number, int):
            raise DataError(
                "image_id is no number", where=row.where, remedy="take the file as it was published"
            )
        image = pictures / f"{subset}_{number:012d}.jpg"
        prompt = short(text_of(row.value, "question", row.where))
    samples.add(
        str(name),
        prompt,
        [image],
        {"question_id": name, "prompt": prompt},
        row.where,
        truth=truth,
        group=group,
    )


VIZWIZ_VAL = (
    Official(("val.json", "Annotations/val.json"), _VIZWIZ),
    Official(("val", "images/val"), _VIZWIZ),
)
VIZWIZ_TEST = (
    Official(
        ("test.json", "Annotations/test.json", "llava_test.jsonl", "llava_vizwiz_test.jsonl"),
        f"{_VIZWIZ}; or llava_test.jsonl: {_LLAVA}",
    ),
    Official(("test", "images/test"), _VIZWIZ),
)


def _vizwiz(folder: Path, choices: Mapping[str, str]) -> Loaded:
    split = choices["split"]
    if split == "auto":
        if VIZWIZ_VAL[0].find(folder) is None and VIZWIZ_TEST[0].find(folder) is None:
            raise missing(
                folder, "vizwiz", VIZWIZ_VAL, f"or, for a submission, {VIZWIZ_TEST[0].told} and test"
            )
        split = "test" if VIZWIZ_VAL[0].find(folder) is None else "val"
    questions, pictures = need(folder, "vizwiz", VIZWIZ_VAL if split == "val" else VIZWIZ_TEST)
    samples = Collected()
    for row in read(questions, "question file"):
        image = picture(pictures, row)
        truth = commonest(strings_of(row.value, "answers", row.where)) if split == "val" else ""
        prompt = vizwiz_prompt(row)
        name = str(row.value["image"])
        samples.add(
            name,
            prompt,
            [image],
            {"question_id": row.value.get("question_id", name), "image": name, "prompt": prompt},
            row.where,
            truth=truth,
            group=str(row.value.get("answer_type", "")),
        )
    asked = samples.done(questions)
    if split == "test":
        return Loaded(
            "vizwiz", asked, lambda answers: Inputs(answers, questions), notes=(SERVER,), scored=False
        )
    return Loaded(
        "vizwiz",
        asked,
        lambda answers: Inputs(answers, labels=questions),
        notes=("val: papers report the test split, which only the server scores",),
    )


def vizwiz_prompt(row: Row) -> str:
    """The prompt that a row of LLaVA's file has, or the same out of an official row.

    LLaVA's file has the questions with a capital at the beginning and small letters behind it; spaces at
    their ends stay.
    """
    if "text" in row.value:
        return text_of(row.value, "text", row.where)
    question = text_of(row.value, "question", row.where).capitalize()
    return short(f"{question}\n{UNANSWERABLE}")


VQAV2 = Benchmark(
    "vqav2",
    tuple(one.told for one in (*VQA_VAL, TEST_DEV, TEST, TEST_PICTURES)),
    _vqav2,
    choices=(
        Choice(
            "split",
            ("auto", "val", "test-dev", "test"),
            "which questions; auto takes val where its annotations lie there, else test-dev, else test",
        ),
    ),
)
VIZWIZ = Benchmark(
    "vizwiz",
    tuple(one.told for one in (*VIZWIZ_VAL, *VIZWIZ_TEST)),
    _vizwiz,
    choices=(
        Choice("split", ("auto", "val", "test"), "which questions; auto takes val where val.json lies there"),
    ),
)
