"""Our side of a training benchmark: a real run of a recipe, whose pictures and steps are timed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pumice.bench.worker import Spec, Took, peak_bytes, rates
from pumice.errors import RunError
from pumice.recipes import load_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.recipes.text import write_yaml
from pumice.train.record import Parts
from pumice.train.run import train


def bench_recipe(spec: Spec) -> Recipe:
    """The recipe of one stage, read as any other."""
    stage: dict[str, Any] = {
        "name": spec.stage,
        "kind": spec.stage,
        "sources": ["rows"],
        "lr": rates(spec.stage),
        "steps": spec.steps,
        "warmup": 0.0,
        "row_length": spec.row_length,
        "samples_per_step": spec.samples,
        "accumulation": max(1, spec.samples // spec.micro),
        "precision": spec.precision,
    }
    if spec.checkpointing:
        stage["activation_checkpointing"] = True
    if spec.lora:
        stage["lora"] = {}
    if spec.stage == "align":
        stage["template"] = "plain"
    value = {
        "name": "bench",
        "seed": spec.seed,
        "model": {"checkpoint": f"{spec.folder}/model"},
        "data": {"rows": {"file": f"{spec.folder}/{spec.stage}.json", "images": f"{spec.folder}/images"}},
        "stages": [stage],
    }
    path = Path(spec.work) / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write_yaml(value), "utf-8")
    return load_recipe(path, variables={})


class Clock:
    """A ``RunObserver`` that notes how long the encoding of pictures took, and when every step ended."""

    def __init__(self) -> None:
        self.encoding = 0.0
        self.steps: list[float] = []

    def on_check(self, what: str, done: int, total: int) -> None:
        pass

    def on_stage(self, stage: Stage, summary: dict[str, Any]) -> None:
        self.encoding = float(summary["features"]["seconds"])

    def on_step(self, row: dict[str, Any]) -> None:
        self.steps.append(time.monotonic())

    def on_validation(self, row: dict[str, Any]) -> None:
        pass

    def on_damaged(self, error: RunError, step: int) -> None:
        pass

    def on_notice(self, text: str) -> None:
        pass

    def on_resume(self, row: dict[str, Any]) -> None:
        pass

    def on_skipped(self, stage: Stage, record: dict[str, Any]) -> None:
        pass

    def on_saved(self, stage: Stage, folder: Path) -> None:
        pass


def run(spec: Spec) -> Took:
    """Train; features of the frozen tower are computed within the time."""
    recipe, clock = bench_recipe(spec), Clock()
    folder = Path(spec.work) / "runs" / "bench"
    parts = Parts(checkpoint=Path(spec.folder) / "model")
    train(recipe, folder, parts, clock, command="pumice bench train")
    place = folder / "stages" / spec.stage
    told = [json.loads(line) for line in (place / "metrics.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in told if row["kind"] == "train"]
    share = (spec.steps - 1) / spec.steps
    return Took(
        clock.encoding * share + clock.steps[-1] - clock.steps[0],
        peak_bytes(),
        [row["loss"] for row in rows],
        sum(row["supervised"] for row in rows[1:]),
        sum(row["tokens"] for row in rows[1:]),
        round(sum(row["places"] for row in rows[1:])),
    )
