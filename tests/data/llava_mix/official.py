"""Small stand-ins of the official files of LLaVA-1.5's sources, in their layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(folder: Path, files: dict[str, Any]) -> None:
    """Write JSON files by their path below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def turn(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}


def vqa(rows: list[tuple[int, int, str, list[str]]], *, v2: bool) -> tuple[Any, Any]:
    """Questions and annotations of (question, image, words, ten answers)."""
    info = {"description": "stand-in", "version": "2.0"}
    questions = [{"image_id": image, "question": words, "question_id": q} for q, image, words, _ in rows]
    annotations = []
    for q, image, _, answers in rows:
        given = [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers, 1)]
        annotation: dict[str, Any] = {"image_id": image, "question_id": q, "answers": given}
        if v2:
            annotation |= {"multiple_choice_answer": max(answers, key=answers.count), "answer_type": "other"}
        else:
            for answer in given:
                answer["raw_answer"] = f"{answer['answer']}ing"
        annotations.append(annotation)
    head = {"info": info, "license": {}, "data_subtype": "train2014"}
    return {**head, "questions": questions}, {**head, "annotations": annotations}


INSTRUCT = [
    {
        "id": "000000033471",
        "image": "000000033471.jpg",
        "conversations": [turn("human", "What are they?\n<image>"), turn("gpt", "The bus is white.")],
    }
]
SHAREGPT = [
    {"id": "whole", "conversations": [turn("human", "Hi there"), turn("gpt", "Ho")]},
    {
        "id": "late",
        "conversations": [
            turn("gpt", "I go on"),
            turn("human", "Why ?"),
            turn("gpt", "So"),
            turn("human", "And ?"),
        ],
    },
    {"id": "long", "conversations": [turn("human", "a b"), turn("gpt", "c " * 1000)] * 5},
    {"id": "too-long", "conversations": [turn("human", "a"), turn("gpt", "c " * 3000)]},
    {
        "id": "twice",
        "conversations": [turn("human", "a"), turn("human", "b"), turn("gpt", "c"), turn("gpt", "d")],
    },
    {"id": "empty", "conversations": []},
    {"id": "blank", "conversations": [turn("human", "a"), turn("gpt", " ")]},
    {"id": "tag", "conversations": [turn("human", "an <image>"), turn("gpt", "c")]},
    {"id": "tool", "conversations": [turn("human", "a"), turn("tool", "c")]},
]
VQAV2 = vqa(
    [
        (262148000, 262148, "Where is he looking?", ["down"] * 7 + ["at table"] * 3),
        (262148001, 262148, "What war is it?", ["civil war"] * 10),
        (393225000, 393225, "How many cows are there?", ["2"] * 10),
    ],
    v2=True,
)
OKVQA = vqa(
    [
        (510695, 51606, "What hairstyle is it?", ["pony tail"] * 6 + ["braid"] * 4),
        (510696, 81721, "How old is she?", ["old", "older", "older", "old"]),
    ],
    v2=False,
)
GQA = {
    "02930152": {"imageId": "2354786", "question": "Is the sky dark?", "answer": "yes", "isBalanced": True},
    "07333408": {
        "imageId": "n161313",
        "question": "What is on the wall?",
        "answer": "pipe",
        "fullAnswer": "A pipe.",
    },
    "07333405": {"imageId": "2354786", "question": "Is the sky light blue?", "answer": "light blue"},
}
OCRVQA = {
    "761183272": {
        "imageURL": "http://example.org/a.jpg",
        "split": 1,
        "title": "Mom's Family Wall Calendar",
        "questions": ["Who wrote this book?", "Is this a games related book?"],
        "answers": ["Sandra Boynton", "No"],
    },
    "1501119133": {"split": 1, "questions": ["What is the title?"], "answers": ["The McDougall Plan"]},
    "held-out": {"split": 3, "questions": ["What is the title?"], "answers": ["A Test"]},
    "uneven": {"split": 1, "questions": ["What is the title?", "Who?"], "answers": ["A Test"]},
}
AOKVQA = [
    {
        "split": "train",
        "image_id": 299207,
        "question_id": "22MexNkBPpdZGX6sxbxVBH",
        "question": "What is the man awaiting?",
        "choices": ["skateboarder", "train", "delivery", "cab"],
        "correct_choice_idx": 3,
        "direct_answers": ["ride"] * 10,
        "rationales": ["a", "b", "c"],
    },
    {
        "split": "train",
        "image_id": 299207,
        "question_id": "2",
        "question": "Where is he?",
        "choices": ["street", "sea", "sky", "moon"],
        "correct_choice_idx": 0,
        "rationales": [],
    },
]
TEXTCAPS = {
    "dataset_name": "textcaps",
    "data": [
        {"image_id": "a1", "caption_str": "A bottle of shampoo.", "reference_strs": ["A bottle of shampoo."]},
        {"image_id": "a1", "caption_str": "Another caption of it."},
        {"image_id": "b2", "caption_str": "a red can"},
    ],
}
ROSETTA = {"data": [{"image_id": "a1", "ocr_tokens": ["aussie", "moist"], "ocr_info": []}]}
INSTANCES = {
    "images": [{"id": 581857, "width": 640, "height": 427, "file_name": "COCO_train2014_000000581857.jpg"}],
    "annotations": [
        {"id": 1719310, "image_id": 581857, "bbox": [103.93, 299.99, 134.22, 177.42], "category_id": 1},
        {"id": 1719311, "image_id": 581857, "bbox": [0, 0, 640, 427], "category_id": 1},
    ],
    "categories": [],
}


