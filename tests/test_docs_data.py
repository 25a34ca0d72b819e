"""docs/data.md: its `pumice data` commands run, its rows are read, its lists are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import pumice
from pumice.data import FORMATS
from pumice.data.draft import METADATA
from pumice.data.forms import form_of
from pumice.data.llava_mix import SOURCES

from .data.llava_mix import official

TEXT = (Path(__file__).parent.parent / "docs" / "data.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind ("" for those without one)."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.S | re.M) if name == kind]


def commands() -> list[str]:
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("pumice data ")]


def test_every_command_on_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pumice.cli import app

    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (32, 20), "navy").save("photos/waterview.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A lake."}]
    Path("talk.json").write_text(json.dumps([{"image": "waterview.jpg", "conversations": turns}]))
    official.write_all(Path("official"))
    parts = Path(pumice.__file__).parent / "world" / "parts"
    shutil.copytree(parts / "lm-tiny", "vicuna-7b-v1.5")
    found = commands()
    assert len(found) >= 9
    for line in found:
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}{result.stderr}"


def rows() -> list[dict[str, Any]]:
    found = []
    for block in blocks("json"):
        if block.startswith("{") and ("conversations" in block or "messages" in block):
            found.append(json.loads(block))
    return found


@pytest.mark.parametrize("row", rows())
def test_every_row_is_read(row: dict[str, Any]) -> None:
    form = form_of(row, "docs/data.md")
    assert form.parse(row, 0, "docs/data.md", None).messages


def test_the_rows_show_every_form() -> None:
    assert {form_of(row, "").name for row in rows()} == {"llava", "sharegpt", "messages"}


def test_the_lists_are_those_of_the_code() -> None:
    paragraph = TEXT[TEXT.index("Rows may also have these keys") :].split("\n\n")[0]
    assert tuple(re.findall(r"`(\w+)`", paragraph)) == METADATA
    table = TEXT[TEXT.index("## Other formats") :].split("\n\n")[1]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(FORMATS)
    table = TEXT[TEXT.index("## LLaVA-1.5's mixture") :].split("\n\n")[2]
    sources = re.findall(r"^\| `(\w+)` \| (.*) \| ([\d,]+) \|$", table, re.M)
    assert [(name, int(rows.replace(",", ""))) for name, _, rows in sources] == [
        (source.name, source.published) for source in SOURCES
    ]
    for (_, files, _), source in zip(sources, SOURCES, strict=True):
        assert all(f"`{file}`" in files for file in source.files)
