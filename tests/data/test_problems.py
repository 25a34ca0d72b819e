"""Rows that may be bad: left out, counted once, listed; one too many stops everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.data import Preflight, Source, index, open_table, preflight, read_mixture, summarise
from pumice.data.mixture import Mixture
from pumice.data.problems import Refusal, Refusals, by_kind
from pumice.errors import DataError
from pumice.types import Encoded, Sample

from .parts import encoded


def row(number: int, **keys: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": f"Paint {number}."}]
    return {"id": f"r{number}", "image": f"{number}.png", "conversations": turns, **keys}


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    """Eight rows of which 1 has an unknown key, 3 no picture, 5 a broken one, 6 an answer that fails."""
    rows = [row(i) for i in range(8)]
    rows[1]["iamge"] = "x"
    for number in (0, 1, 2, 4, 5, 6, 7):
        Image.new("RGB", (6, 4), "red").save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"no picture")
    path = tmp_path / "mix.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def render(one: Sample, sizes: Any) -> Encoded:
    if one.id == "r6":
        raise DataError("the answer has 7 faults", where="message 1 (assistant)", remedy="mend it")
    return encoded(10 + int(one.id[1:]), learnt=2, spans=[(1, 4)])


def read(
    path: Path, refusals: Refusals, cache: Path | None = None, encode: Any = render, **keys: Any
) -> tuple[Mixture, Preflight]:
    source = Source("a", path, path.parent, allow_bad=refusals.allowed.get("a", 0), **keys)
    mixture = read_mixture([source], seed=0, cache_folder=cache, refusals=refusals)
    found = preflight(mixture.samples, encode, cache_folder=cache, settings="x", refusals=refusals)
    return mixture.without(found.refused), found.usable()


def test_bad_rows_up_to_the_number_are_left_out_and_listed(mix: Path) -> None:
    refusals = Refusals({"a": 4})
    mixture, found = read(mix, refusals)
    assert [sample.id for sample in mixture.samples] == ["r0", "r2", "r4", "r7"]
    assert found.lengths.tolist() == [10, 12, 14, 17]
    assert found.image_tokens.tolist() == [4] * 4
    assert {refusal.row: refusal.id for refusal in refusals.rows} == {1: "r1", 3: "r3", 5: "r5", 6: "r6"}
    assert refusals.rows[-1].where == f"{mix}, row 6, message 1 (assistant)"
    [summary] = summarise(mixture, found.lengths, found.supervised, refusals)
    assert (summary.rows, summary.kept, summary.samples, summary.refused) == (8, 4, 4, 4)
    assert summary.allow_bad == 4


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_one_too_many_stops_and_is_told_with_the_others(mix: Path, allowed: int) -> None:
    with pytest.raises(DataError) as caught:
        read(mix, Refusals({"a": allowed}))
    assert ", row 1" in str(caught.value)
    if allowed:
        assert "allow_bad" in str(caught.value)


def test_a_repeated_row_counts_once(mix: Path) -> None:
    refusals = Refusals({"a": 4})
    mixture, found = read(mix, refusals, weight=2)
    assert (len(mixture.samples), refusals.count("a")) == (8, 4)
    assert len(found.lengths) == 8


def test_the_second_time_only_bad_rows_are_looked_at(mix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = mix.parent / "cache"
    first, again = Refusals({"a": 4}), Refusals({"a": 4})
    mixture, found = read(mix, first, cache)
    monkeypatch.setattr(index, "_build", None)
    calls: list[str] = []

    def counting(one: Sample, sizes: Any) -> Encoded:
        calls.append(one.id)
        return render(one, sizes)

    later, same = read(mix, again, cache, counting)
    assert calls == ["r6"]
    assert again.rows == first.rows
    assert same.lengths.tolist() == found.lengths.tolist()
    assert later.fingerprint() == mixture.fingerprint()


def test_what_is_left_out_changes_the_fingerprint(mix: Path) -> None:
    mixture, _ = read(mix, Refusals({"a": 4}))
    (mix.parent / "5.png").unlink()
    Image.new("RGB", (6, 4)).save(mix.parent / "5.png")
    assert read(mix, Refusals({"a": 4}))[0].fingerprint() != mixture.fingerprint()


def test_a_file_without_one_good_row_is_an_error_whatever_is_allowed(mix: Path) -> None:
    with pytest.raises(DataError, match="no row that can be used"):
        open_table(mix, mix.parent / "nowhere", "a", allow_bad=None)


def test_reasons_are_told_apart_without_what_varies() -> None:
    rows = [
        Refusal.of(DataError(what, where=f"f.json, row {number}"), "a")
        for number, what in enumerate(
            [
                "image file /x/1.png does not exist",
                "it has 2,048 tokens",
                "image file /y/z.png does not exist",
            ]
        )
    ]
    kinds = by_kind(rows)
    assert [(kind, [one.row for one in found]) for kind, found in kinds] == [
        ("image file … does not exist", [0, 2]),
        ("it has … tokens", [1]),
    ]
    assert Refusal.of(DataError("x", where="f.json"), "a").row is None


def test_any_number_is_taken_to_be_held_against_a_bound_later(mix: Path) -> None:
    refusals = Refusals()
    mixture, _ = read(mix, refusals)
    assert len(mixture.samples) == 4
    refusals.check("rows")
    refusals.check("rows", {"a": 4})
    with pytest.raises(DataError, match=r"more than allow_bad lets pass \(a 3\) \(4\)"):
        refusals.check("rows", {"a": 3})
    assert np.array_equal(mixture.samples.without(np.array([0, 3])).distinct()[0], [0, 1])
