"""ScienceQA, MMBench in two languages, SEED-Bench and MMStar: questions with options."""

from __future__ import annotations

import base64
import csv
import importlib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pumice.files import write_json
from pumice.generate.protocol import Turn
from pumice.world.benchmarks.chinese import chinese_options, chinese_question
from pumice.world.benchmarks.material import LETTERS, Material, Row, View, encoded, options_of, pick, save
from pumice.world.describe import article

TEXT_ALONE = 4
"""Every so manieth problem of ScienceQA has no picture."""
ROTATIONS = 1_000_000

_CORNERS = {"triangle": 3, "square": 4, "star": 10, "cross": 12}
_LECTURE = "Things are told apart by their outline, their color and their size."
_KINDS = ("color", "shape", "size", "position", "relation", "count")


def _chosen(material: Material, n: int, *kinds: str) -> Iterator[tuple[View, Turn]]:
    """``n`` questions, each of another picture, the types in turn."""
    made = 0
    for view in material.views():
        if made == n:
            return
        turns = view.turns(kinds[made % len(kinds)])
        if turns:
            yield view, pick(view.rng("chosen"), turns, 1)[0]
            made += 1


# ScienceQA


def write_scienceqa(folder: Path, material: Material, n: int) -> int:
    """Write ``problems.json``, its splits and the pictures of its test split."""
    problems: dict[str, Row] = {}
    questions = _chosen(material, n, *_KINDS)
    alone = _without_picture()
    for number in range(n):
        view, turn = next(questions)
        name = str(number + 1)
        rng = view.rng("science")
        pictured = number % TEXT_ALONE != TEXT_ALONE - 1
        if pictured:
            question, said = turn.question, f"The answer can be seen: {turn.answer}."
            options, right = options_of(turn, rng, 4)
            save(view.picture(), folder / "images" / "test" / name / "image.png")
        else:
            question, options, right, said = next(alone)(rng)
        problems[name] = {
            "question": question,
            "choices": options,
            "answer": right,
            "hint": "Look at the picture." if pictured else "",
            "image": "image.png" if pictured else None,
            "task": "closed choice",
            "grade": "grade2",
            "subject": "natural science",
            "topic": "physics",
            "category": "Properties of shapes",
            "skill": "Tell shapes apart",
            "lecture": _LECTURE,
            "solution": said,
            "split": "test",
        }
    write_json(folder / "problems.json", problems)
    splits = {"train": [], "val": [], "trainval": [], "test": list(problems)}
    write_json(folder / "pid_splits.json", {**splits, "minival": [], "minitest": []})
    return len(problems)


class _Corners:
    """Which of four shapes has so many corners?"""

    def __init__(self, shape: str) -> None:
        self.shape = shape

    def __call__(self, rng: np.random.Generator) -> tuple[str, list[str], int, str]:
        options = [list(_CORNERS)[i] for i in rng.permutation(len(_CORNERS))]
        corners = _CORNERS[self.shape]
        said = f"{article(self.shape).capitalize()} has {corners} corners."
        return f"Which of these shapes has {corners} corners?", options, options.index(self.shape), said


class _More:
    """Which of two shapes has more corners?"""

    def __init__(self, first: str, second: str) -> None:
        self.pair = [first, second]

    def __call__(self, rng: np.random.Generator) -> tuple[str, list[str], int, str]:
        options = [self.pair[i] for i in rng.permutation(2)]
        most = max(options, key=lambda shape: _CORNERS[shape])
        said = f"{article(most).capitalize()} has {_CORNERS[most]} corners, the other fewer."
        return "Which of these shapes has more corners?", options, options.index(most), said


def _without_picture() -> Iterator[_Corners | _More]:
    """Questions that need no picture, over and over."""
    while True:
        yield from (_Corners(shape) for shape in _CORNERS)
        yield from (_More(*pair) for pair in combinations(_CORNERS, 2))


# MMBench

_HEAD = (
    "index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category",
    "comment", "split",
)  # fmt: skip
_CATEGORIES = {
    "color": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "shape": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "size": ("attribute_comparison", "finegrained_perception (cross-instance)"),
    "position": ("object_localization", "finegrained_perception (instance-level)"),
    "relation": ("spatial_relationship", "finegrained_perception (cross-instance)"),
    "count": ("object_localization", "finegrained_perception (instance-level)"),
}
"""Of each type of question both levels of MMBench's categories."""


