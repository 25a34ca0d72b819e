"""docs/preference.md: every command and Python block runs, its recipe is one, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from pumice.recipes import load_recipe
from pumice.recipes.schema import Preference

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "preference.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind ("" for those without one)."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if name == kind]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands have run, in their order, beside the page's own data and recipe."""
    from pumice.cli import app

    place, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    (place / "pairs.jsonl").write_text(blocks("json")[0], "utf-8")
    (place / "mine.yaml").write_text(blocks("yaml")[0], "utf-8")
    (place / "photos").mkdir()
    for name, colour in (("a", "red"), ("b", "grey")):
        Image.new("RGB", (90, 60), colour).save(place / "photos" / f"{name}.png")
    told: list[str] = []
    os.chdir(place)
    try:
        for line in (line for block in blocks("sh") for line in block.splitlines()):
            result = CliRunner().invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
            assert result.stdout.strip(), line
            told.append(f"{line}\n{result.stdout}\n")
    finally:
        os.chdir(before)
    (place / "told.txt").write_text("".join(told), "utf-8")
    return place


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_block_runs(ran: Path, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[number]], cwd=ran, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(24, 2)" in done.stdout


def test_what_is_said_of_the_runs_is_so(ran: Path) -> None:
    def rows(name: str) -> list[dict[str, float]]:
        text = (ran / "runs" / name / "stages" / "prefer" / "metrics.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    slow, fast = rows("llava-next-dpo-small"), rows("faster")
    assert len(slow) == 9
    assert slow[0]["loss"] == pytest.approx(0.693, abs=1e-3)
    assert slow[-1]["loss"] > 0.692
    assert fast[-1]["loss"] < 0.65
    assert fast[-1]["margin"] > 0.05
    told = set(re.findall(r"`(\w+)`", PAGE.split("## What is told")[1].split("Watch")[0])) - {"metrics"}
    assert told <= {*rows("mine-small")[0], "jsonl"}
    first = (ran / "told.txt").read_text("utf-8").split("pumice train")[1]
    assert "loss 0.693  margin 0.000  chosen ahead 50%" in first
    page = (ran / "runs" / "llava-next-dpo-small" / "report.html").read_text("utf-8")
    assert "Margin of the chosen answer" in page
    assert json.loads((ran / "mine.json").read_text("utf-8"))[1]["rejected"] == "Yes, it rains."


def test_the_recipe_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(blocks("yaml")[0], "utf-8")
    stage = load_recipe(tmp_path / "mine.yaml").stage("prefer")
    assert stage.lora is not None
    assert stage.preference == Preference(beta=0.1, sft=0.1)
    assert stage.trainable == ("connector", "language")


def test_every_key_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE.split("## The loss")[0], re.M))
    assert {key: told.strip("`") for key, told in listed.items()} == {
        name: f"{field.default:g}" if isinstance(field.default, float) else field.default
        for name, field in Preference.model_fields.items()
    }


def test_links_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= heads
    for link in re.findall(r"\]\((\w+\.md)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
