"""A dozen coloured pictures, tiny random parts and a recipe of two short stages."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from pumice.errors import RunError
from pumice.model import VisionLanguageModel
from pumice.model.build import build_model
from pumice.model.geometry import model_geometry
from pumice.recipes import load_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.train.dataset import StageData
from pumice.train.losses import Context
from pumice.train.optim import freeze
from pumice.train.pictures import Pictures
from pumice.train.prepare import prepare
from pumice.train.reference import REFERENCE, read_references
from pumice.train.remember import Budget
from pumice.train.run import RENDERED_BYTES, Parts, train
from pumice.train.stage import StageRun
from pumice.train.validate import Validator

SIDE = 32
SOURCES = ("align", "instruct", "align_val", "instruct_val", "prefer", "prefer_val")


def make_parts(folder: Path) -> Parts:
    """A random CLIP, and a random Llama in whose tokenizer common words are one token each."""
    from ..model import parts as make  # here: as a program (below) this file has no neighbours

    vision = make.make_vision(folder / "vision")
    torch.manual_seed(1)
    tokenizer = make.make_tokenizer(420)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    make._spread(model)
    model.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    return Parts(vision, folder / "language")


def picture(path: Path, number: int) -> dict[str, Any]:
    """One square in one quarter, red or blue; returns its region."""
    colour = ("red", "blue")[number % 2]
    x, y = (number // 2) % 2 * 16, (number // 4) % 2 * 16
    image = Image.new("RGB", (SIDE, SIDE), (200, 200 - 4 * number, 190))
    ImageDraw.Draw(image).rectangle((x, y, x + 15, y + 15), fill=colour)
    image.save(path)
    box = [x / SIDE, y / SIDE, (x + 16) / SIDE, (y + 16) / SIDE]
    return {"bbox": box, "phrase": f"{colour} square"}


def talk(*turns: str) -> list[dict[str, str]]:
    """LLaVA's conversation of alternating turns."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)]


def make_data(folder: Path, pictures: int = 12) -> Path:
    """Captions with regions, conversations (two rows without a picture among them) and held-out rows."""
    folder.mkdir(parents=True, exist_ok=True)
    captions: list[dict[str, Any]] = []
    chats: list[dict[str, Any]] = []
    for number in range(pictures):
        region = picture(folder / f"{number}.png", number)
        colour = region["phrase"].split()[0]
        row = {"id": str(number), "image": f"{number}.png"}
        captions.append({**row, "conversations": talk("<image>", f"a {colour} square"), "regions": [region]})
        ask = f"What colour is the square ?{' a b c d' * (number % 3)}\n<image>"
        chats.append({**row, "conversations": talk(ask, f"It is {colour} .", "How many ?", "a square")})
    for number in range(2):
        chats.append({"id": f"t{number}", "conversations": talk("How many circles are there ?", "a b c")})
    held_out = [captions.pop() for _ in range(4)], [chats.pop(8) for _ in range(4)]
    for name, rows in (
        ("align", captions),
        ("instruct", chats),
        ("align_val", held_out[0]),
        ("instruct_val", held_out[1]),
    ):
        write_rows(folder / f"{name}.json", rows)
    return folder