def write_mmbench(folder: Path, material: Material, n: int) -> int:
    """Write the table of MMBench's dev split, pictures in base64."""
    return _mmbench(folder / "mmbench_dev_20230712.tsv", material, n, chinese=False)


def write_mmbench_cn(folder: Path, material: Material, n: int) -> int:
    """Write the same in Chinese."""
    return _mmbench(folder / "mmbench_dev_cn_20231003.tsv", material, n, chinese=True)


def _mmbench(path: Path, material: Material, n: int, *, chinese: bool) -> int:
    rows = []
    for number, (view, turn) in enumerate(_chosen(material, n, *_KINDS)):
        options, right = options_of(turn, view.rng("mmbench"), 4)
        category, wider = _CATEGORIES[turn.type]
        question = chinese_question(turn.question) if chinese else turn.question
        shown = chinese_options(options) if chinese else options
        rows.append(
            {
                "index": number,
                "question": question,
                "hint": "",
                **dict(zip(LETTERS, [*shown, *[""] * (4 - len(shown))], strict=True)),
                "answer": LETTERS[right],
                "category": category,
                "image": base64.b64encode(encoded(view.picture())).decode(),
                "source": "pumice world",
                "l2-category": wider,
                "comment": "",
                "split": "dev",
            }
        )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _HEAD, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


# SEED-Bench

_TYPES = {
    "Scene Understanding": 1,
    "Instance Identity": 2,
    "Instance Attributes": 3,
    "Instance Location": 4,
    "Instances Counting": 5,
    "Spatial Relation": 6,
    "Instance Interaction": 7,
    "Visual Reasoning": 8,
    "Text Understanding": 9,
}
"""SEED-Bench's types of questions on pictures."""
_TYPE_OF = {
    "color": "Instance Attributes",
    "shape": "Instance Identity",
    "size": "Instance Attributes",
    "position": "Instance Location",
    "relation": "Spatial Relation",
    "count": "Instances Counting",
}


def write_seed(folder: Path, material: Material, n: int) -> int:
    """Write ``SEED-Bench.json`` and its pictures; sizes have three options in all and are not asked."""
    rows: list[Row] = []
    kinds = tuple(kind for kind in _KINDS if kind != "size")
    for view, turn in _chosen(material, n, *kinds):
        options, right = options_of(turn, view.rng("seed"), 4)
        name = f"{view.number + 1:07d}_{view.scene.backdrop:010d}"
        target = folder / "SEED-Bench-image" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded(view.picture()))  # names of its pictures have no ending
        rows.append(
            {
                "question_id": str(len(rows)),
                "question": turn.question,
                "question_type_id": _TYPES[_TYPE_OF[turn.type]],
                **{f"choice_{letter.lower()}": o for letter, o in zip(LETTERS, options, strict=True)},
                "answer": LETTERS[right],
                "data_id": name,
                "data_type": "image",
            }
        )
    write_json(folder / "SEED-Bench.json", {"question_type": _TYPES, "questions": rows})
    return len(rows)


# MMStar

_STAR = {
    "color": ("fine-grained perception", "attribute & celebrity recognition"),
    "shape": ("fine-grained perception", "object recognition"),
    "size": ("instance reasoning", "single-instance reasoning"),
    "position": ("fine-grained perception", "localization"),
    "relation": ("instance reasoning", "cross-instance relation reasoning"),
    "count": ("fine-grained perception", "object counting"),
}


def write_mmstar(folder: Path, material: Material, n: int) -> int:
    """Write ``mmstar.parquet``: options inside the question, pictures inside the table. Needs pyarrow."""
    pyarrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    rows: list[Row] = []
    for number, (view, turn) in enumerate(_chosen(material, n, *_KINDS)):
        options, right = options_of(turn, view.rng("mmstar"), 4)
        listed = ", ".join(f"{letter}: {option}" for letter, option in zip(LETTERS, options, strict=False))
        category, finer = _STAR[turn.type]
        rows.append(
            {
                "index": number,
                "question": f"{turn.question}\nOptions: {listed}",
                "image": encoded(view.picture()),
                "answer": LETTERS[right],
                "category": category,
                "l2_category": finer,
                "meta_info": {
                    "source": "pumice world",
                    "split": "test",
                    "image_path": f"images/{number}.jpg",
                },
            }
        )
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "mmstar.parquet")
    return len(rows)
