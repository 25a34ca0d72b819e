"""Rows as lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.data.lines import to_line, write_lines


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\nb", "\ud83d", "\u00fc \u4f60"])
def test_a_row_is_one_line_to_every_reader(tmp_path: Path, text: str) -> None:
    assert len(to_line({"text": text}).splitlines()) == 1
    write_lines(tmp_path / "rows.jsonl", [{"text": text}, {"text": "next"}])
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert rows == [{"text": text}, {"text": "next"}]


def test_readable_text_stays_as_it_is() -> None:
    assert to_line({"text": "\u4f60"}) == '{"text": "\u4f60"}'
