"""docs/lineage.md: its commands run in their order and do what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

PAGE = (Path(__file__).parent.parent / "docs" / "lineage.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pumice.cli import app

    monkeypatch.chdir(tmp_path)
    lines = [
        line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.S | re.M) for line in block.splitlines()
    ]
    said = {}
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
        said[line] = " ".join(result.output.split())
    dry = next(text for line, text in said.items() if line.endswith("exports --dry-run") and "--row" in line)
    (again,) = [line for line in lines if "--reuse" in line]
    assert again.removesuffix(" --no-eval") in dry, "the command is the one that is printed"
    refused = CliRunner().invoke(app, ["chat", "exports/first", "What?"])
    assert "quarantined" in refused.output
    assert (
        "runs/first-erasure-1/stages/instruct/model" in said[lines[-1]].partition("Weights that did not")[2]
    )


def test_the_options_are_those_of_the_command() -> None:
    from pumice.cli import app

    shown = CliRunner().invoke(app, ["data", "erase", "--help"], env={"COLUMNS": "200"}).output
    table = PAGE.partition("## Erasing")[2].partition("In this order")[0]
    for option in re.findall(r"^\| `(--[\w-]+)", table, re.M):
        assert option in shown
