"""VQAv2, GQA, VizWiz, TextVQA and DocVQA: questions that a word or a few answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ImageEnhance, ImageFilter

from pumice.files import write_json
from pumice.generate.protocol import Turn
from pumice.score.words import submission_answer
from pumice.world.benchmarks.material import Material, Row, View, pick, save
from pumice.world.describe import NUMBER_WORDS, article

PEOPLE = 10
"""Who answer a question of VQA."""
OTHERWISE = 3
"""How many of them say it in another word at most: fewer than would make the usual one less than right."""
EACH = 3
"""Questions to a picture."""
UNANSWERABLE = 4
"""Every so manieth question of VizWiz cannot be answered."""

_SYNONYMS = {
    "purple": "violet",
    "center": "middle",
    "above": "on top",
    "below": "underneath",
    "circle": "disc",
    "cross": "plus",
    "small": "little",
    "large": "big",
}


def _otherwise(answer: str) -> str:
    """What somebody else calls the same; the answer itself where there is no other word."""
    if answer.isdecimal():
        return "none" if answer == "0" else NUMBER_WORDS[int(answer)]
    if " " in answer:
        return answer.replace("top", "upper").replace("bottom", "lower")
    return _SYNONYMS.get(answer, answer)


def _readable(sign: str) -> bool:
    """Whether VQA's processor leaves a sign's text as it is: of "A" nothing would be left."""
    return submission_answer(sign) == sign.lower()


def _people(answer: str, rng: np.random.Generator) -> list[str]:
    """Ten answers that mean the same, up to ``OTHERWISE`` of them in other words."""
    other = int(rng.integers(OTHERWISE + 1))
    answers = [_otherwise(answer) if number < other else answer for number in range(PEOPLE)]
    return [answers[i] for i in rng.permutation(PEOPLE)]


def _asked(material: Material, n: int, *kinds: str, existence: bool) -> Iterator[tuple[View, list[Turn]]]:
    """Views with a few questions each, ``n`` in all."""
    left = n
    for view in material.views():
        rng = view.rng("asked")
        turns = view.turns(*kinds)
        if existence:
            pairs = list(view.teacher.write(view.text, "existence"))
            turns = [*turns, *pick(rng, pairs, 1)]
        chosen = pick(rng, turns, min(EACH, left))
        if chosen:
            yield view, chosen
            left -= len(chosen)
        if not left:
            return


def write_vqav2(folder: Path, material: Material, n: int) -> int:
    """Write questions and annotations of VQAv2's validation set, as its authors name them."""
    questions: list[Row] = []
    annotations: list[Row] = []
    kinds = ("color", "shape", "size", "position", "relation", "count")
    for view, turns in _asked(material, n, *kinds, existence=True):
        image = view.number + 1
        save(view.picture(), folder / "val2014" / f"COCO_val2014_{image:012d}.jpg")
        for number, turn in enumerate(turns):
            own = {"image_id": image, "question_id": image * 1000 + number}
            truth = turn.answer.lower()
            questions.append({**own, "question": turn.question})
            answers = _people(truth, view.rng("people", str(number)))
            annotations.append(
                {
                    **own,
                    "question_type": " ".join(turn.question.lower().split()[:2]),
                    "answer_type": _answer_type(truth),
                    "multiple_choice_answer": truth,
                    "answers": [
                        {"answer": answer, "answer_confidence": "yes", "answer_id": person}
                        for person, answer in enumerate(answers, 1)
                    ],
                }
            )
    about = {"data_type": "mscoco", "data_subtype": "val2014"}
    write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {**about, "questions": questions})
    write_json(folder / "v2_mscoco_val2014_annotations.json", {**about, "annotations": annotations})
    return len(questions)


def _answer_type(answer: str) -> str:
    return "yes/no" if answer in ("yes", "no") else "number" if answer.isdecimal() else "other"


_STRUCTURE = {
    "color": ("query", "attr"),
    "size": ("query", "attr"),
    "shape": ("query", "cat"),
    "position": ("query", "rel"),
    "relation": ("query", "rel"),
    "existence": ("verify", "obj"),
}
"""Of each type of question the structural and the semantic type that GQA has for it."""


def write_gqa(folder: Path, material: Material, n: int) -> int:
    """Write GQA's balanced questions of testdev; it has none that count."""
    rows: dict[str, Row] = {}
    for view, turns in _asked(material, n, "color", "shape", "size", "position", "relation", existence=True):
        image = f"n{view.number + 1}"
        save(view.picture(), folder / "images" / f"{image}.jpg")
        for turn in turns:
            structural, semantic = _STRUCTURE[turn.type]
            truth = turn.answer.lower()
            rows[f"20{len(rows) + 1:07d}"] = {
                "question": turn.question,
                "answer": truth,
                "fullAnswer": _sentence(turn),
                "imageId": image,
                "isBalanced": True,
                "types": {"structural": structural, "semantic": semantic, "detailed": f"{turn.type}Query"},
                "groups": {"global": turn.type, "local": None},
            }
    write_json(folder / "testdev_balanced_questions.json", rows)
    return len(rows)


