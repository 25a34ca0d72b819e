"""Counting in several processes is counting in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.data import Source, count_tokens, counting, read_mixture
from pumice.data.problems import Refusals
from pumice.errors import DataError
from pumice.types import Encoded, Sample

from .parts import encoded


def render(one: Sample, sizes: Any) -> Encoded:
    number = int(one.id)
    if number % 5 == 3:
        raise DataError(f"the answer has {number} faults", where="message 1", remedy="mend it")
    return encoded(5 + number, learnt=2)


@pytest.fixture
def samples(tmp_path: Path) -> Any:
    rows = [
        {"id": i, "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Yes."}]}
        for i in range(23)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return read_mixture([Source("a", path)], seed=0).samples


def test_several_processes_count_and_refuse_alike(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MANY", 1)
    monkeypatch.setattr(counting, "CHUNK", 4)
    told: list[tuple[str, int, int]] = []
    alone, together = Refusals(), Refusals()
    one = count_tokens(samples, render, {}, refusals=alone)
    two = count_tokens(
        samples, render, {}, refusals=together, processes=2, progress=lambda *event: told.append(event)
    )
    assert two.lengths.tolist() == one.lengths.tolist()
    assert two.supervised.tolist() == one.supervised.tolist()
    assert together.rows == alone.rows
    assert [row.remedy for row in together.rows] == ["mend it"] * 4
    assert told[-1] == ("samples", 23, 23)
    with pytest.raises(DataError, match=r"samples cannot be used \(4\)") as caught:
        count_tokens(samples, render, {}, processes=2)
    assert "rows.json, row 13, message 1: the answer has 13 faults" in str(caught.value)


def test_few_samples_are_not_worth_a_process(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "runner", None)
    assert len(count_tokens(samples, render, {}, refusals=Refusals(), processes=2).lengths) == 23