def make_pairs(folder: Path, pictures: int = 12) -> Path:
    """Pairs of answers about pictures (and two without one), in ``prefer.json``, and held-out ones.

    The colour of the chosen answer is the picture's; the rejected ones are longer and shorter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(pictures):
        colours = ("red", "blue")[:: 1 if number % 2 == 0 else -1]
        picture(folder / f"{number}.png", number)
        ask = f"What colour is the square ?{' a b c d' * (number % 3)}"
        answers = {
            "chosen": f"It is {colours[0]} .",
            "rejected": f"It is {colours[1]} ." + " a" * (number % 2),
        }
        rows.append({"id": str(number), "image": f"{number}.png", "prompt": ask, **answers})
    for number in range(2):
        answers = {"chosen": "a b c", "rejected": "many circles"}
        rows.append({"id": f"t{number}", "prompt": f"How many circles are there ?{' a' * number}", **answers})
    write_rows(folder / "prefer_val.json", [rows.pop(8) for _ in range(3)])
    write_rows(folder / "prefer.json", rows)
    return folder


def prefer(**changes: Any) -> dict[str, Any]:
    """A stage on pairs that trains the connector and the language model."""
    return {
        "name": "prefer",
        "kind": "prefer",
        "sources": ["prefer"],
        "lr": {"connector": 0.003, "language": 0.001},
        "steps": 6,
        "row_length": 160,
        "rows_per_step": 2,
        "precision": "fp32",
        "checkpoint_every": 2,
        "keep": 1,
        "validation": {"source": "prefer_val", "every": 2},
        **changes,
    }


def write_rows(path: Path, rows: Any) -> None:
    """A data file."""
    path.write_text(json.dumps(rows), encoding="utf-8")


def align(**changes: Any) -> dict[str, Any]:
    """A stage on captions that trains the connector."""
    return {
        "name": "align",
        "kind": "align",
        "sources": ["align"],
        "template": "plain",
        "lr": {"connector": 0.01},
        "steps": 3,
        "row_length": 128,
        "rows_per_step": 1,
        "precision": "fp32",
        "validation": {"source": "align_val"},
        **changes,
    }


def instruct(**changes: Any) -> dict[str, Any]:
    """A stage on conversations that trains the connector and the language model."""
    return {
        "name": "instruct",
        "kind": "instruct",
        "sources": ["instruct"],
        "lr": {"connector": 0.01, "language": 0.003},
        "steps": 6,
        "row_length": 160,
        "rows_per_step": 2,
        "precision": "fp32",
        "checkpoint_every": 2,
        "keep": 1,
        "validation": {"source": "instruct_val", "every": 2},
        **changes,
    }


def make_recipe(data: Path, *stages: dict[str, Any], seed: int = 3) -> Recipe:
    """A recipe of these stages (``align`` and ``instruct`` if none are given)."""
    names = [n for n in SOURCES if (data / f"{n}.json").is_file()]
    value: dict[str, Any] = {
        "name": "toy",
        "seed": seed,
        "model": {"vision": "vision", "language": "language", "template": "tiny"},
        "data": {name: {"file": str(data / f"{name}.json"), "images": str(data)} for name in names},
        "stages": copy.deepcopy(stages or (align(), instruct())),
    }
    return Recipe.model_validate(value)


@dataclass
class Watch:
    """An observer that keeps what it is told, and does something after a step."""

    after: Callable[[dict[str, Any]], None] = lambda row: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def on_step(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.after(row)

    def on_validation(self, row: dict[str, Any]) -> None:
        self.measured.append(row)

    def on_check(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        self.stages.append(summary)

    def on_damaged(self, error: RunError, step: int) -> None:
        self.damaged.append(step)

    def on_notice(self, text: str) -> None:
        self.notices.append(text)

    def on_resume(self, row: dict[str, Any]) -> None:
        self.resumed.append(row)

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        self.skipped.append(stage.name)

    def on_saved(self, stage: Stage, folder: Path) -> None:
        self.saved.append(folder)


def run(recipe: Recipe, folder: Path, parts: Parts, watch: Watch | None = None, **options: Any) -> Path:
    """Train; the folder of the final model."""
    return train(recipe, folder, parts, watch or Watch(), command="test", **options)


def weights(folder: Path) -> bytes:
    """The bytes of a model's weights."""
    return (folder / "model.safetensors").read_bytes()


def saved_weights(state: Path) -> dict[str, torch.Tensor]:
    """The trained weights of a state that one rank saved."""
    (file,) = state.glob("*.safetensors")
    lead = "weights/"
    return {name.removeprefix(lead): t for name, t in load_file(file).items() if name.startswith(lead)}


def metrics(folder: Path, stage: str) -> list[dict[str, Any]]:
    """A stage's rows, without the fields that the machine decides."""
    lines = (folder / "stages" / stage / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "memory")} for line in lines]


def learnt(folder: Path, stage: str) -> list[dict[str, Any]]:
    """The same without what it cost: equal for two ways of computing one result."""
    return [{k: v for k, v in row.items() if k not in ("flops", "places")} for row in metrics(folder, stage)]


def killer(stage: str, step: int) -> Callable[[dict[str, Any]], None]:
    """Kills this very process, with no chance to clean up, after a step."""

    def after(row: dict[str, Any]) -> None:
        if (row["stage"], row["step"]) == (stage, step):
            os.kill(os.getpid(), signal.SIGKILL)

    return after


@dataclass(frozen=True)
class Bench:
    """A new model and a stage that is ready to start."""

    model: VisionLanguageModel
    data: StageData
    context: Context
    run: StageRun
    validator: Validator


def bench(data: Path, parts: Parts, folder: Path, stage: dict[str, Any]) -> Bench:
    """What ``train`` has in hand before the first step of a stage."""
    recipe = make_recipe(data, stage)
    model, tokenizer, processor = build_model(parts.vision, parts.language, template="tiny", seed=recipe.seed)
    pictures = Pictures(model_geometry(model.config, model.tower, processor.with_mode("pad")))
    budget = Budget(RENDERED_BYTES)
    ready = prepare(recipe, recipe.stages[0], model, tokenizer, pictures, Watch(), budget)
    assert ready.validation is not None
    context = Context(recipe.stages[0], pictures, ready.position_ids_4)
    validator = Validator(ready.validation, range(len(ready.validation.samples)), context)
    freeze(model, recipe.stages[0])
    if stage["kind"] == "prefer":
        folder.mkdir(parents=True, exist_ok=True)
        read_references(model, ready, validator, context, folder / REFERENCE, Watch().on_check)
    run = StageRun(
        context, folder, ready.plan, ready.data, ready.lengths, validator, recipe.seed, lambda: False
    )
    return Bench(model, ready.data, context, run, validator)


if __name__ == "__main__":
    # FOLDER PARTS DATA STAGE STEP [RECIPE]: train, or go on, and be killed on the way; without a recipe's
    # file both stages, or a stage of kind prefer alone.
    folder, parts, data = (Path(word) for word in sys.argv[1:4])
    torch.set_num_threads(1)
    given = [load_recipe(word, variables={}) for word in sys.argv[6:]]
    run(
        given[0] if given else make_recipe(data, *([prefer()] if sys.argv[4] == "prefer" else [])),
        folder,
        Parts(parts / "vision", parts / "language"),
        Watch(killer(sys.argv[4], int(sys.argv[5]))),
        resume=(folder / "run.json").exists(),
    )
