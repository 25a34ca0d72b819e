"""A task of a few questions on plain pictures, and answerers without a model, for tests of the asking."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from pumice.errors import DataError
from pumice.evaluate.answers import Said
from pumice.evaluate.results import ModelRecord
from pumice.evaluate.samples import Benchmark, Choice, Loaded, Sample
from pumice.score import Inputs

QUESTIONS, LABELS = "questions.jsonl", "coco_pope_random.json"
COLOURS = ("red", "blue", "green")


def write_task(folder: Path, pictures: int = 4) -> Path:
    """POPE's files of two questions to each of some plain pictures: the first is yes, the second no."""
    folder.mkdir(parents=True, exist_ok=True)
    questions, labels = [], []
    for number in range(pictures):
        colour, other = COLOURS[number % 3], COLOURS[(number + 1) % 3]
        PIL.Image.new("RGB", (32 + number, 24), colour).save(folder / f"{number}.png")
        for asked, truth in ((colour, "yes"), (other, "no")):
            text = f"Is there anything {asked} in the image?"
            row = {
                "question_id": len(questions),
                "image": f"{number}.png",
                "text": text,
                "category": "random",
            }
            questions.append(row)
            labels.append({"question_id": len(labels), "text": text, "label": truth})
    for name, rows in ((QUESTIONS, questions), (LABELS, labels)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of ``write_task``."""
    if not (folder / QUESTIONS).is_file():
        raise DataError("there is no question file", where=str(folder / QUESTIONS), remedy="write it")
    rows = [json.loads(line) for line in (folder / QUESTIONS).read_text("utf-8").splitlines()]
    labels = [json.loads(line) for line in (folder / LABELS).read_text("utf-8").splitlines()]
    samples = [
        Sample(
            f"q{row['question_id']}",
            row["text"] + (" Answer yes or no." if choices.get("short") == "yes" else ""),
            (folder / row["image"],),
            {"question_id": row["question_id"], "prompt": row["text"]},
            label["label"],
            row["category"],
        )
        for row, label in zip(rows, labels, strict=True)
    ]
    made = Inputs(questions=folder / QUESTIONS, labels=folder / LABELS)
    return Loaded(
        "pope",
        tuple(samples),
        lambda file: Inputs(file, made.questions, made.labels),
        ("Yes", "No"),
        ("a note",),
    )


SMALL = Benchmark(
    "pope", (QUESTIONS,), load, 4, (Choice("short", ("yes", "no"), "whether a short answer is asked for"),)
)


class Telling:
    """Answers by a rule, one question after the other, and keeps what it was asked."""

    def __init__(self, rule: Callable[[Sample], str], name: str = "telling", digest: str = "") -> None:
        self.rule, self.name, self.digest = rule, name, digest
        self.asked: list[tuple[str, bool]] = []
        self.readied = 0
        self.settings: dict[str, Any] = {"template": None}

    @property
    def model(self) -> ModelRecord:
        return ModelRecord(kind="local", name=self.name, digest=self.digest)

    def ready(self) -> None:
        self.readied += 1

    def answers(
        self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
    ) -> Iterator[tuple[int, Said]]:
        for place in reversed(range(len(samples))):  # in any order: here the last one first
            self.asked.append((samples[place].id, blind))
            yield place, Said(self.rule(samples[place]))

    def remarks(self, asked: int) -> tuple[str, ...]:
        return ()


def truly(sample: Sample) -> str:
    """The right answer."""
    return sample.truth
