"""LLaVA-Bench and MM-Vet: questions whose answers a judge reads."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from pumice.files import write_json
from pumice.generate.protocol import Kind
from pumice.world.benchmarks.material import Material, Row, pick, save

_CATEGORIES: tuple[tuple[str, Kind], ...] = (
    ("conv", "conversation"),
    ("detail", "detail"),
    ("complex", "reasoning"),
)
"""LLaVA-Bench's categories, and what the teacher writes for each: the kinds of its instruction data."""


def write_llava_bench(folder: Path, material: Material, n: int) -> int:
    """Write questions, contexts, reference answers and pictures of LLaVA-Bench.

    Contexts are captions, and the reference's answers are the teacher's, who saw captions and boxes.
    """
    questions: list[Row] = []
    answers: list[Row] = []
    contexts: list[Row] = []
    for view in islice(material.views(), max(1, round(n / len(_CATEGORIES)))):
        name = f"{view.number + 1:03d}.jpg"
        save(view.picture(), folder / "images" / name)
        contexts.append({"id": f"{view.number + 1:03d}", "image": name, "caption": view.text.captions[0]})
        for category, kind in _CATEGORIES:
            for turn in pick(view.rng("bench", kind), view.teacher.write(view.text, kind), 1):
                own = {"question_id": len(questions), "category": category}
                questions.append({**own, "image": name, "text": turn.question})
                answers.append({**own, "prompt": turn.question, "text": turn.answer, "model_id": "teacher"})
    for file, rows in (("questions", questions), ("answers_gpt4", answers), ("context", contexts)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    return len(questions)


_CAPABILITIES = {
    "color": ["rec"],
    "shape": ["rec"],
    "size": ["rec"],
    "position": ["rec", "spat"],
    "relation": ["rec", "spat"],
    "sign": ["ocr"],
    "count": ["rec", "math"],
}
"""MM-Vet's capabilities that each type of question takes."""


def write_mm_vet(folder: Path, material: Material, n: int) -> int:
    """Write ``mm-vet.json`` and its pictures."""
    rows: dict[str, Row] = {}
    kinds = list(_CAPABILITIES)
    for view in material.views():
        if len(rows) == n:
            break
        kind = kinds[len(rows) % len(kinds)]
        for turn in pick(view.rng("vet"), view.turns(kind), 1):
            number = len(rows)
            save(view.picture(), folder / "images" / f"v1_{number}.png")
            rows[f"v1_{number}"] = {
                "imagename": f"v1_{number}.png",
                "question": turn.question,
                "answer": turn.answer,
                "imagesource": "pumice world",
                "capability": _CAPABILITIES[kind],
            }
    write_json(folder / "mm-vet.json", rows)
    return len(rows)
