"""Reading what benchmarks publish: rows and objects of JSON, tables, every error with the line it is about.

The readers are those of training data (``data/rows.py``). People look into answer files with an editor, so
errors here count lines from 1, in lists that are printed over many lines, too.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pumice.data.parquet import parquet_rows
from pumice.data.problems import Problems, Refusal
from pumice.data.rows import as_object, kind, read_placed_items, read_rows
from pumice.errors import DataError, suggest

_BYTE = re.compile(r"byte (\d+)")


class Row(NamedTuple):
    """An object of a file, and the place that errors name: ``FILE, line 3``."""

    value: dict[str, Any]
    where: str


def read(path: Path, what: str) -> list[Row]:
    """All rows of a JSONL file, a JSON list, a TSV or CSV table with a head, or a parquet file.

    Args:
        path: the file.
        what: what to call it in errors: ``answer file``.

    Raises:
        DataError: it is missing or empty, or a row of it is no object; the line is named.
        MissingExtraError: it is a parquet file and pyarrow is not installed.
    """
    ending = path.suffix.lower()
    if ending in (".tsv", ".csv"):
        rows = list(_table(path, what, "\t" if ending == ".tsv" else ","))
    elif ending == ".parquet":
        rows = [Row(row, f"{path}, row {number + 1}") for number, row in enumerate(parquet_rows(path))]
    else:
        rows = list(_json_rows(path, what))
    if not rows:
        raise DataError(
            f"the {what} holds no rows", where=str(path), remedy="check that it is the right file"
        )
    return rows


def read_under(path: Path, key: str, what: str) -> Iterator[tuple[str, Any]]:
    """Name and value of what stands under a key of a file's only object; "" takes the object's own members.

    Of a list the name is the number as text, from 0.

    Raises:
        DataError: the file cannot be read, is no such object, or has no such key; the line is named.
    """
    yield from ((name, value) for name, value, _ in _placed(path, key, what))


def object_rows(path: Path, key: str, what: str) -> Iterator[tuple[str, Row]]:
    """As ``read_under``, of values that are objects.

    Raises:
        DataError: as there, or a value is something else, or a name stands twice.
    """
    lines: dict[str, int] = {}
    for name, value, line in _placed(path, key, what):
        where = f"{path}, line {line} ({name!r})"
        if name in lines:
            raise DataError(
                f"{name!r} stands twice, before in line {lines[name]}",
                where=where,
                remedy="take the file as it was published",
            )
        lines[name] = line
        yield name, Row(as_object(value, where), where)


def _placed(path: Path, key: str, what: str) -> Iterator[tuple[str, Any, int]]:
    """Name, value and line."""
    if not path.is_file():
        raise missing_file(path, what)
    try:
        with path.open("rb") as file:
            line = 1
            for name, start, value in read_placed_items(path, key, what=what):
                line += file.read(start - file.tell()).count(b"\n")
                yield name, value, line
    except DataError as error:
        raise _lined(error, path) from error


def rows_or_under(path: Path, key: str, what: str) -> list[Row]:
    """The rows of a list or table, or those under a key of one object, whichever the file is."""
    if is_object(path, what):
        return [row for _, row in object_rows(path, key, what)]
    return read(path, what)


def is_object(path: Path, what: str) -> bool:
    """Whether a file is one JSON object, and neither rows nor a table."""
    return path.suffix.lower() in (".json", "") and _first(path, what) == b"{" and not _is_lines(path)


def missing_file(path: Path, what: str) -> DataError:
    """The error for a file that is not there."""
    if path.is_dir():
        return DataError(f"the {what} is a folder", where=str(path), remedy="name the file in it")
    near = path.parent
    there = sorted(entry.name for entry in near.iterdir()) if near.is_dir() else []
    remedy = suggest(path.name, there[:20]) if there else "check the path"
    return DataError(f"there is no {what}", where=str(path), remedy=remedy)


def text_of(row: Mapping[str, Any], key: str, where: str) -> str:
    """A row's text under a key; it may be empty.

    Raises:
        DataError: there is none, or something else.
    """
    value = need(row, key, where)
    if not isinstance(value, str):
        raise DataError(f"{key} is {kind(value)}, not a string", where=where, remedy=f"write {key} as text")
    return value


def need(row: Mapping[str, Any], key: str, where: str) -> Any:
    """What stands under a key that must be there."""
    if key not in row:
        raise DataError(f"the key {key!r} is missing", where=where, remedy=suggest(key, map(str, row)))
    return row[key]


def strings_of(row: Mapping[str, Any], key: str, where: str) -> list[str]:
    """A list of texts; numbers among them, as some files have them, are written out."""
    value = need(row, key, where)
    if not isinstance(value, list) or not value:
        raise DataError(
            f"{key} is an empty list" if value == [] else f"{key} is {kind(value)}, not a list of answers",
            where=where,
            remedy="take the file as it was published; the truths of test splits are not in them",
        )
    found = [entry["answer"] if isinstance(entry, dict) and "answer" in entry else entry for entry in value]
    if not all(isinstance(entry, str | int | float) for entry in found):
        raise DataError(f"{key} holds something that is no text", where=where, remedy="check the file")
    return [str(entry) for entry in found]


def _first(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise missing_file(path, what)
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _is_lines(path: Path) -> bool:
    """Whether a file that begins with a brace has an object a line: its first line is whole in itself."""
    with path.open("rb") as file:
        line = file.readline(1 << 24)
        whole = line.endswith(b"\n") and line.rstrip().endswith(b"}")
        return whole and bool(file.readline(1 << 24).strip())


def _json_rows(path: Path, what: str) -> Iterator[Row]:
    lines = _first(path, what) != b"["
    problems = Problems()
    line = 1
    try:
        with path.open("rb") as file:
            for row in read_rows(path, problems, what=what):
                if problems.count:
                    break
                if lines:
                    line = row.number + 1
                else:
                    line += file.read(row.start - file.tell()).count(b"\n")
                where = f"{path}, line {line}"
                yield Row(as_object(row.value, where), where)
    except DataError as error:
        raise _lined(error, path) from error
    if problems.count:
        raise _lined(problems.kept[0], path)


def _lined(error: Any, path: Path) -> DataError:
    """The error with the line it is about, where that can be told."""
    if f"{path}, line " in (error.where or ""):
        return DataError(error.what, where=error.where, remedy=error.remedy)
    found = _BYTE.search(error.what)
    place = Refusal.of(error, "")
    where = error.where
    if found and "of the line" not in error.what:
        with path.open("rb") as file:
            where = f"{path}, line {file.read(int(found[1])).count(bytes([10])) + 1}"
    elif place.row is not None:
        where = f"{path}, line {place.row + 1}"
    return DataError(error.what, where=where, remedy=error.remedy)


def _table(path: Path, what: str, delimiter: str) -> Iterator[Row]:
    if not path.is_file():
        raise missing_file(path, what)
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # pictures in base64 stand in one field
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        head: list[str] = []
        last = 0
        try:
            for fields in reader:
                where = f"{path}, line {last + 1}"
                last = reader.line_num
                if not head:
                    head = fields
                elif fields:
                    if len(fields) != len(head):
                        raise DataError(
                            f"the row has {len(fields)} fields, the head {len(head)}",
                            where=where,
                            remedy="the file may have been cut off: fetch it again",
                        )
                    yield Row(dict(zip(head, fields, strict=True)), where)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"the {what} cannot be read ({error})",
                where=f"{path}, line {last + 1}",
                remedy="save it as a table in UTF-8",
            ) from error
