"""docs/audit.md: its commands run, its lists are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pumice.trust.audit import CHECKS
from pumice.trust.personal import masked

from .cli.conftest import run_pumice
from .trust.audit import data

PAGE = (Path(__file__).parent.parent / "docs" / "audit.md").read_text(encoding="utf-8")


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        data.noise(tmp_path / "photos" / f"{number}.png", number)
    rows = [data.row(f"r{n}", ("Is it red?", "Yes."), image=f"{n}.png") for n in range(3)]
    data.write(tmp_path / "talk.json", rows)
    data.write(tmp_path / "bench.json", rows[:1])
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 9
    for line in lines:
        result = run_pumice(*shlex.split(line, comments=True)[1:])
        assert result.code == 0, f"{line}\n{result.both}"
    assert {path.name for path in Path("audit").iterdir()} == set(
        re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.M)
    )


def test_the_lists_are_those_of_the_code() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \| ((?:`[\w-]+`(?:, )?)+) \|$", PAGE, re.M)
    assert {name: tuple(re.findall(r"`([\w-]+)`", kinds)) for name, kinds in table} == {
        listed.name: listed.kinds for listed in CHECKS if listed.kinds
    }
    assert masked("jane@uni.de, +44 20 7123 4567") == "j***@u***.de, +44***67"
    assert "`j***@u***.de`, `+44***67`" in PAGE
