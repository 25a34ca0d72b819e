"""GQA: questions made of scene graphs, with one short answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.data.checks import image_name
from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.evaluate.tasks.collected import Collected, asked_by_llava, same_questions
from pumice.evaluate.tasks.official import Official, need
from pumice.evaluate.tasks.prompts import short
from pumice.score import Inputs
from pumice.score.files import need as key_of
from pumice.score.files import object_rows, text_of

_SOURCE = "GQA, cs.stanford.edu/people/dorarad/gqa/download.html"
_NAME = "testdev_balanced_questions.json"
QUESTIONS = Official(
    tuple(f"{place}{_NAME}" for place in ("", "data/", "questions1.2/", "questions/", "data/questions1.2/")),
    _SOURCE,
)
PICTURES = Official(("images", "data/images"), _SOURCE)
LLAVA = Official(
    ("llava_gqa_testdev_balanced.jsonl",), "LLaVA, docs/Evaluation.md, eval.zip; may be left out"
)


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    questions, pictures = need(folder, "gqa", (QUESTIONS, PICTURES))
    rows = dict(object_rows(questions, "", "question file"))
    llava = LLAVA.find(folder)
    asked = None if llava is None else asked_by_llava(llava)
    if asked is not None and llava is not None:
        same_questions(asked, rows, llava)
    samples = Collected()
    for name in rows if asked is None else asked:
        row = rows[name]
        image = f"{text_of(row.value, 'imageId', row.where)}.jpg"
        prompt = short(text_of(row.value, "question", row.where))
        if asked is not None:
            prompt = asked[name].value["text"]
        types = key_of(row.value, "types", row.where)
        if not isinstance(types, dict):
            raise DataError("types is no object", where=row.where, remedy="take the file as it was published")
        samples.add(
            name,
            prompt,
            [pictures / image_name(image, row.where, "imageId")],
            {"question_id": name, "prompt": prompt},
            row.where,
            truth=text_of(row.value, "answer", row.where),
            group=str(key_of(types, "structural", row.where)),
        )
    return Loaded("gqa", samples.done(questions), lambda answers: Inputs(answers, questions))


GQA = Benchmark("gqa", (QUESTIONS.told, PICTURES.told, LLAVA.told), _load)
