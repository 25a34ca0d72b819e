from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.data import window
from pumice.data.problems import Problems
from pumice.data.rows import Row, read_items, read_objects, read_place, read_rows
from pumice.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(path: Path) -> list[Row]:
    problems = Problems()
    found = list(read_rows(path, problems))
    problems.raise_if_any("rows are bad")
    return found


@settings(max_examples=30)
@given(
    values=st.lists(VALUES, max_size=6),
    chunk=st.integers(1, 40),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
    mark=st.booleans(),
)
def test_a_list_reads_as_json_does_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[Any],
    chunk: int,
    ascii_only: bool,
    indent: int | None,
    mark: bool,
) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    # A lone half of a surrogate pair has no bytes in UTF-8; JSON can still spell it.
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode("utf-8", "replace") + b"\n ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "CHUNK", chunk)
        found = read(path)
    expected = json.loads(path.read_bytes().decode("utf-8-sig"))
    assert [row.value for row in found] == expected
    assert [row.number for row in found] == list(range(len(expected)))
    with path.open("rb") as handle:
        assert [read_place(handle, row.start, row.length, "here") for row in found] == expected


def test_lines_are_numbered_and_placed_with_blank_ones_between(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff{"a": "é"}\r\n\n{"a": 2}\n   \n{"a": 3}'.encode())
    found = read(path)
    assert [(row.number, row.value["a"]) for row in found] == [(0, "é"), (2, 2), (4, 3)]
    with path.open("rb") as handle:
        assert [read_place(handle, row.start, row.length, "")["a"] for row in found] == ["é", 2, 3]


@pytest.mark.parametrize(
    ("content", "message", "row"),
    [
        (b'[{"a": 1}, {"a": }]', "is not JSON (byte 17: Expecting value", 1),
        (b'[{"a": 1} {"a": 2}]', "'{' stands where ',' must", 1),
        (b'[{"a": 1}, ]', "is not JSON (byte 11", 1),
        (b'[{"a": 1}, {"a": "cut', "breaks off at byte 11", 1),
        (b'[{"a": 1}', "breaks off", 1),
        (b'[{"a": 1},', "breaks off", 1),
        (b"[", "breaks off", 0),
        (b"[{}]\n[{}]", "more text stands behind the end", 1),
        (b'[{"a": "\xe9"}]', "not UTF-8 at byte 8", 0),
        (b"[" * 100_000, "is not JSON", 0),
        (b'{"a": 1}\n{"a": 2', "the last row is not JSON: it breaks off", 1),
        (b'{"a": 1}\n{"a": 2\n{"a": 3}\n', "the row is not JSON", 1),
        (b'{"a": 1}\n{"a": "\xe9"}\n', "the row is not UTF-8 (byte 7 of the line)", 1),
    ],
)
def test_what_is_no_json_is_named_with_its_row(
    tmp_path: Path, content: bytes, message: str, row: int
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert message in caught.value.what
    assert caught.value.where == f"{path}, row {row}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n  "a": 1\n}\n', "one JSON object over several lines"),
        ("[{}]".encode("utf-16"), "it is UTF-16"),
        (b"", "the list of things holds no rows"),
        (b" \n ", "the list of things holds no rows"),
        (b"[ ]", "the list of things holds no rows"),
    ],
)
def test_files_that_hold_no_rows(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_objects(path, Problems(), what="list of things"))
    assert message in caught.value.what
    assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["none.json", "a\0b.json", "."])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="the data file cannot be read"):
        read(tmp_path / name)


def test_rows_that_are_no_objects_are_collected_and_the_others_given(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, 3, {"a": 2}, null]')
    problems = Problems()
    assert [number for number, _ in read_objects(path, problems)] == [0, 2]
    assert [error.what for error in problems.kept] == [
        "the row is a number, not an object",
        "the row is null, not an object",
    ]


@pytest.mark.parametrize("layout", ["list", "lines"])
def test_a_row_that_never_ends_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.setattr(window, "MAX_ROW", 1000)
    monkeypatch.setattr(window, "CHUNK", 100)
    path = tmp_path / "rows.json"
    path.write_text(f'{"[" if layout == "list" else ""}"{"x" * 5000}"')
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        read(path)


def test_a_list_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "CHUNK", 10_000)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "x" * 1000, "row": i} for i in range(1000)]))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path, Problems())) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 8


def test_a_place_that_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    with path.open("rb") as handle, pytest.raises(DataError, match="no longer where it was"):
        read_place(handle, 3, 4, "here")


OBJECT = {"info": {"a": [1, {"b": "]}"}]}, "rows": [{"é": 1}, 2, "x"], "named": {"p": 1, "q": [2]}, "n": 3}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("rows", [("0", {"é": 1}), ("1", 2), ("2", "x")]),
        ("named", [("p", 1), ("q", [2])]),
        ("", list(OBJECT.items())),
    ],
)
def test_the_values_under_a_key_come_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, key: str, expected: Any
) -> None:
    monkeypatch.setattr(window, "CHUNK", chunk)
    path = tmp_path / "file.json"
    path.write_text(json.dumps(OBJECT, ensure_ascii=False, indent=chunk % 2 or None), encoding="utf-8")
    assert list(read_items(path, key)) == expected


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('{"a": 1}', "rows", "has no key 'rows'"),
        ("{}", "rows", "has no key 'rows'"),
        ('{"rows": 3}', "rows", "'rows' is neither a list nor an object"),
        ("[1]", "rows", "'[' stands where '{' must"),
        ("{a: 1}", "rows", "a name in quotes must stand here"),
        ('{"rows": [1, 2', "rows", "breaks off"),
        ('{"a": 1 "rows": []}', "rows", "stands where ',' must"),
    ],
)
def test_files_without_such_a_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(read_items(path, key, what="list of things"))
    assert message in caught.value.what
    assert str(path) in str(caught.value.where)
