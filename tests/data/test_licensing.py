from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pumice.data import open_table
from pumice.data.licensing import check_licences, count_licences, licence_notes
from pumice.data.table import SampleTable
from pumice.errors import DataError
from pumice.licences import make_policy

TALK = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    by = {"license": "CC-BY-4.0", "author": "Ada"}
    said: list[dict[str, str]] = [by, {"license": "cc by 4"}, {"license": "CC-BY-NC-4.0"}, {}]
    path = tmp_path / "in.json"
    path.write_text(json.dumps([{"conversations": TALK, **one} for one in (*said, *said[:2])]))
    return open_table(path, None, "s")


def test_rows_are_counted_by_what_their_licence_is_however_it_is_written(table: SampleTable) -> None:
    chosen = np.array([0, 1, 4, 4, 3, 2], np.int64)
    by, nc, unknown = count_licences(table, chosen)
    assert (by.licence, by.said, by.rows, by.samples, by.attributed) == ("CC-BY-4.0", "CC-BY-4.0", 3, 4, 2)
    assert [place.rpartition(", ")[2] for place in by.first] == ["row 0", "row 1", "row 4"]
    assert (unknown.licence, unknown.said, unknown.rows) == ("unknown", "", 1)
    assert (nc.licence, nc.attributed) == ("CC-BY-NC-4.0", 0)


def test_a_policy_names_the_rows_it_refuses_and_tells_those_it_lets_pass(table: SampleTable) -> None:
    rows = count_licences(table, np.arange(6, dtype=np.int64))
    summary = {"source": "talk", "licences": [asdict(one) for one in rows]}
    policy = make_policy("commercial", (), (), "refuse")
    with pytest.raises(DataError) as error:
        check_licences(policy, [summary, summary])  # two stages, told once
    lines = error.value.what.splitlines()
    assert lines[0] == "there are rows that may not be trained on (purpose: commercial):"
    assert sorted(line.split(" (")[0].strip() for line in lines[1:]) == [
        "1 row of talk: CC-BY-NC-4.0 permits no commercial use",
        "1 row of talk: no known licence",
    ]
    assert "row 2)" in error.value.what
    assert "data.NAME.licence" in str(error.value.remedy)
    lenient = make_policy("research", (), (), "warn")
    check_licences(lenient, [summary])
    (note,) = licence_notes(lenient, [summary])
    assert note.startswith("1 row of talk")
    assert licence_notes(None, [summary]) == []
