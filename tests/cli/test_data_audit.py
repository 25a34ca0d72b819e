"""`pumice data audit`: files and recipes in, findings, page and exit code out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..trust.audit import data
from .conftest import run_pumice

HOSTILE = "<script>alert(1)</script>"


def talk(folder: Path) -> None:
    """Two good rows, one whose picture is missing and whose words are HTML."""
    for number in range(2):
        data.noise(folder / "photos" / f"{number}.png", number)
    rows = [data.row(f"r{n}", (f"What {HOSTILE}?", "Noise."), image=f"{n}.png") for n in range(3)]
    data.write(folder / "talk.json", rows)


def test_findings_page_and_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    talk(tmp_path)
    words = ["data", "audit", "talk.json", "--images", "photos", "--checks", "readable"]
    done = run_pumice(*words)
    assert done.code == 0, done.both
    assert "missing" in done.out
    page = Path("audit/index.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "default-src &#x27;none&#x27;" in page
    record = json.loads(Path("audit/audit.json").read_text())
    assert (record["rows"], record["pictures"], record["severities"]) == (3, 3, {"serious": 1})
    assert run_pumice(*words, "--fail-on", "serious").code == 1
    assert run_pumice(*words, "--fail-on", "note", "--limit", "2").code == 0
    assert "readable" in run_pumice("data", "audit", "--list").out


def test_a_recipe_stands_for_all_of_its_data(
    recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_pumice("data", "audit", recipe, "--data", world, "--checks", "readable", "--workers", "1")
    assert done.code == 0, done.both
    record = json.loads(Path("audit/audit.json").read_text())
    assert [one["name"] for one in record["sources"]] == ["align", "instruct", "val"]
    assert record["pictures"] >= 12
    assert not record["severities"].get("serious")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is nothing to audit"),
        (["talk.json", "--checks", "readible"], "did you mean 'readable'"),
        (["talk.json", "--data", "x"], "--data is for a recipe"),
        (["tiny", "talk.json"], "a recipe is audited alone"),
        (["tiny", "--images", "x"], "the recipe says where pictures are"),
        (["talk.json", "--out", "talk.json"], "there is a file of that name"),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    talk(tmp_path)
    done = run_pumice("data", "audit", *words)
    assert done.code == 2, done.both
    assert said in done.err.replace("\n", " ")
