from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.data import Mixture, Source, read_mixture, summarise
from pumice.errors import DataError


def write(folder: Path, name: str, count: int) -> Path:
    path = folder / f"{name}.json"
    rows = [
        {
            "id": i,
            "conversations": [{"from": "human", "value": f"{name} {i}"}, {"from": "gpt", "value": "Yes."}],
        }
        for i in range(count)
    ]
    path.write_text(json.dumps(rows))
    return path


def read(tmp_path: Path, seed: int = 0, **changes: Any) -> Mixture:
    source = replace(Source("a", write(tmp_path, "a", 10)), **changes)
    return read_mixture([source, Source("b", write(tmp_path, "b", 4))], seed=seed)


def rows(mixture: Mixture, source: str = "a") -> list[int]:
    return [sample.origin.row for sample in mixture.samples if sample.source == source]


def test_sources_follow_one_another_in_file_order(tmp_path: Path) -> None:
    mixture = read(tmp_path)
    assert [sample.source for sample in mixture.samples] == ["a"] * 10 + ["b"] * 4
    assert rows(mixture) == list(range(10))


def test_weights_repeat_and_thin(tmp_path: Path) -> None:
    assert rows(read(tmp_path, weight=2)) == [*range(10)] * 2
    half = rows(read(tmp_path, weight=0.5))
    assert len(half) == 5 == len(set(half))
    assert half == sorted(half)
    more = rows(read(tmp_path, weight=1.3))
    assert more[:10] == list(range(10))
    assert len(more) == 13 == len(more[:10]) + len(set(more[10:]))


def test_limits_choose_by_seed(tmp_path: Path) -> None:
    chosen = rows(read(tmp_path, limit=4))
    assert len(chosen) == 4 == len(set(chosen))
    assert chosen == sorted(chosen) == rows(read(tmp_path, limit=4))
    assert any(rows(read(tmp_path, seed=seed, limit=4)) != chosen for seed in range(1, 4))
    assert len(rows(read(tmp_path, limit=40))) == 10
    assert rows(read(tmp_path, limit=4, weight=2)) == chosen * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, "has limit 0"),
        ({"weight": 0}, "has weight 0"),
        ({"weight": float("nan")}, "has weight nan"),
        ({"weight": 0.01}, "keeps none of its 10 rows"),
        ({"name": "b"}, "two sources are named 'b'"),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **changes)
    with pytest.raises(DataError, match="no source"):
        read_mixture([], seed=0)


def test_the_summary_counts_and_shares_supervised_tokens(tmp_path: Path) -> None:
    mixture = read(tmp_path)
    lengths = np.array([10] * 10 + [20] * 4)
    supervised = np.array([1] * 10 + [10] * 4)
    first, second = summarise(mixture, lengths, supervised)
    assert (first.source, first.samples, first.images, first.tokens, first.supervised_tokens) == (
        "a",
        10,
        0,
        100,
        10,
    )
    assert (second.samples, second.tokens, second.supervised_tokens) == (4, 80, 40)
    assert (first.share, second.share) == (0.2, 0.8)
    assert [(row.rows, row.kept) for row in (first, second)] == [(10, 10), (4, 4)]
    assert first.file.endswith("a.json")


def test_the_summary_tells_limited_rows_from_lost_ones(tmp_path: Path) -> None:
    def counts(**changes: Any) -> list[tuple[int, int, int]]:
        mixture = read(tmp_path, **changes)
        ones = np.ones(len(mixture.samples), dtype=np.int64)
        return [(row.rows, row.kept, row.samples) for row in summarise(mixture, ones, ones)]

    assert counts(limit=4, weight=2.5) == [(10, 4, 10), (4, 4, 4)]
    assert counts(limit=40)[0] == (10, 10, 10)


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    mixture = read(tmp_path)
    assert mixture.fingerprint() == read(tmp_path).fingerprint()
    assert mixture.fingerprint() != read(tmp_path, weight=2).fingerprint()
    path = tmp_path / "b.json"
    changed = path.read_text().replace("Yes.", "No.", 1)
    path.write_text(changed)
    sources = mixture.sources
    assert read_mixture(sources, seed=0).fingerprint() != mixture.fingerprint()
