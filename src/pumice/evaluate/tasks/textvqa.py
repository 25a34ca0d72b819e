"""TextVQA: questions about the words in a picture, with or without the words that a reader found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.data.checks import image_name
from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Choice, Loaded
from pumice.evaluate.tasks.collected import Collected, commonest
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import OCR, short
from pumice.score import Inputs
from pumice.score.answers import counted, row_id
from pumice.score.files import need as key_of
from pumice.score.files import object_rows, read, text_of
from pumice.score.vqa import people_of, prompt_question

_SOURCE = "TextVQA, textvqa.org/dataset"
QUESTIONS = Official(("TextVQA_0.5.1_val.json",), _SOURCE)
PICTURES = Official(("train_images", "train_val_images/train_images"), f"{_SOURCE}, train_val_images.zip")
LLAVA = Official(
    ("llava_textvqa_val_v051_ocr.jsonl",),
    "LLaVA, docs/Evaluation.md, eval.zip: the words that it was asked with",
)
ROSETTA = Official(("TextVQA_Rosetta_OCR_v0.2_val.json",), f"{_SOURCE}, Rosetta OCR tokens")

_Key = tuple[str, str]


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    questions, pictures = need(folder, "textvqa", (QUESTIONS, PICTURES))
    notes: list[str] = []
    prompts: dict[_Key, list[str]] | None = None
    tokens: dict[str, list[str]] | None = None
    if choices["ocr"] == "yes":
        llava, rosetta = LLAVA.find(folder), ROSETTA.find(folder)
        if llava is not None:
            prompts = _prompts(llava)
        elif rosetta is not None:
            tokens = _tokens(rosetta)
            notes.append("OCR tokens are those of Rosetta v0.2; LLaVA's own file differs in some")
        else:
            hint = f"or {ROSETTA.told}, or say --set textvqa.ocr=no to ask without such words"
            raise missing(folder, "textvqa", (QUESTIONS, PICTURES, LLAVA), hint)
    notes.append(
        "with OCR tokens in the prompt" if choices["ocr"] == "yes" else "no OCR tokens in the prompt"
    )
    samples = Collected()
    for _, row in object_rows(questions, "data", "question file"):
        name = key_of(row.value, "question_id", row.where)
        image = text_of(row.value, "image_id", row.where)
        question = text_of(row.value, "question", row.where)
        if prompts is not None:
            prompt = _taken(prompts, (image, question.lower()), row.where)
        elif tokens is not None:
            if image not in tokens:
                raise DataError(
                    f"no OCR tokens of the picture {image}",
                    where=row.where,
                    remedy=f"take {ROSETTA.names[0]} of the same split, whole",
                )
            prompt = textvqa_prompt(question, tokens[image])
        else:
            prompt = textvqa_prompt(question, None)
        samples.add(
            row_id(row),
            prompt,
            [pictures / image_name(f"{image}.jpg", row.where, "image_id")],
            {"question_id": name, "prompt": prompt},
            row.where,
            truth=commonest(people_of(row)),
        )
    if prompts is not None and (left := sum(map(len, prompts.values()))):
        raise DataError(
            f"{counted(left, 'prompt')} of LLaVA's file without a question",
            where=str(LLAVA.find(folder)),
            remedy=f"take it and {QUESTIONS.names[0]} as they were published, whole",
        )
    return Loaded(
        "textvqa",
        samples.done(questions),
        lambda answers: Inputs(answers, labels=questions),
        notes=tuple(notes),
    )


def textvqa_prompt(question: str, tokens: list[str] | None) -> str:
    """LLaVA's prompt: the question with a capital at its beginning, and a line of tokens unless None.

    A picture without a token has the line, too, with nothing in it.
    """
    text = question.capitalize()
    return short(text if tokens is None else f"{text}\n{OCR}{', '.join(tokens)}")


def _prompts(path: Path) -> dict[_Key, list[str]]:
    """The prompts of LLaVA's file by picture and question, in their order."""
    found: dict[_Key, list[str]] = {}
    for row in read(path, "question file"):
        prompt = text_of(row.value, "text", row.where)
        question = prompt_question(prompt, row.where).lower()
        found.setdefault((row_id(row), question), []).append(prompt)
    return found


def _taken(prompts: dict[_Key, list[str]], key: _Key, where: str) -> str:
    """The next prompt of a question; a picture may be asked the same twice."""
    if not prompts.get(key):
        raise DataError(
            f"LLaVA's file does not ask {key[1]!r} of the picture {key[0]}",
            where=where,
            remedy=f"take {LLAVA.names[0]} as it was published, whole, or take it away",
        )
    return prompts[key].pop(0)


def _tokens(path: Path) -> dict[str, list[str]]:
    found = {}
    for _, row in object_rows(path, "data", "file of OCR tokens"):
        tokens = key_of(row.value, "ocr_tokens", row.where)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DataError(
                "ocr_tokens is no list of texts", where=row.where, remedy="take the file as it was published"
            )
        found[text_of(row.value, "image_id", row.where)] = tokens
    return found


TEXTVQA = Benchmark(
    "textvqa",
    tuple(one.told for one in (QUESTIONS, PICTURES, LLAVA, ROSETTA)),
    _load,
    choices=(
        Choice("ocr", ("yes", "no"), "whether the prompt has the words that an OCR system read, as in 1.5"),
    ),
)
