"""A data file without its erased rows, written beside and put in its place; all other rows as they lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pumice.data.forms import FORMS
from pumice.data.problems import Problems
from pumice.data.rows import read_rows
from pumice.data.table import stamp_of
from pumice.errors import DataError
from pumice.files import replacing
from pumice.trust.lineage.select import Chosen


def check_rewrite(chosen: Chosen) -> None:
    """Refuse a file that cannot be written without rows.

    Raises:
        DataError: it is no JSON, or nothing would be left.
    """
    if chosen.table.head.format not in FORMS:
        raise DataError(
            f"{chosen.table.head.format} is not rewritten in place",
            where=chosen.file.path,
            remedy="leave --rewrite out: the rows are erased all the same; `pumice data convert` writes "
            "a new file without them",
        )
    if len(chosen.rows) == len(chosen.table):
        raise DataError(
            "no row would be left", where=chosen.file.path, remedy="delete the file, or leave --rewrite out"
        )


def rewrite(chosen: Chosen) -> int:
    """Write the file without the chosen rows; returns by how many bytes it became smaller.

    A row without an id has its number for one. Behind a row that goes it gets that id written in, so that it
    stays the row that it was.

    Raises:
        DataError: as ``check_rewrite``, or the file changed meanwhile.
    """
    check_rewrite(chosen)
    path = Path(os.path.realpath(chosen.file.path))  # a link stays one, and what it leads to gets smaller
    if stamp_of(path) != chosen.table.head.stamps[0]:
        raise DataError(
            "the data file changed since its rows were chosen",
            where=str(path),
            remedy="its rows have their tombstones and are not read again; "
            "`pumice data convert` writes a file without them",
        )
    gone = {chosen.table.origin(row).row for row in chosen.rows}
    before, lines = path.stat().st_size, path.suffix == ".jsonl" or not _is_list(path)
    kept, problems = [], Problems()
    with path.open("rb") as file:
        for row in read_rows(path, problems):
            if row.number in gone:
                continue
            file.seek(row.start)
            data = file.read(row.length)
            kept.append(_with_id(data, row.value, row.number) if row.number > min(gone) else data)
    problems.raise_if_any(f"{path} has lines that are no JSON, and would be lost")
    with replacing(path) as partial, partial.open("wb") as out:
        if lines:
            out.writelines(one.strip() + b"\n" for one in kept)
        else:
            out.write(b"[\n" + b",\n".join(kept) + b"\n]\n")
        out.flush()
        os.fsync(out.fileno())
    return before - path.stat().st_size


def _with_id(data: bytes, value: Any, number: int) -> bytes:
    if not isinstance(value, dict) or "id" in value:
        return data
    head, brace, rest = data.partition(b"{")
    comma = b", " if value else b""
    return head + brace + b'"id": ' + json.dumps(str(number)).encode() + comma + rest.lstrip()


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
