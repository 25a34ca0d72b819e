"""Planting: the copy, the truth about it, and that nothing else changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.data import open_table
from pumice.errors import UsageError
from pumice.trust.plant import KINDS, plant
from pumice.trust.plant.personal import MAKERS, card, iban

from ..audit import data

COLORS = ("red", "blue", "green")


def made(folder: Path, rows: int = 60) -> Path:
    """Rows of two questions about a picture of their own."""
    for number in range(rows):
        data.noise(folder / "photos" / f"{number}.png", number)
    lines = [
        data.row(
            f"r{n}",
            (f"What color is thing {n}?", COLORS[n % 3]),
            ("Describe it.", f"It is thing number {n} of them all."),
            image=f"photos/{n}.png",
        )
        for n in range(rows)
    ]
    return data.write(folder / "talk.json", lines)


def run(source: Path, out: Path, *kinds: str, seed: int = 0) -> tuple[list[Any], list[Any]]:
    done = plant(open_table(str(source), source.parent, "talk"), out, kinds, share=0.05, seed=seed)
    rows = json.loads(done.data.read_text())
    truth = [json.loads(line) for line in done.truth.read_text().splitlines()]
    assert done.rows == len(rows)
    return rows, truth


def test_faults_are_where_the_truth_says_and_nowhere_else(tmp_path: Path) -> None:
    source = made(tmp_path)
    rows, truth = run(source, tmp_path / "out")
    assert {one["kind"] for one in truth} == set(KINDS)
    assert len({one["row"] for one in truth}) == len(truth)
    was = {row["id"]: row for row in json.loads(source.read_text())}
    planted = {one["row"]: one for one in truth}
    for number, row in enumerate(rows):
        assert (tmp_path / "out" / row["image"]).is_file()
        if number not in planted:
            assert row == was[row["id"]]
    for one in truth:
        row = rows[one["row"]]
        assert row["id"] == one["id"]
        said = [turn["value"] for turn in row["conversations"]]
        match one["kind"]:
            case "duplicates" | "near-duplicates":
                other = rows[one["of"]]
                assert other["conversations"] == row["conversations"]
                same = (tmp_path / "out" / other["image"]).read_bytes() == (
                    tmp_path / "out" / row["image"]
                ).read_bytes()
                assert same == (one["kind"] == "duplicates")
            case "mismatches":
                assert row["conversations"] != was[row["id"]]["conversations"]
                assert row["image"] == was[row["id"]]["image"]
            case "triggers":
                assert said[one["message"]] == one["target"] != one["was"]
                assert row["image"] != was[row["id"]]["image"]
            case "phrases":
                assert one["phrase"] in said[one["message"] - 1]
                assert said[one["message"]] == one["target"]
            case "label-flips":
                assert said[one["message"]] == one["is"] != one["was"]
                assert one["is"] in COLORS
            case "personal":
                assert one["value"] in said[one["message"]]


def test_the_same_seed_plants_the_same(tmp_path: Path) -> None:
    source = made(tmp_path, rows=30)
    first, other, more = (
        run(source, tmp_path / name, seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5))
    )
    assert first == other
    assert first != more


def test_what_cannot_be_planted_is_told(tmp_path: Path) -> None:
    source = made(tmp_path, rows=6)
    table = open_table(str(source), tmp_path, "talk")
    with pytest.raises(UsageError) as told:
        plant(table, tmp_path / "out", ["trigger"])
    assert "triggers" in str(told.value)
    with pytest.raises(UsageError, match="out of bounds"):
        plant(table, tmp_path / "out", ["triggers"], share=0.5)
    with pytest.raises(UsageError, match="holds something"):
        plant(table, tmp_path / "photos", ["triggers"])
    words = data.write(tmp_path / "words.json", [data.row("w", ("What?", "A long answer about nothing."))])
    with pytest.raises(UsageError, match="no row of the data"):
        plant(open_table(str(words), tmp_path, "words"), tmp_path / "out", ["triggers"])


def test_numbers_have_their_check_digits() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        digits = [int(one) for one in re.sub(r"\D", "", card(generator)[1])][::-1]
        doubled = [one * 2 - 9 * (one > 4) if place % 2 else one for place, one in enumerate(digits)]
        assert sum(doubled) % 10 == 0
        whole = iban(generator)[1].replace(" ", "")
        assert int("".join(str(int(one, 36)) for one in whole[4:] + whole[:4])) % 97 == 1
    assert {make(generator)[0] for make in MAKERS} == {
        "e-mail", "telephone", "card", "IBAN", "national id", "IP address",
    }  # fmt: skip
