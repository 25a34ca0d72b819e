"""JSON that is too large to hold, taken apart value by value."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pumice.errors import DataError
from pumice.types import Origin

CHUNK = 2**20
"""Bytes that are read at once."""
MAX_ROW = 2**28
"""Bytes of the longest value that is read: a file without line ends must not fill the memory."""
CUT = "the file was cut off: fetch or write it again"

_BLANK = re.compile(r"[ \t\n\r]*")
_NEAR = 16
"""A parser that stops so close to the end of what was read may only want more of the file."""
_OPEN = "Unterminated string"
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_DECODER = json.JSONDecoder()


def too_long(where: str) -> DataError:
    """The error for a row that does not end."""
    return DataError(
        f"the row has more than {MAX_ROW:,} bytes",
        where=where,
        remedy="a data file is one JSON list, or JSONL with one row per line",
    )


class Window:
    """JSON text, of which only a part is held while it moves over the file.

    ``text[at:]`` is what has been read and not been used; ``byte`` is where ``text[at]`` stands; ``number``
    counts the values that were given out, for errors.
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

    def items(self) -> Iterator[tuple[int, int, Any]]:
        """The values of the list that the text is, each with its first byte and its number of bytes.

        Raises:
            DataError: it is no list, is no JSON at some place, breaks off, or goes on behind the list.
        """
        for start, _, value in self._members("["):
            yield start, self.byte - start, value
        if self._next():
            raise self._bad("more text stands behind the end of the list")

    def under(self, key: str) -> Iterator[tuple[int, str, Any]]:
        """The members that stand under a key of the object that the text is, with their first byte.

        See ``rows.read_items``.
        """
        if not key:
            yield from self._members("{")
            return
        self._take("{")
        while self._next() != "}":
            name, first = self._name(), self._next()
            if name == key:
                if first not in ("[", "{"):
                    raise self._bad(f"{key!r} is neither a list nor an object")
                yield from self._members(first)
                return
            self._value()
            if self._next() != "}":
                self._take(",")
        raise DataError(
            f"the {self.what} has no key {key!r}",
            where=str(self.path),
            remedy="check that it is the right file",
        )

    def _members(self, first: str) -> Iterator[tuple[int, str, Any]]:
        """The values of a list (``first`` is "[") or an object, with their first byte and their name."""
        last = "]" if first == "[" else "}"
        self._take(first)
        if self._next() == last:
            self._take(last)
            return
        while True:
            name = self._name() if first == "{" else str(self.number)
            self._next()
            start = self.byte
            value = self._value()
            yield start, name, value
            self.number += 1
            if self._next() == last:
                self._take(last)
                return
            self._take(",")

    def _name(self) -> str:
        if self._next() != '"':
            raise self._bad("a name in quotes must stand here")
        name: str = self._value()
        self._take(":")
        return name

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
            raise self._bad(f"{found!r} stands where {wanted!r} must")
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
            raise too_long(str(Origin(str(self.path), self.number)))
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
            f"the {self.what} is not JSON: it breaks off at byte {self.byte}",
            where=str(Origin(str(self.path), self.number)),
            remedy=CUT,
        )