def ref(ann_id: int, *sentences: str, split: str = "train") -> dict[str, Any]:
    return {
        "ref_id": ann_id,
        "ann_id": ann_id,
        "image_id": 581857,
        "split": split,
        "file_name": f"COCO_train2014_000000581857_{ann_id}.jpg",
        "sentences": [{"sent": words, "raw": words.upper(), "tokens": words.split()} for words in sentences],
    }


CAPTIONED = {
    "info": [],
    "images": [
        {
            "id": 0,
            "original_id": 581857,
            "file_name": "COCO_train2014_000000581857.jpg",
            "width": 640,
            "height": 427,
            "caption": "the lady with the blue shirt",
            "dataset_name": "refcocog",
        }
    ],
    "annotations": [
        {"id": 0, "image_id": 0, "original_id": 1719310, "bbox": [103.93, 299.99, 134.22, 177.42]}
    ],
}
VG_REGIONS = [
    {
        "id": 1,
        "regions": [
            {
                "region_id": i,
                "image_id": 1,
                "x": 10 * i,
                "y": 30,
                "width": 40,
                "height": 50,
                "phrase": f"the Clock {i}.",
            }
            for i in range(14)
        ],
    },
    {"id": 2, "regions": [{"image_id": 2, "x": 5, "y": 5, "width": 0, "height": 0, "phrase": "nothing"}]},
    {"id": 3, "regions": []},
]
VG_IMAGES = [
    {"image_id": 1, "url": "https://example.org/rak248/VG_100K_2/1.jpg", "width": 800, "height": 600},
    {"image_id": 2, "url": "https://example.org/rak248/VG_100K/2.jpg", "width": 100, "height": 100},
]


def write_all(folder: Path) -> None:
    """All ten sources."""
    refs = {
        "refcoco": [ref(1719310, "woman left", "blue shirt lady"), ref(1719311, "hidden", split="testA")],
        "refcoco+": [
            ref(1719311, "the whole picture", "man with a phone", *[f"thing {i}" for i in range(10)])
        ],
    }
    write(
        folder,
        {
            "instruct/llava_instruct_150k.json": INSTRUCT,
            "sharegpt/sharegpt.json": SHAREGPT,
            "vqav2/v2_OpenEnded_mscoco_train2014_questions.json": VQAV2[0],
            "vqav2/v2_mscoco_train2014_annotations.json": VQAV2[1],
            "gqa/train_balanced_questions.json": GQA,
            "okvqa/OpenEnded_mscoco_train2014_questions.json": OKVQA[0],
            "okvqa/mscoco_train2014_annotations.json": OKVQA[1],
            "ocrvqa/dataset.json": OCRVQA,
            "aokvqa/aokvqa_v1p0_train.json": AOKVQA,
            "textcaps/TextCaps_0.1_train.json": TEXTCAPS,
            "textcaps/TextVQA_Rosetta_OCR_v0.2_train.json": ROSETTA,
            "refcoco/refcoco/instances.json": INSTANCES,
            "refcoco/refcoco/refs(unc).json": refs["refcoco"],
            "refcoco/refcoco+/instances.json": INSTANCES,
            "refcoco/refcoco+/refs(unc).json": refs["refcoco+"],
            "refcoco/refcocog/finetune_refcocog_train.json": CAPTIONED,
            "vg/region_descriptions.json": VG_REGIONS,
            "vg/image_data.json": VG_IMAGES,
        },
    )
