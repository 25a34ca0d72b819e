"""docs/lora.md: every command and Python block runs, its recipe is one, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pumice.recipes.schema import Lora, Stage
from pumice.recipes.text import read_yaml

PAGE = (Path(__file__).parent.parent / "docs" / "lora.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind ("" for those without one)."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if name == kind]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands have run, in their order."""
    from pumice.cli import app

    place, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    os.chdir(place)
    try:
        for line in (line for block in blocks("sh") for line in block.splitlines()):
            result = CliRunner().invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    finally:
        os.chdir(before)
    return place


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_block_runs(ran: Path, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[number]], cwd=ran, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_tree_is_what_is_saved(ran: Path) -> None:
    tree = next(block for block in blocks("") if "adapter/" in block)
    named = set(re.findall(r"\b\w+\.(?:safetensors|json|jinja)\b", tree)) - {"vision_tower.safetensors"}
    found = {path.name for path in (ran / "runs/adapted/stages/instruct/adapter").iterdir()}
    assert found - named == {"tokenizer.json", "tokenizer_config.json"}
    assert named <= found


def test_the_recipe_is_one() -> None:
    fields = read_yaml("stages:\n" + blocks("yaml")[0], "lora.md").value
    stage: Any = Stage.model_validate(fields["stages"][0])
    assert (stage.lora.rank, stage.lora.alpha, stage.lora.dropout) == (128, 256, 0.05)
    assert (stage.lr.language, stage.lr.connector) == (2e-4, 2e-5)


def test_every_key_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, re.M))
    assert listed.keys() == Lora.model_fields.keys()
    own = {"targets": "all linear layers but the head", "dora": "`false`", "quantize": "`null`"}
    own["double_quantization"] = "`true`"
    for name, told in listed.items():
        assert told == own.get(name, f"{Lora.model_fields[name].default:g}" if name not in own else "")


def test_links_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= heads