def _sentence(turn: Turn) -> str:
    if turn.type == "existence":
        name = turn.question.removeprefix("Is there ").removesuffix(" in the image?")
        return f"Yes, there is {name}." if turn.answer == "Yes" else f"No, there is not {name}."
    return f"It is {article(turn.answer) if turn.type == 'shape' else turn.answer}."


def write_vizwiz(folder: Path, material: Material, n: int) -> int:
    """Write VizWiz's validation set: a picture a question, some that cannot be answered.

    These ask for what is not there, or the picture is too blurred and too dark to see anything.
    """
    rows: list[Row] = []
    for view in material.views():
        if len(rows) == n:
            break
        rng = view.rng("vizwiz")
        kinds = ("color", "shape", "size", "position", "count", "sign")
        turns = [turn for turn in view.turns(*kinds) if _readable(turn.answer)]
        cannot = len(rows) % UNANSWERABLE == UNANSWERABLE - 1
        spoilt = cannot and (len(rows) // UNANSWERABLE % 2 == 1 or not view.missing)
        found = pick(rng, view.missing if cannot and not spoilt else turns, 1)
        if not found:
            continue
        turn, picture = found[0], view.picture()
        if spoilt:
            picture = ImageEnhance.Brightness(picture.filter(ImageFilter.GaussianBlur(40))).enhance(0.2)
        name = f"VizWiz_val_{len(rows):08d}.jpg"
        save(picture, folder / "val" / name)
        truth = "unanswerable" if cannot else turn.answer.lower()
        answers = _people(truth, rng)
        if cannot:
            answers = ["unsuitable" if spoilt and person < 2 else "unanswerable" for person in range(PEOPLE)]
        rows.append(
            {
                "image": name,
                "question": turn.question,
                "answers": [{"answer": answer, "answer_confidence": "yes"} for answer in answers],
                "answer_type": "unanswerable" if cannot else _answer_type(truth),
                "answerable": int(not cannot),
            }
        )
    write_json(folder / "val.json", rows)
    return len(rows)


def write_textvqa(folder: Path, material: Material, n: int) -> int:
    """Write TextVQA's validation set and its OCR tokens: what signs say.

    The tokens are what an OCR engine that reads without a fault would give: each sign whole.
    """
    rows: list[Row] = []
    tokens: list[Row] = []
    views = (view for view in material.views() if view.sign and _readable(view.sign))
    for view in views:
        if len(rows) == n:
            break
        image = f"{view.number + 1:016x}"
        picture = view.picture()
        save(picture, folder / "train_images" / f"{image}.jpg")
        rows.append(
            {
                "question_id": 34602 + len(rows),
                "question": "What does the sign say?",
                "question_tokens": ["what", "does", "the", "sign", "say"],
                "image_id": image,
                "image_width": picture.width,
                "image_height": picture.height,
                "image_classes": ["Sign"],
                "answers": [view.sign.lower()] * PEOPLE,
                "set_name": "val",
            }
        )
        tokens.append({"image_id": image, "ocr_tokens": [view.sign], "ocr_info": _ocr_info(view)})
    about = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    write_json(folder / "TextVQA_0.5.1_val.json", {**about, "data": rows})
    write_json(folder / "TextVQA_Rosetta_OCR_v0.2_val.json", {**about, "data": tokens})
    return len(rows)


def _ocr_info(view: View) -> list[Row]:
    """Where the sign's word stands, as fractions."""
    x1, y1, x2, y2 = next(thing.box for thing in view.scene.things if thing.text)
    box = {"top_left_x": x1, "top_left_y": y1, "width": round(x2 - x1, 3), "height": round(y2 - y1, 3)}
    return [{"word": view.sign, "bounding_box": {**box, "rotation": 0, "roll": 0, "pitch": 0, "yaw": 0}}]


def write_docvqa(folder: Path, material: Material, n: int) -> int:
    """Write DocVQA's validation set: signs again, but a letter that is read wrong costs a letter (ANLS)."""
    rows: list[Row] = []
    for view in material.views():
        if len(rows) == n:
            break
        if not view.sign:
            continue
        document = len(rows) + 1
        name = f"documents/sign{document:04d}_1.png"
        save(view.picture(), folder / name)
        rows.append(
            {
                "questionId": 49000 + document,
                "question": "What does the sign say?",
                "question_types": ["Image/Photo"],
                "image": name,
                "docId": document,
                "ucsf_document_id": f"sign{document:04d}",
                "ucsf_document_page_no": "1",
                "answers": [view.sign],
                "data_split": "val",
            }
        )
    about = {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": "val"}
    write_json(folder / "val_v1.0_withQT.json", {**about, "data": rows})
    return len(rows)
