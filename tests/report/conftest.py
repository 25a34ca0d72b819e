"""A synthetic run folder with every file a page can show."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pytest

from pumice.evaluate import Prompt, evaluate, read_questions, standard_variants

RECIPE = """\
# the smallest recipe
name: tiny
seed: 7
model:
  vision: pumice/world/parts/vision
  connector: mlp2x_gelu  # two layers
stages:
  - name: align
    trainable: [connector]
    learning_rate: 2.0e-3
  - name: instruct
    trainable: [connector, language]
    learning_rate: 1.0e-3
note: "<script>alert('recipe')</script>"
"""
COLOURS = {"red": "#c8372d", "blue": "#2d5fc8", "green": "#3a9a4b", "yellow": "#e0b92f", "purple": "#8446a8"}
SHAPES = ("circle", "square", "triangle")


class Scripted:
    """A predictor that looks the truth up and tells it with a given probability."""

    def __init__(
        self, name: str, truths: dict[str, tuple[str, str]], skill: float, hostile: str = ""
    ) -> None:
        self.name, self.truths, self.skill, self.hostile = name, truths, skill, hostile

    def predict(self, prompts: Sequence[Prompt]) -> list[str]:
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt: Prompt) -> str:
        truth, other = self.truths[prompt.text]
        seen = isinstance(prompt.images[0], Path) and prompt.text.startswith(prompt.images[0].stem)
        roll = random.Random(f"{self.name} {prompt.text}").random()
        return truth if roll < (self.skill if seen else 0.3) else self.hostile or other


def draw_scene(path: Path, rng: random.Random) -> list[tuple[str, str]]:
    image = PIL.Image.new("RGB", (112, 112), rng.choice(["#e9e4d8", "#d4dde3", "#2f3338"]))
    canvas = PIL.ImageDraw.Draw(image)
    objects: list[tuple[str, str]] = []
    for place in rng.sample([(8, 8), (62, 10), (10, 62), (60, 60)], rng.randint(1, 4)):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        x, y, side = *place, rng.randint(24, 42)
        box = (x, y, x + side, y + side)
        if shape == "circle":
            canvas.ellipse(box, COLOURS[colour])
        elif shape == "square":
            canvas.rectangle(box, COLOURS[colour])
        else:
            canvas.polygon([(x + side / 2, y), (x, y + side), (x + side, y + side)], COLOURS[colour])
        objects.append((colour, shape))
    image.save(path)
    return objects


def write_questions(folder: Path, pictures: int) -> tuple[Path, dict[str, tuple[str, str]]]:
    """A question file; texts begin with the picture's stem: a scripted predictor knows its own by it."""
    rng = random.Random(5)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    truths: dict[str, tuple[str, str]] = {}

    def ask(image: str, kind: str, text: str, answer: str, other: str, **more: Any) -> None:
        text = f"{image.removesuffix('.png')}: {text}\nAnswer the question using a single word or phrase."
        row = {"question_id": len(rows), "image": image, "text": text, "type": kind, "answer": answer}
        rows.append(row | more)
        truths[text] = (answer, other)

    for number in range(pictures):
        image = f"{number:05d}.png"
        objects = draw_scene(folder / image, rng)
        (colour, shape), count = objects[0], len(objects)
        colours, shapes = [c for c, _ in objects], [s for _, s in objects]
        other = rng.choice([c for c in COLOURS if c != colour])
        ask(image, "colour", f"What colour is the {shape}?", colour, other, present=colours)
        ask(image, "shape", f"What shape is the {colour} object?", shape, "star", present=shapes)
        ask(image, "count", "How many objects are there?", str(count), str(count + 1))
        sides = rng.choice((("yes", "no"), ("no", "yes")))
        ask(image, "relation", f"Is the {colour} {shape} left of the others?", *sides)
        for setting in ("random", "popular", "adversarial"):
            ask(image, "existence", f"Is there a {colour} object ({setting})?", "yes", "no", setting=setting)
            absent = "no", "Yes, there is."
            ask(image, "existence", f"Is there a {other} star ({setting})?", *absent, setting=setting)
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file, truths


