"""docs/licences.md and docs/card.md: commands run, and rows, keys and policy are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pumice.cli import app
from pumice.data.forms import FORMS
from pumice.data.rights import ATTRIBUTION_KEYS, DATASET_KEYS, LICENCE_KEYS, URL_KEYS
from pumice.licences import read_licence
from pumice.recipes.schema import Licences
from pumice.report.card import Answers
from pumice.types import Rights

DOCS = Path(__file__).parent.parent / "docs"
LICENCES, CARD = ((DOCS / name).read_text("utf-8") for name in ("licences.md", "card.md"))


def blocks(text: str, kind: str) -> list[str]:
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M) if name == kind]


def test_the_row_the_keys_and_the_names_are_those_of_the_code() -> None:
    (row,) = blocks(LICENCES, "json")
    rights = FORMS["llava"].parse(json.loads(row), 0, "docs", None).rights
    assert rights == Rights("CC-BY-4.0", "A. Person", "https://example.org/harbour-1", "harbours")
    lines = dict(re.findall(r"^\| (licence|author|address|data set) \| (.*) \|$", LICENCES, re.M))
    told = [tuple(re.findall(r"`([a-z_]+)`", lines[key])) for key in ("licence", "author")]
    assert told == [LICENCE_KEYS, ATTRIBUTION_KEYS]
    assert set(re.findall(r"`([a-z_]+)`", lines["address"])) == {*URL_KEYS, DATASET_KEYS[0]}
    assert re.findall(r"`([a-z_]+)`", lines["data set"])[:3] == list(DATASET_KEYS)
    section = LICENCES[LICENCES.index("## What licences are called") :].split("\n## ")[0]
    for name in ("OpenAI-terms", "research-only", "coco", "visual\ngenome", "scienceqa"):
        assert f"`{name}`" in section
        assert read_licence(name).known


def test_the_policy_is_one() -> None:
    (block,) = blocks(LICENCES, "yaml")
    policy = Licences.model_validate(yaml.safe_load(block)["licences"]).policy
    assert policy.objection(read_licence("CC-BY-SA-3.0")) == "CC-BY-SA-3.0 is forbidden by name"
    assert policy.objection(read_licence("OpenAI terms")) is None


def test_the_answers_are_those_of_the_code() -> None:
    section = CARD[CARD.index("## What a person says") :].split("\n## ")[0]
    keys = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.M)))
    assert tuple(keys) == tuple(Answers.model_fields)


@pytest.mark.parametrize("text", [LICENCES, CARD], ids=["licences", "card"])
def test_commands_are_those_of_the_code(text: str) -> None:
    verbs: Any = typer.main.get_command(app)
    lines = [line for block in blocks(text, "") for line in block.splitlines() if line.startswith("pumice ")]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        command = verbs.commands[words[0]]
        if hasattr(command, "commands"):
            command, words = command.commands[words[1]], words[1:]
        known = {name for param in command.params for name in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of rows, where the page's commands find it."""
    monkeypatch.chdir(tmp_path)
    (row,) = blocks(LICENCES, "json")
    Path("talk.json").write_text(json.dumps([json.loads(row)]))
    text = """\
name: mine
model: {vision: "embedded:clip-tiny", language: "embedded:lm-tiny", template: tiny}
data: {talk: {file: talk.json}}
stages:
  - {name: instruct, kind: instruct, sources: [talk], lr: {connector: 1e-3, language: 1e-3}, steps: 1,
     rows_per_step: 1}
"""
    Path("mine.yaml").write_text(text)
    run = Path("runs") / "mine"
    run.mkdir(parents=True)
    shutil.copy("mine.yaml", run / "recipe.yaml")
    (run / "recipe.yaml").write_text(text.replace("talk.json", str(tmp_path / "talk.json")))
    (run / "run.json").write_text("{}")
    (run / "mixture.json").write_text("[]")
    return tmp_path


def test_the_notice_is_written_as_the_page_says(mine: Path) -> None:
    from typer.testing import CliRunner

    section = LICENCES[LICENCES.index("## The notice") :]
    lines = [line for line in section.splitlines() if line.startswith("pumice data attribution")]
    assert len(lines) == 3
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}{result.stderr}"
    assert "- A. Person: 1 row of harbours" in (mine / "NOTICE.md").read_text("utf-8")
