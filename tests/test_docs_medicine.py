"""docs/medicine.md: every command runs, its lists are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from pumice.image.dicom import PRESETS
from pumice.trust.dicom.burned import read_masks
from pumice.trust.dicom.private import SAFE
from pumice.trust.dicom.profile import EDITION, KEEP, MEANINGS, read_profile

from .cli.conftest import run_pumice

PAGE = (Path(__file__).parent.parent / "docs" / "medicine.md").read_text(encoding="utf-8")
LONG = ("pumice train", "pumice eval")


def blocks(kind: str) -> list[str]:
    """The contents of code blocks of a kind."""
    return [body for name, body in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M) if name == kind]


def commands(*, long: bool) -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pumice")]
    return [line for line in lines if long or not line.startswith(LONG)]


def carry_out(lines: list[str], n: int) -> None:
    """Run commands on ``n`` phantoms; files that the page shows are there."""
    for block in blocks("yaml"):
        Path(block.splitlines()[0].removeprefix("# ")).write_text(block)
    for line in lines:
        result = run_pumice(*shlex.split(line.replace("--n 600", f"--n {n}"))[1:])
        assert result.code == 0, f"{line}\n{result.both}"


def test_every_quick_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands(long=False)
    assert len(lines) >= 5
    carry_out([f"{line} --workers 1" if line.startswith("pumice data dicom") else line for line in lines], 12)
    made = {path.name + ("/" if path.is_dir() else "") for path in Path("pictures").iterdir()}
    table = PAGE[PAGE.index("\n## What comes out\n") :].split("\n\n")[1]
    told = set(re.findall(r"^\| `([\w./]+)` \|", table, re.M)) - {"dicom/"}
    assert told == made - {"figures.jsonl", "vqa-train.json", "vqa-test.jsonl"}
    shown = json.loads(blocks("json")[0])
    rows = [json.loads(line) for line in Path("pictures/figures.jsonl").read_text().splitlines()]
    assert shown.keys() == rows[0].keys()
    assert read_masks([], Path("masks.yaml")).by_file[1] == ("2021/knee-7.dcm", ())


@pytest.mark.slow
def test_the_whole_way_to_a_measured_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DICOM files, pictures, captions, conversations, three stages, questions about patients held out."""
    monkeypatch.chdir(tmp_path)
    carry_out(commands(long=True), 48)
    result = json.loads(next(Path("evals").rglob("result.json")).read_text())
    assert 0 <= result["scores"]["metrics"]["recall"] <= 100


def test_the_lists_are_those_of_the_code() -> None:
    assert f"{EDITION}, {len(read_profile())} attributes" in PAGE.replace("\n", " ")
    table = PAGE[PAGE.index("\n## What becomes of attributes\n") :].split("\n\n")[2]
    codes = re.findall(r"\| (\d{6}) \|$", table, re.M)
    assert sorted(codes) == sorted(MEANINGS)
    assert re.findall(r"^\| `--keep (\w+)`", table, re.M) == list(KEEP)
    assert f"{sum(map(len, SAFE.values()))} of them" in table
    row = next(line for line in PAGE.splitlines() if line.startswith("| a preset |"))
    assert re.findall(r"`(\w+)`", row) == list(PRESETS)
    recipe = next(block for block in blocks("yaml") if block.startswith("# phantoms.yaml"))
    assert [stage["kind"] for stage in yaml.safe_load(recipe)["stages"]] == ["align", "instruct", "instruct"]
