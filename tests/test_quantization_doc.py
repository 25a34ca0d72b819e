"""docs/quantization.md: its commands and its table are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import typer

from pumice.cli import app
from pumice.infer.weights import BITS
from pumice.model.quantized.forms import Weights

TEXT = (Path(__file__).parent.parent / "docs" / "quantization.md").read_text("utf-8")


def test_commands_are_those_of_the_code() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^pumice (.*)$", TEXT, re.M)
    assert len(lines) == 3
    for line in lines:
        verb, *words = line.split()
        known = {name for param in commands[verb].params for name in param.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_the_table_has_all_weights() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", TEXT[: TEXT.index("## What it costs")], re.M))
    assert {name: float(bits) for name, bits in rows.items()} == BITS
    assert set(rows) == set(get_args(Weights))
