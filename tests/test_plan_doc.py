"""docs/plan.md: its commands run, and its tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pumice.cost.hardware import HARDWARE
from pumice.forecast import machine
from pumice.recipes import recipe_names

from .cli.conftest import run_pumice

TEXT = (Path(__file__).parent.parent / "docs" / "plan.md").read_text("utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.S | re.M)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    found = [line.partition("  #")[0].strip() for line in lines if line.startswith("pumice plan ")]
    return [line for line in found if not line.endswith("--ranks")]  # these have their own test


def rows(bad: int) -> str:
    found = []
    for number in range(12):
        answer = "" if number < bad else "A lake."
        turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": answer}]
        found.append(json.dumps({"image": "waterview.jpg", "conversations": turns}))
    return "\n".join(found)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    monkeypatch.setattr(machine, "SIDE", {"cpu": 64, "cuda": 64})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(here: Path) -> None:
    made = run_pumice(
        *shlex.split("world make data/easy --n 10 --validation 2 --test 2 --level easy --workers 1")
    )
    assert made.code == 0, made.both
    Path("talk.jsonl").write_text(rows(0))
    Path("rough.jsonl").write_text(rows(3))
    found = commands()
    assert len(found) >= 7
    for line in found:
        name = shlex.split(line)[2]
        assert name in recipe_names(), f"{line}: no recipe of this name ships"
        result = run_pumice(*shlex.split(line)[1:])
        assert result.code == 0, f"{line}\n{result.both}"


def table(head: str) -> list[list[str]]:
    lines = TEXT[TEXT.index(head) :].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_hardware_is_that_of_the_code() -> None:
    told = {cells[0].strip("`"): cells[2:] for cells in table("| name | what |")}
    assert told.pop("this")
    assert set(told) == set(HARDWARE)
    for name, cells in told.items():
        hardware = HARDWARE[name]
        numbers = [float(cell.rstrip("%")) for cell in cells]
        wanted = [hardware.peak / 1e12, hardware.memory / 1e9]
        wanted += [100 * hardware.share["grads"], 100 * hardware.share["full"]]
        assert numbers == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_the_published_runs_are_predicted_as_told(here: Path, size: str) -> None:
    told = {cells[0]: cells[1:] for cells in table("| run | predicted |")}
    result = run_pumice("plan", f"llava-1.5-{size}", "--published-size")
    assert result.code == 0, result.both
    stages: list[dict[str, Any]] = json.loads(Path(f"runs/plans/llava-1.5-{size}.json").read_text("utf-8"))[
        "stages"
    ]
    for stage in stages:
        found = stage["published"]
        predicted, published, difference = told[f"{size.upper()} {stage['name']}"]
        assert predicted == f"{found['hours']:.2f} h"
        assert published == f"{found['published_hours']:g} h"
        assert difference == f"{found['difference']:+.1%}"
        assert abs(found["difference"]) < 0.25


RANKS = re.findall(r"^```\n(pumice plan [^\n]* --ranks)\n```\n\n```text\n(.*?)\n```", TEXT, re.S | re.M)


def test_four_models_are_spread() -> None:
    assert len(RANKS) == TEXT.count(" --ranks\n") == 4


@pytest.mark.parametrize(
    ("command", "shown"),
    [pytest.param(*pair, marks=pytest.mark.slow if "--split 32" in pair[1] else ()) for pair in RANKS],
)
def test_what_ranks_hold_is_what_is_printed(here: Path, command: str, shown: str) -> None:
    result = run_pumice(*shlex.split(command)[1:])
    assert result.code == 0, result.both
    printed = [" ".join(line.split()) for line in result.out.splitlines()]
    for line in shown.splitlines():
        assert " ".join(line.split()) in printed, line


def test_the_page_on_training_says_the_same() -> None:
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d+B \| \d+ [AH]100 ", line)]
    assert len(rows) == len(RANKS)
    for row, (_, shown) in zip(rows, RANKS, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        together = next(line for line in shown.splitlines() if "together" in line).split()[1]
        host = re.search(r"host memory: ([\d,]+) GB a node", shown)
        assert host is not None
        assert cells[3].removesuffix(": does not fit") == together
        assert ("does not fit" in cells[3]) is ("does not fit" in shown)
        assert cells[5] == host[1]
        assert cells[1].split()[0] in shown.splitlines()[0]
