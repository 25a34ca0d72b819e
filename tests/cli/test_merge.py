"""`pumice merge` and what else takes an adapter's folder for a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import pumice
from pumice.cli import app
from pumice.files import write_json
from pumice.world.embedded import resolve


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the shipped parts: one stage of captions, and one with lora."""
    place = tmp_path_factory.mktemp("merge")
    rows = []
    for number, colour in enumerate(("red", "blue", "green", "yellow")):
        Image.new("RGB", (112, 112), colour).save(place / f"{number}.png")
        said = [
            {"from": "human", "value": "<image>\nWhat color is it?"},
            {"from": "gpt", "value": f"{colour}"},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": said})
    (place / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    stage = {"sources": ["rows"], "steps": 1, "rows_per_step": 1, "row_length": 512, "precision": "fp32"}
    recipe = {
        "name": "adapted",
        "model": {"vision": "embedded:clip-tiny", "language": "embedded:lm-tiny", "template": "tiny"},
        "data": {"rows": {"file": str(place / "rows.json"), "images": str(place)}},
        "stages": [
            {**stage, "name": "align", "kind": "align", "lr": {"connector": 0.001}},
            {
                **stage,
                "name": "instruct",
                "kind": "instruct",
                "lr": {"connector": 0.001, "language": 0.001},
                "lora": {"rank": 2, "alpha": 4},
            },
        ],
    }
    write_json(place / "recipe.yaml", recipe)
    result = CliRunner().invoke(app, ["train", str(place / "recipe.yaml"), "--runs", str(place / "runs")])
    assert result.exit_code == 0, result.output
    return place / "runs" / "adapted"


def call(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("name", ["", "stages/instruct/adapter"])
def test_a_run_or_an_adapter(run: Path, tmp_path: Path, name: str) -> None:
    result = call("merge", run / name, tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = " ".join(result.stdout.split())
    assert f"wrote {tmp_path / 'out'} (hf, float16)" in lines  # as the shipped parts are
    assert "merged weights against the adapter active in its base: scores differ by at most" in lines
    assert "read back by transformers" in lines
    assert pumice.load(tmp_path / "out").model.config.template == "tiny"


def test_shipped_parts_by_name(run: Path, tmp_path: Path) -> None:
    adapter = run / "stages" / "instruct" / "adapter"
    words = ("--base", "embedded:lm-tiny", "--vision", resolve("embedded:clip-tiny"), "--dtype", "bfloat16")
    result = call("merge", adapter, tmp_path / "out", *words)
    assert result.exit_code == 0, result.output
    assert "bfloat16" in result.stdout


def test_a_run_without_adapters(run: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"stages": [{"name": "align", "model": "stages/align/model"}]})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    held = call("merge", tmp_path, tmp_path / "out")
    assert (held.exit_code, "add --overwrite" in held.output) == (2, True)
    result = call("merge", tmp_path, tmp_path / "out", "--overwrite")
    assert result.exit_code == 1
    assert "no finished stage of this run has an adapter" in result.output


def test_an_adapter_answers_and_is_exported(run: Path, tmp_path: Path) -> None:
    adapter = run / "stages" / "instruct" / "adapter"
    Image.new("RGB", (112, 112), "red").save(tmp_path / "p.png")
    question = ("--image", tmp_path / "p.png", "What color is it?")
    one, other = (call("chat", model, *question) for model in (adapter, run / "model"))
    assert one.exit_code == other.exit_code == 0, one.output
    assert one.stdout == other.stdout
    result = call("export", adapter, tmp_path / "out", "--format", "llava")
    assert result.exit_code == 0, result.output
