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
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pumice.data.problems import Problems
from pumice.errors import DataError
from pumice.types import Origin

CHUNK = 2**20
"""Bytes that are read at once."""
MAX_ROW = 2**28
"""Bytes of the longest row that is read: a file without line ends must not fill the memory."""

_LAYOUT = "a data file is one JSON list, or JSONL with one row per line"
_CUT = "the file was cut off: fetch or write it again"
_BLANK = re.compile(r"[ \t\n\r]*")
_NEAR = 16
"""A parser that stops so close to the end of what was read may only want more of the file."""
_OPEN = "Unterminated string"
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, its value, and which bytes of the file it is."""

    number: int
    value: Any
    start: int
    length: int


def read_rows(path: Path, problems: Problems, *, what: str = "data file") -> Iterator[Row]:
    """Every row of a JSON list or JSONL file, in order.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        problems: collects the lines of a JSONL file that are no JSON; the rows around them are read.
        what: what to call the file in errors.

    Raises:
        DataError: the file cannot be read, is in another encoding, or is a list that breaks off or is no
            JSON at some place (nothing behind that place can be told apart).
    """
    try:
        with path.open("rb") as handle:
            start, first = _beginning(handle, path, what)
            handle.seek(start)
            if first == b"[":
                yield from _List(handle, start, path, what).rows()
            else:
                yield from _lines(handle, start, path, problems)
    except OSError as error:
        raise DataError(
            f"the {what} cannot be read ({error})", where=str(path), remedy="check the path; it must be UTF-8"
        ) from error
    except ValueError as error:  # a null byte in the path
        raise DataError(
            f"the {what} cannot be read ({error})", where=repr(str(path)), remedy="check the path"
        ) from error


def read_objects(
    path: Path, problems: Problems, *, what: str = "data file"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and value of every row that is an object; other rows are collected as problems.

    Raises:
        DataError: as ``read_rows``, or the file holds no rows at all.
    """
    empty = True
    before = problems.count
    for row in read_rows(path, problems, what=what):
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
    while not first and (chunk := handle.read(CHUNK)):
        first = chunk.lstrip()[:1]
    return start, first


def _lines(handle: BinaryIO, start: int, path: Path, problems: Problems) -> Iterator[Row]:
    number = -1
    while line := handle.readline(MAX_ROW + 1):
        number += 1
        if not line.isspace():
            where = str(Origin(str(path), number))
            if number == 0 and line.strip() == b"{":
                raise DataError(
                    "the file is one JSON object over several lines", where=str(path), remedy=_LAYOUT
                )
            if len(line) > MAX_ROW:
                raise _too_long(where)
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
        return DataError(f"the last row is not JSON: it breaks off ({error})", where=where, remedy=_CUT)
    return DataError(f"the row is not JSON ({error})", where=where, remedy=_LAYOUT)


def _too_long(where: str) -> DataError:
    return DataError(f"the row has more than {MAX_ROW:,} bytes", where=where, remedy=_LAYOUT)


class _List:
    """A JSON list in a window of text that moves over the file.

    ``text[at:]`` is what has been read and not been used; ``byte`` is where ``text[at]`` stands.
    """

    def __init__(self, handle: BinaryIO, start: int, path: Path, what: str) -> None:
        self.handle, self.path, self.what = handle, path, what
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.at = 0
        self.byte = start
        self.read = start
        self.ended = False
        self.number = 0

    def rows(self) -> Iterator[Row]:
        """The list's values; what stands behind its end is an error."""
        self._take("[")
        if self._next() == "]":
            self._take("]")
        else:
            while True:
                self._next()
                start = self.byte
                yield Row(self.number, self._value(), start, self.byte - start)
                self.number += 1
                if self._next() == "]":
                    self._take("]")
                    break
                self._take(",")
        if self._next():
            raise self._bad("more text stands behind the end of the list")

    def _next(self) -> str:
        """The next character that is not blank, or "" at the end of the file."""
        while True:
            blank = _BLANK.match(self.text, self.at)
            assert blank is not None
            self._move(blank.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def _take(self, wanted: str) -> None:
        found = self._next()
        if found == "":
            raise self._broken_off()
        if found != wanted:
            raise self._bad(f"{found!r} stands where {wanted!r} or the end of the list must")
        self._move(self.at + 1)

    def _value(self) -> Any:
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                failure = self._failure(error)  # before more text moves the places in it
                if not self._may_go_on(error) or not self._more():
                    raise failure from error
            except RecursionError as error:
                raise self._bad("it is nested too deep") from error
            else:
                # A number may go on in the next chunk; a brace that ends one is simply read again.
                if end < len(self.text) or not self._more():
                    self._move(end)
                    return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether what a parser stumbled over may be no more than the end of what was read."""
        return error.msg.startswith(_OPEN) or error.pos >= len(self.text) - _NEAR

    def _failure(self, error: json.JSONDecodeError) -> DataError:
        """What to say if no more text comes: that it breaks off, or what is wrong with what is there."""
        rest = self.text[error.pos :].strip()
        if error.msg.startswith(_OPEN) or not rest or any(word.startswith(rest) for word in _WORDS):
            return self._broken_off()
        return self._bad(error.msg, error.pos)

    def _move(self, to: int) -> None:
        """Use the text up to ``to``."""
        used = self.text[self.at : to]
        self.byte += len(used) if used.isascii() else len(used.encode("utf-8", "surrogatepass"))
        self.at = to

    def _more(self) -> bool:
        """Read on; what is used is let go. Whether there was more."""
        rest = len(self.text) - self.at
        if self.ended:
            return False
        if rest > MAX_ROW:
            raise _too_long(str(Origin(str(self.path), self.number)))
        # A row that is longer than the window doubles it, so that it is not parsed once for each chunk.
        chunk = self.handle.read(max(CHUNK, rest))
        self.ended = not chunk
        try:
            more = self.decoder.decode(chunk, final=self.ended)
        except UnicodeDecodeError as error:
            held = len(error.object) - len(chunk)
            place = self.read - held + error.start
            raise DataError(
                f"the {self.what} cannot be read (it is not UTF-8 at byte {place})",
                where=str(Origin(str(self.path), self.number)),
                remedy="save the file as UTF-8",
            ) from error
        self.read += len(chunk)
        self.text = self.text[self.at :] + more
        self.at = 0
        return not self.ended

    def _bad(self, why: str, at: int | None = None) -> DataError:
        byte = self.byte + (0 if at is None else len(self.text[self.at : at].encode("utf-8", "replace")))
        return DataError(
            f"the {self.what} is not JSON (byte {byte}: {why})",
            where=str(Origin(str(self.path), self.number)),
            remedy="mend the file at that place",
        )

    def _broken_off(self) -> DataError:
        return DataError(
            f"the {self.what} is not JSON: it ends inside the list, at byte {self.byte}",
            where=str(Origin(str(self.path), self.number)),
            remedy=_CUT,
        )
