"""docs/generation.md: every command runs, its lists are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from pumice.generate.checks import CHECKS
from pumice.generate.language import LANGUAGES
from pumice.generate.readers import LAYOUTS
from pumice.generate.spec import AGREEMENT, Form, Grounding, Spec, read_specs
from pumice.generate.write import DATA, RECORD, REJECTED, REPLIES

from .cli.conftest import run_pumice
from .evaluate.stand_in import Body, StandIn

PAGE = (Path(__file__).parent.parent / "docs" / "generation.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if name == kind]


def names(heading: str) -> list[str]:
    """The names in the first column of the first table behind a heading."""
    table = PAGE[PAGE.index(f"\n## {heading}\n") :].split("\n|", 1)[1].split("\n\n")[0]
    return [
        name for line in table.splitlines()[2:] for name in re.findall(r"`?(\w[\w.]*)`?", line.split("|")[1])
    ]


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    Path("scenes.jsonl").write_text(json.dumps(json.loads(blocks("json")[0])) + "\n")
    Path("reference.jsonl").write_text(
        json.dumps({"instruction": "What?", "output": "A dog sits there.", "type": "detail"}) + "\n"
    )
    Path("photos").mkdir()
    Image.new("RGB", (40, 30), "grey").save("photos/1.jpg")

    def answer(body: Body) -> str:
        if "begins with" not in body["messages"][0]["content"]:
            return "A brown dog sits beside two cars on a sunny street. " * 4
        said = "The dog is next to two cars on a street, so it is safe to say that it waits for someone. " * 2
        return "\n".join(f"Q: {question}?\nA: {said}" for question in ("What is there", "Where", "Why now"))

    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 8
    with StandIn(answer, models=("NAME",)) as server:
        for line in lines:
            result = run_pumice(*shlex.split(line.replace("http://localhost:8000", server.url))[1:])
            assert result.code == 0, f"{line}\n{result.both}"
    assert json.loads(Path("generated/data.json").read_text())


def test_the_lists_are_those_of_the_code() -> None:
    specs = read_specs()
    assert set(names("Kinds")) == set(specs) - {AGREEMENT}
    assert set(re.findall(r"^- `(\w+)`: \*", PAGE, re.M)) == set(specs) - {AGREEMENT}
    assert names("Scenes") == list(LAYOUTS)
    assert names("What is checked") == list(CHECKS)
    assert set(names("Prompts of your own")) == set(Spec.model_fields) - {"name"}
    assert {DATA, RECORD, REJECTED, REPLIES, "report.html"} == set(names("What is left behind"))
    forms = PAGE[PAGE.index("| `form` |") :].splitlines()[0]
    assert all(f"`{form}`" in forms for form in get_args(Form) if form != "verdict")
    grounding = PAGE[PAGE.index("| `grounding` | `strict`") :].splitlines()[0]
    assert all(f"`{one}`" in grounding for one in get_args(Grounding))
    assert all(f"`{code}`" in PAGE for code in LANGUAGES)
