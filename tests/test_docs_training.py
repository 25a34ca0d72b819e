"""docs/training.md: its commands run, its recipe is one, it shows what is printed, its links lead on."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pumice.model.attention import ATTENTION_CHOICES
from pumice.recipes.evaluation import Evaluation
from pumice.recipes.features import Features
from pumice.recipes.stage import Stage
from pumice.recipes.text import read_yaml
from pumice.recipes.trained import KINDS, read_selection

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind ("" for those without one)."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if name == kind]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """All commands have run, in their order; what each printed."""
    from pumice.cli import app

    place, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    said: dict[str, str] = {}
    os.chdir(place)
    try:
        for line in (line for block in blocks("sh") for line in block.splitlines()):
            result = CliRunner().invoke(app, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
            said[line] = result.output
    finally:
        os.chdir(before)
    return place, said


def test_the_runs_have_what_the_page_says(ran: tuple[Path, dict[str, str]]) -> None:
    place, said = ran
    best = json.loads((place / "runs/one/run.json").read_text("utf-8"))["best"]["instruct"]
    assert (place / "runs/one" / best["model"] / "config.json").is_file()
    rows = [json.loads(line) for line in (place / "runs/one/stages/instruct/metrics.jsonl").open()]
    assert {row["kind"] for row in rows} >= {"train", "validation", "evaluation"}
    assert all(row["n"] == 16 for row in rows if row["kind"] == "evaluation")
    listed, compared = said["pumice runs"], said["pumice runs compare one two"]
    assert "one" in listed
    assert "finished" in listed
    assert "stages.instruct.lr.language" in compared
    assert "best validation loss" in compared


def test_the_line_is_made_of_what_is_printed(ran: tuple[Path, dict[str, str]]) -> None:
    _, said = ran
    line = next(block for block in blocks("") if "ETA" in block).strip()
    shape = re.sub(r"\d[\d.,]*(?:[kM](?= )|e-\d+)?", "N", line).replace("N:N", "N")
    printed = next(words for command, words in said.items() if "--name one" in command)
    shapes = {
        re.sub(r"\d[\d.,]*(?:[kM](?= )|e-\d+)?", "N", " ".join(found.split())).replace("N:N", "N")
        for found in printed.replace("\n", " ").split("  step ")
    }
    for part in shape.removeprefix("step N/N").split("  "):
        assert any(part in found for found in shapes), part


def test_the_recipe_is_one() -> None:
    value: Any = read_yaml(next(block for block in blocks("yaml") if "stages:" in block), "training.md").value
    stage = Stage.model_validate(value["stages"][0])
    assert stage.validation is not None
    assert stage.validation.keep_best
    assert Evaluation.model_validate(value["evaluation"]).every == 1000


def test_the_block_of_features_is_one() -> None:
    (block,) = (block for block in blocks("yaml") if block.startswith("features:"))
    value: Any = read_yaml(block, "training.md").value
    features = Features.model_validate(value["features"])
    assert (features.keep, features.dtype, features.budget) == ("disk", "fp8", 40_000_000_000)


def test_the_second_run_finds_the_features_of_the_first(ran: tuple[Path, dict[str, str]]) -> None:
    _, said = ran
    (line,) = (line.strip() for block in blocks("") for line in block.splitlines() if "made now" in line)
    made, found = (
        next(" ".join(words.split()) for command, words in said.items() if f"--name {name}" in command)
        for name in ("made", "found")
    )
    assert re.sub(r"[\d.]+%", "N%", line) in re.sub(r"[\d.]+%", "N%", made)
    assert "0 made now, 80 found" in found


def test_the_job_is_a_script_that_starts_what_the_page_says() -> None:
    job = ROOT / "examples" / "train.slurm"
    done = subprocess.run(["bash", "-n", str(job)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = set(re.findall(r"--[a-z-]+", job.read_text("utf-8")))
    commands = [line for block in blocks("") for line in block.splitlines() if "--nnodes" in line]
    assert len(commands) == 2
    for command in commands:  # what stands behind `train` the job passes on
        assert set(re.findall(r"--[a-z-]+", command.partition(" train ")[0])) <= options


def test_the_command_of_two_ranks_is_the_one_that_is_tested() -> None:
    command = shlex.split(
        next(line for line in PAGE.splitlines() if line.endswith("--small") and "torchrun" in line)
    )
    own = (ROOT / "tests" / "cli" / "test_ranks.py").read_text("utf-8")
    for word in command[1:]:
        assert word in own.replace('"-m", "pumice"', "-m pumice"), word


def test_links_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= heads
    for path in re.findall(r"\]\(([^#)]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path


def test_what_trains_is_shown_as_it_is_read_and_printed(ran: tuple[Path, dict[str, str]]) -> None:
    section = PAGE.split("## What trains")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    entries = [entry for row in rows for entry in re.findall(r"`([^`]+)`", row)]
    assert len(entries) > 10
    shown = {one.kind for one in map(read_selection, entries)}
    assert shown >= set(KINDS)
    printed = next(words for command, words in ran[1].items() if "--name top" in command)
    (told,) = re.findall(r"`(vision\.last-1: [^`]+)`", section)
    assert told in printed, printed


def test_every_way_to_attend_is_in_the_table() -> None:
    section = PAGE.split("## Attention")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.M)
    assert named == list(ATTENTION_CHOICES)
