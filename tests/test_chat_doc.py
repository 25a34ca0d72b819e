"""docs/chat.md: its commands and its Python run, its tables are those of the code."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pumice.cli import app
from pumice.cli.converse import COMMANDS

TEXT = (Path(__file__).parent.parent / "docs" / "chat.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.S | re.M)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


def test_the_page_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    said = []
    for _, code in (block for block in BLOCKS if block[0] == "sh"):
        given, _, command = code.strip().rpartition(" | ")
        fed = subprocess.run(["sh", "-c", given], capture_output=True, text=True, check=True).stdout
        result = CliRunner().invoke(app, shlex.split(command)[1:], input=fed if given else None)
        assert result.exit_code == 0, f"{code}\n{result.output}\n{result.exception!r}"
        said.append(result.stdout)
    _, alone, piped, rows = said
    assert alone == piped
    first, second = [json.loads(line) for line in rows.splitlines()]
    assert first["answer"] == alone.strip()
    keys = re.findall(
        r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", TEXT.split("## In scripts")[1], re.M))
    )
    assert set(keys) == set(second)

    (python,) = (code for kind, code in BLOCKS if kind == "python")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(python, "docs/chat.md", "exec"), {})
    assert alone.strip() in out.getvalue()


def test_the_page_names_every_command() -> None:
    assert re.findall(r"^\| `(/\w+)", TEXT, re.M) == list(COMMANDS)


def test_links_lead_somewhere() -> None:
    for file, anchor in re.findall(r"\]\(([\w.-]*)#?([\w-]*)\)", TEXT):
        text = TEXT if not file else (Path(__file__).parent.parent / "docs" / file).read_text("utf-8")
        heads = {
            re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)$", text, re.M)
        }
        assert not anchor or anchor in heads, anchor