def write_metrics(path: Path, stage: str, steps: int, start: float, end: float, grounding: bool) -> None:
    rng = random.Random(stage)
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        fall = end + (start - end) * math.exp(-4 * step / steps)
        scale = min(1, step / (0.03 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        lr = {"connector": 2e-3 * scale} | ({} if grounding else {"language": 1e-3 * scale})
        common = {"stage": stage, "step": step}
        train = {"kind": "train", "steps": steps, "loss": fall * rng.uniform(0.9, 1.1), "lr": lr}
        sizes = {"tokens": 4096, "supervised": 700, "images": 32, "seconds": 0.2}
        rows.append(common | train | {"grad_norm": 0.4 + fall * rng.uniform(0.3, 0.9)} | sizes)
        if step % (steps // 10) == 0:
            rows.append(common | {"kind": "validation", "loss": fall * 1.03, "supervised": 9000})
            if grounding:
                known = {
                    k: 1 - math.exp(-s * step / steps) for k, s in (("colour", 5), ("shape", 3), ("size", 2))
                }
                rows.append(common | {"kind": "grounding", "accuracy": known, "n": dict.fromkeys(known, 800)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(folder: Path, pictures: int = 40, hostile: str = "", steps: int = 400) -> Path:
    """A finished run of two stages, measured on ``pictures`` drawn scenes."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    counts = {"vision": 1_043_712, "connector": 86_592, "language": 2_705_088}
    stages = [
        {
            "name": name,
            "kind": name,
            "steps": steps,
            "seconds": 71.4 + 40 * i,
            "trainable": {k: v for k, v in counts.items() if k in trains},
            "frozen": {k: v for k, v in counts.items() if k not in trains},
            "model": f"stages/{name}/model",
        }
        for i, (name, trains) in enumerate(
            (("align", {"connector"}), ("instruct", {"connector", "language"}))
        )
    ]
    info = {
        "name": "tiny",
        "command": "pumice train tiny --out runs/tiny",
        "seed": 7,
        "created": "2026-01-02T10:11:12.345+00:00",
        "pumice": "0.1.0",
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "python": "3.11.9",
        "machine": "2 CPU cores, AMD EPYC, 16 GB",
        "status": "finished",
        "stages": stages,
        "parts": {
            "vision": {"path": "parts/vision", "class": "CLIPVisionModel", "sha256": "9f2c" * 16},
            "language": {"path": "parts/language", "class": "LlamaForCausalLM", "sha256": "51ab" * 16},
        },
        "final": "stages/instruct/model",
    }
    (folder / "run.json").write_text(json.dumps(info))
    names = ("captions", "conversation", "detail", "short answers", "existence", "false premises")
    sizes = (12000, 4000, 2000, 9000, 5000, 1000)
    mixture = [
        {
            "stage": "align" if i == 0 else "instruct",
            "source": name,
            "file": f"data/train/{name.replace(' ', '-')}.json",
            "rows": 15000,
            "kept": size,
            "samples": size,
            "images": size,
            "tokens": size * 60,
            "supervised_tokens": size * 14,
            "share": 1.0 if i == 0 else size / 21000,
        }
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    (folder / "mixture.json").write_text(json.dumps(mixture))
    write_metrics(folder / "stages/align/metrics.jsonl", "align", steps, 4.1, 1.1, True)
    write_metrics(folder / "stages/instruct/metrics.jsonl", "instruct", steps, 2.0, 0.3, False)
    file, truths = write_questions(folder / "data", pictures)
    tuned, aligned = Scripted("tuned", truths, 0.9, hostile), Scripted("aligned", truths, 0.45)
    evaluate(read_questions(file), standard_variants(tuned, aligned), folder / "eval")
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """``write_run`` into a fresh folder."""
    return lambda **options: write_run(tmp_path / "tiny", **options)
