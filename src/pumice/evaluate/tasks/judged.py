"""LLaVA-Bench (in the wild) and MM-Vet: free answers that a judge reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.evaluate.tasks.collected import Collected, asked_by_llava, picture
from pumice.evaluate.tasks.official import Official, need
from pumice.score import Inputs
from pumice.score.answers import by_id, row_id
from pumice.score.files import Row, object_rows, read, text_of
from pumice.score.files import need as key_of
from pumice.score.mm_vet import CAPABILITIES

_BENCH = "LLaVA, the data set llava-bench-in-the-wild, docs/LLaVA_Bench.md"
QUESTIONS = Official(("questions.jsonl",), _BENCH)
CONTEXT = Official(("context.jsonl",), f"{_BENCH}: what the judge is told of each picture")
REFERENCE = Official(("answers_gpt4.jsonl",), f"{_BENCH}: the answers that the judge compares with")
BENCH_PICTURES = Official(("images",), _BENCH)

_VET = "MM-Vet, github.com/yuweihao/MM-Vet, mm-vet.zip of its first release"
VET = Official(("mm-vet.json", "mm-vet/mm-vet.json"), _VET)
VET_PICTURES = Official(("images", "mm-vet/images"), _VET)
VET_LLAVA = Official(("llava-mm-vet.jsonl",), "LLaVA, docs/Evaluation.md, eval.zip; may be left out")


def _llava_bench(folder: Path, choices: Mapping[str, str]) -> Loaded:
    questions, context, reference, pictures = need(
        folder, "llava-bench", (QUESTIONS, CONTEXT, REFERENCE, BENCH_PICTURES)
    )
    told = {str(row.value.get("image")) for row in read(context, "context file")}
    truths = by_id(read(reference, "reference file"))
    samples = Collected()
    for row in read(questions, "question file"):
        name, image = row_id(row), picture(pictures, row)
        if str(row.value["image"]) not in told:
            raise DataError(
                f"{context.name} tells nothing of {row.value['image']}",
                where=row.where,
                remedy="take all files of one release",
            )
        if name not in truths:
            raise DataError(
                f"{reference.name} has no answer to question {name}",
                where=row.where,
                remedy="take all files of one release",
            )
        prompt = text_of(row.value, "text", row.where)
        category = text_of(row.value, "category", row.where)
        samples.add(
            name,
            prompt,
            [image],
            {"question_id": row.value["question_id"], "prompt": prompt, "category": category},
            row.where,
            truth=text_of(truths[name].value, "text", truths[name].where),
            group=category,
        )
    return Loaded(
        "llava-bench",
        samples.done(questions),
        lambda reviews: Inputs(reviews=(reviews,), questions=questions),
    )


def _mm_vet(folder: Path, choices: Mapping[str, str]) -> Loaded:
    questions, pictures = need(folder, "mm-vet", (VET, VET_PICTURES))
    llava = VET_LLAVA.find(folder)
    asked = None if llava is None else asked_by_llava(llava)
    samples = Collected()
    for name, row in object_rows(questions, "", "question file"):
        prompt = text_of(row.value, "question", row.where)
        if asked is not None:
            prompt = _of_llava(asked, name, row)
        samples.add(
            name,
            prompt,
            [picture(pictures, row, "imagename")],
            {"question_id": name, "prompt": prompt},
            row.where,
            truth=text_of(row.value, "answer", row.where),
            group=_capabilities(row),
        )
    return Loaded(
        "mm-vet",
        samples.done(questions),
        lambda grades: Inputs(grades=grades, questions=questions),
    )


def _of_llava(asked: Mapping[str, Row], name: str, row: Row) -> str:
    """LLaVA's file has the number of ``v1_0`` alone."""
    found = asked.get(name.removeprefix("v1_"), asked.get(name))
    if found is None:
        raise DataError(
            f"LLaVA's file does not ask question {name}",
            where=row.where,
            remedy=f"take {VET_LLAVA.names[0]} as it was published, whole, or take it away",
        )
    return str(found.value["text"])


def _capabilities(row: Row) -> str:
    own = key_of(row.value, "capability", row.where)
    if not isinstance(own, list) or not set(map(str, own)) <= set(CAPABILITIES):
        raise DataError(
            f"the capabilities are {own!r}", where=row.where, remedy=f"there are {', '.join(CAPABILITIES)}"
        )
    return "_".join(capability for capability in CAPABILITIES if capability in own)


LLAVA_BENCH = Benchmark(
    "llava-bench",
    tuple(one.told for one in (QUESTIONS, CONTEXT, REFERENCE, BENCH_PICTURES)),
    _llava_bench,
    max_new_tokens=1024,
    judge="llava-bench",
)
MM_VET = Benchmark(
    "mm-vet",
    tuple(one.told for one in (VET, VET_PICTURES, VET_LLAVA)),
    _mm_vet,
    max_new_tokens=1024,
    judge="mm-vet",
)
