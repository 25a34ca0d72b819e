"""`pumice bench infer` and `pumice bench serve` with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_the_tables_name_sides_ratios_and_the_machine(pumice: Any, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    sides = ("--side", "pumice bfloat16", "--side", "transformers bfloat16")
    result = pumice(
        "bench", "infer", "--small", "--rounds", "1", "--tokens", "3", "--threads", "1", "--json", out, *sides
    )
    assert result.code == 0, result.both
    told = json.loads(out.read_text("utf-8"))
    assert [line["side"] for line in told["figures"]["lines"]] == [sides[1], sides[3]]
    assert "torch" in told["machine"]


def test_many_requests_beside_one_at_a_time(pumice: Any, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    words = (
        "bench", "serve", "--small", "--rounds", "1", "--tokens", "3", "--threads", "1", "--requests", "3",
        "--alone", "1", "--json", out,
    )  # fmt: skip
    result = pumice(*words, "--kind", "image")
    assert result.code == 0, result.both
    assert "3 together" in result.both
    assert "at most about" in result.both
    assert "none of 4 requests lost" in result.both
    alone, together = json.loads(out.read_text("utf-8"))["figures"]
    assert (alone["lost"], together["lost"]) == (0, 0)
    result = pumice(*words, "--kind", "image", "--kind", "text", "--resume")
    assert result.code == 0, result.both
    assert "image is in" in result.both
    kinds = [one["kind"] for one in json.loads(out.read_text("utf-8"))["figures"]]
    assert kinds == ["image", "image", "text", "text"]
    assert json.loads(out.read_text("utf-8"))["figures"][:2] == [alone, together]
    other = pumice(*words, "--resume", "--alone", "2")
    assert other.code == 2
    assert "are measured" in other.both


def test_unknown_weights_list_all(pumice: Any) -> None:
    result = pumice("bench", "serve", "--small", "--weights", "float23")
    assert result.code != 0
    assert "did you mean 'float32'" in result.both
