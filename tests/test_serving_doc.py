"""docs/serving.md: its examples run against a server, its tables are those of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pumice.cli import app
from pumice.serve.metrics import COUNTERS, GAUGES, TIMES

from .serve.real import Process

TEXT = (Path(__file__).parent.parent / "docs" / "serving.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.S | re.M)
WANTS = {"openai": "from openai", "llama_index.llms.openai_like": "llama_index", "ollama": "from ollama"}


@pytest.fixture(scope="module")
def server(tiny_server: Process) -> Process:
    drawing = next(code for kind, code in BLOCKS if kind == "python" and "star.png" in code)
    run(tiny_server, tiny_server.log.parent, [sys.executable, "-c", drawing])
    return tiny_server


def run(server: Process, folder: Path, command: list[str]) -> str:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    here = [word.replace("http://127.0.0.1:8000", server.url) for word in command]
    done = subprocess.run(here, capture_output=True, text=True, env=env, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", [k for k, (kind, _) in enumerate(BLOCKS) if kind in ("python", "sh")])
def test_an_example(server: Process, number: int) -> None:
    kind, code = BLOCKS[number]
    for module, mark in WANTS.items():
        if mark in code:
            pytest.importorskip(module)
    if "curl" in code and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    out = run(server, server.log.parent, ["sh", "-c", code] if kind == "sh" else [sys.executable, "-c", code])
    if "What color" in code:
        assert "red" in out
    else:
        assert bool(out) == (kind == "sh")


def test_every_call_of_the_page_is_there(server: Process) -> None:
    import httpx2

    section = TEXT[TEXT.index("## What is understood") :].split("\n## ")[0]
    calls = re.findall(r"`(GET|POST) (/[^`]*)`", section)
    assert len(calls) >= 13
    for method, path in calls:
        reply = httpx2.request(method, server.url + path.replace("NAME", "tiny"), timeout=60)
        assert reply.status_code in ((400,) if method == "POST" else (200,)), (method, path, reply.text)


def test_commands_and_options_are_those_of_the_code() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {name for param in command.params for name in param.opts if name.startswith("-")}
    written = set(re.findall(r"`(--[a-z-]+)", TEXT))
    for kind, code in BLOCKS:
        if not kind:
            assert code.startswith("pumice serve ")
            written |= set(re.findall(r"(--[a-z-]+)", code))
    assert written <= known
    assert known - written <= {"--help", "--template", "--quiet", "--port"}


def test_defaults_of_the_table_are_those_of_the_code() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    defaults = {param.opts[0]: param.default for param in command.params}
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (\d+) \|", TEXT, re.M)
    assert len(rows) == 4  # --tokens depends on the model
    for option, value in rows:
        assert defaults[option] == int(value), option


def test_all_metrics_are_on_the_page() -> None:
    assert set(re.findall(r"`(pumice_\w+)`", TEXT)) == {*COUNTERS, *GAUGES, *TIMES}


def test_holes_have_the_tests_that_the_page_names() -> None:
    section = TEXT[TEXT.index("## What it keeps out") :]
    here, seen = "", 0
    for name in re.findall(r"`([\w/]+\.py|test_\w+)`", section):
        if name.endswith(".py"):
            here = (Path(__file__).parent / name).read_text("utf-8")
        else:
            assert f"def {name}(" in here, name
            seen += 1
    assert seen > 30
