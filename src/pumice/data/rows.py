"""Rows of JSON files, read one after the other: the only place that takes such a file apart.

A file is JSONL (one value a line) or one JSON list, compact or printed over many lines; which of the two,
its first character says. Either is read in chunks, so a list of gigabytes needs a few megabytes. Each row
comes with the bytes it stands in, so that it can be read again alone (``read_place``).

Rows are counted from 0; in JSONL the number is that of the line.
"""

from __future__ import annotations

import codecs
import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pumice.data import window
from pumice.data.problems import Problems
from pumice.data.window import CUT, Window, too_long
from pumice.errors import DataError
from pumice.types import Origin

REMEDY = "check the path; it must be UTF-8"
_LAYOUT = "a data file is one JSON list, or JSONL with one row per line"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, its value, and which bytes of the file it is."""

    number: int
    value: Any
    start: int
    length: int


def read_rows(
    path: Path, problems: Problems, *, what: str = "data file", remedy: str = REMEDY
) -> Iterator[Row]:
    """Every row of a JSON list or JSONL file, in order.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        problems: collects the lines of a JSONL file that are no JSON; the rows around them are read.
        what: what to call the file in errors.
        remedy: what to do where it cannot be opened.

    Raises:
        DataError: the file cannot be read, is in another encoding, or is a list that breaks off or is no
            JSON at some place (nothing behind that place can be told apart).
    """
    with _opened(path, what, remedy) as (handle, start, first):
        if first == b"[":
            for number, (place, length, value) in enumerate(Window(handle, start, path, what).items()):
                yield Row(number, value, place, length)
        else:
            yield from _lines(handle, start, path, problems)


def read_items(path: Path, key: str, *, what: str = "data file") -> Iterator[tuple[str, Any]]:
    """The values that stand under one key of a file's only object, in order, without holding all of them.

    Args:
        path: the file, one JSON object: ``{"info": ..., KEY: [value, ...]}`` or ``{KEY: {name: value}}``.
        key: the key; "" takes the values of the object itself.
        what: what to call the file in errors.

    Returns:
        Name and value; of a list, the number as text is the name.

    Raises:
        DataError: the file cannot be read, is no such object, or has no such key.
    """
    yield from ((name, value) for name, _, value in read_placed_items(path, key, what=what))


def read_placed_items(path: Path, key: str, *, what: str = "data file") -> Iterator[tuple[str, int, Any]]:
    """As ``read_items``, with the byte of the file where each value begins."""
    with _opened(path, what) as (handle, start, _):
        yield from ((name, at, value) for at, name, value in Window(handle, start, path, what).under(key))


def read_objects(
    path: Path, problems: Problems, *, what: str = "data file", remedy: str = REMEDY
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and value of every row that is an object; other rows are collected as problems.

    Raises:
        DataError: as ``read_rows``, or the file holds no rows at all.
    """
    empty = True
    before = problems.count
    for row in read_rows(path, problems, what=what, remedy=remedy):
        empty = False
        try:
            yield row.number, as_object(row.value, str(Origin(str(path), row.number)))
        except DataError as error:
            problems.add(error)
    if empty and problems.count == before:
        raise no_rows(path, what)


def as_object(value: object, where: str) -> dict[str, Any]:
    """The row, which must be an object.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"the row is {kind(value)}, not an object", where=where, remedy="a row is {...}")
    return value


def no_rows(path: Path, what: str = "data file") -> DataError:
    """The error for a file without a row."""
    return DataError(f"the {what} holds no rows", where=str(path), remedy="check that it is the right file")


def kind(value: object) -> str:
    """What JSON calls a value, with its article: ``an object``, ``null``."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def read_place(handle: BinaryIO, start: int, length: int, where: str) -> Any:
    """The value that stands in some bytes of a file, as ``Row`` told them.

    Raises:
        DataError: no JSON stands there: the file is not what it was.
    """
    handle.seek(start)
    try:
        return json.loads(handle.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the row is no longer where it was ({error})",
            where=where,
            remedy="the file changed while it was in use: start again",
        ) from error


@contextmanager
def collector_paused() -> Iterator[None]:
    """Cyclic garbage collection off: it would walk a growing, acyclic list over and over (3x slower)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _opened(path: Path, what: str, remedy: str = REMEDY) -> Iterator[tuple[BinaryIO, int, bytes]]:
    """The file, where its text begins, and its first character; errors of the system as ``DataError``."""
    try:
        with path.open("rb") as handle:
            start, first = _beginning(handle, path, what)
            handle.seek(start)
            yield handle, start, first
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the {what} cannot be read ({reason})", where=str(path), remedy=remedy) from error


def _beginning(handle: BinaryIO, path: Path, what: str) -> tuple[int, bytes]:
    """Where the text begins behind a byte order mark, and its first character that is not blank."""
    head = handle.read(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"the {what} cannot be read (it is UTF-16)", where=str(path), remedy="save it as UTF-8"
        )
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    handle.seek(start)
    first = b""
    while not first and (chunk := handle.read(window.CHUNK)):
        first = chunk.lstrip()[:1]
    return start, first


def _lines(handle: BinaryIO, start: int, path: Path, problems: Problems) -> Iterator[Row]:
    number = -1
    while line := handle.readline(window.MAX_ROW + 1):
        number += 1
        if not line.isspace():
            where = str(Origin(str(path), number))
            if number == 0 and line.strip() == b"{":
                raise DataError(
                    "the file is one JSON object over several lines", where=str(path), remedy=_LAYOUT
                )
            if len(line) > window.MAX_ROW:
                raise too_long(where)
            try:
                value = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                problems.add(_bad_line(error, where, cut=not line.endswith(b"\n") and number > 0))
            else:
                yield Row(number, value, start, len(line))
        start += len(line)


def _bad_line(error: Exception, where: str, *, cut: bool) -> DataError:
    if isinstance(error, UnicodeDecodeError) and not cut:
        what = f"the row is not UTF-8 (byte {error.start} of the line)"
        return DataError(what, where=where, remedy="save the file as UTF-8")
    if cut:
        return DataError(f"the last row is not JSON: it breaks off ({error})", where=where, remedy=CUT)
    return DataError(f"the row is not JSON ({error})", where=where, remedy=_LAYOUT)
