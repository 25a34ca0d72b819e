from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pumice.data import open_table
from pumice.data.attribution import attribute, notice
from pumice.data.table import SampleTable
from pumice.types import Rights

TALK = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
SAID = [
    {"license": "CC BY 4.0", "author": "Ada", "url": "https://x.org/1", "source": "sea"},
    {"license": "cc-by-4.0", "author": "Ada", "url": "https://x.org/1", "source": "sea"},
    {"license": "cc-by-4.0", "author": "Ada", "url": "https://x.org/2", "source": "sea"},
    {"license": "cc-by-4.0"},
    {"license": "CC0", "author": "B | <b>ob</b>\n# loud", "url": "javascript:alert(1)"},
    {"license": "ask me"},
    {},
]


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    path = tmp_path / "in.json"
    path.write_text(json.dumps([{"conversations": TALK, **one} for one in SAID]))
    (tmp_path / "generation.json").write_text(json.dumps({"teachers": [{"model": "gpt"}, {"model": "gpt"}]}))
    return open_table(path, None, "talk")


def test_each_is_named_once_and_what_is_not_known_comes_first(table: SampleTable) -> None:
    found = attribute("a thing", [(table, np.array([0, 0, 1, 2, 3])), (table, np.array([0, 4, 5, 6]))])
    told = [(one.licence, one.attribution, one.dataset, one.rows, bool(one.lacking)) for one in found.credits]
    assert told == [
        ("CC-BY-4.0", "", "talk", 1, True),
        ("unknown", "", "talk", 1, True),
        ("unknown ('ask me')", "", "talk", 1, True),
        ("CC-BY-4.0", "Ada", "sea", 3, False),
        ("CC0-1.0", "B | <b>ob</b> # loud", "talk", 1, False),
    ]
    assert list(found.credits[3].urls) == ["https://x.org/1", "https://x.org/2"]
    as_json = json.loads(json.dumps(found.to_dict()))
    assert as_json["rows"] == 7
    assert as_json["licences"]["CC-BY-4.0"]["share_alike"] is False
    assert as_json["credits"][0]["lacking"].startswith("under CC-BY-4.0, which asks to name an author")


def test_the_notice_says_all_of_it_and_nothing_of_a_row_becomes_markup(table: SampleTable) -> None:
    text = notice(attribute("a *thing*", [(table, np.arange(7))]))
    assert text.index("## Not known") < text.index("## CC-BY-4.0")
    assert "7 rows of a \\*thing\\*." in text
    assert "- Ada: 3 rows of sea\n  - <https://x.org/1>\n  - <https://x.org/2>\n" in text
    assert "- B \\| \\<b\\>ob\\</b\\> \\# loud: 1 row of talk\n  - javascript:alert(1)\n" in text
    assert "questions and answers were written by gpt from captions and boxes" in text
    assert "<https://creativecommons.org/licenses/by/4.0/>" in text


def test_the_notice_names_files_and_not_where_they_lie(table: SampleTable) -> None:
    found = attribute("x", [(table, np.arange(len(table)))])
    text = notice(found)
    assert "## No known licence" in text
    assert "unknown" not in text, "no licence has that name"
    name = Path(table.head.path).name
    assert f"({name}, row " in text
    assert str(Path(table.head.path).parent) not in text


def test_a_source_speaks_for_its_rows(table: SampleTable) -> None:
    given = table.bound("talk", None, "Answer briefly.", Rights("MIT", "Us"))
    found = attribute("x", [(given, np.array([5, 6]))])
    assert {(one.licence, one.attribution) for one in found.credits} == {
        ("MIT", "Us"),
        ("unknown ('ask me')", "Us"),
    }
    assert any("'Answer briefly.' was put behind every question" in change for change in found.changes)
