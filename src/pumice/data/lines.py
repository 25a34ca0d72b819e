"""Writing rows as JSON, one a line, into a file that appears whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pumice.files import replacing, write_text

_BREAKS = re.compile("[\x85\u2028\u2029]")


def to_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON, without the line's end."""
    line = json.dumps(row, ensure_ascii=False)
    if _BREAKS.search(line):  # a line to those who split by Unicode's rules
        return json.dumps(row)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no bytes in UTF-8, but an escape
        return json.dumps(row)
    return line


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSONL in UTF-8; the file appears whole or not at all."""
    write_text(path, "".join(to_line(row) + "\n" for row in rows))


@contextmanager
def lines_file(path: Path, *, llava: bool, shared: bool = True) -> Iterator[Callable[[str], None]]:
    """A file filled line by line that appears under its name only when the block ends well.

    Args:
        path: the file; its folder exists.
        llava: whether the lines become one JSON list (LLaVA's layout) rather than JSONL.
        shared: whether several processes may write it at once; if not, what a killed one left goes.
    """
    with (
        replacing(path, shared=shared) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        yield _adder(file, llava)
        if llava:
            file.write("\n]\n" if file.tell() else "[]\n")
        file.flush()
        os.fsync(file.fileno())


def _adder(file: TextIO, llava: bool) -> Callable[[str], None]:
    before, after = ("[\n", "") if llava else ("", "\n")

    def add(line: str) -> None:
        nonlocal before
        file.write(f"{before}{line}{after}")
        before = ",\n" if llava else ""

    return add
