"""A data file again without some of its rows, in its own form, the other rows byte by byte as they are."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Container
from itertools import groupby
from pathlib import Path

from pumice.data.formats import content_files
from pumice.data.forms import FORMS
from pumice.data.parquet import copy_rows
from pumice.data.shards import SUFFIX, key_of
from pumice.data.table import SampleTable
from pumice.errors import UsageError
from pumice.files import replacing


def write_without(table: SampleTable, dropped: Container[int], out: Path) -> int:
    """Write the rows of a data file but some. Rows that could not be read are left out, too.

    Args:
        table: the file's rows.
        dropped: numbers of rows in the table.
        out: the file that is written, with the ending of the file that is read; of a folder of shards, a new
            folder. It appears whole or not at all.

    Returns:
        How many rows were written.

    Raises:
        UsageError: an ending that does not fit, the file itself, or data of the hub.
    """
    _check(table, out)
    kept = [row for row in range(len(table)) if row not in dropped]
    if table.head.format in FORMS:
        _write_json(table, kept, out)
    elif table.head.format == "parquet":
        rows = {int(table.columns.row_number[row]) for row in kept}
        with replacing(out) as partial:
            copy_rows(content_files(table.head.path, "parquet"), partial, rows)
    else:
        _write_shards(table, kept, out)
    return len(kept)


def _check(table: SampleTable, out: Path) -> None:
    head = table.head
    if head.format == "hub":
        raise UsageError(
            "data of the hub has no file of its own",
            where=str(out),
            remedy="write it into one first: pumice data convert",
        )
    if out.absolute() in [Path(file).absolute() for file in (head.path, *head.content)]:
        raise UsageError("the data itself is never written to", where=str(out), remedy="name another file")
    folder = head.format == "webdataset" and Path(head.path).suffix != SUFFIX
    wanted = "" if folder else ".parquet" if head.format == "parquet" else Path(head.path).suffix
    if out.suffix != wanted:
        what = f"a name that ends in {wanted}" if wanted else "a new folder"
        raise UsageError(f"{head.format} data is not written to {out.name!r}", where=str(out), remedy=what)
    if folder and out.exists():
        raise UsageError("there is something of that name", where=str(out), remedy="name a new folder")


def _write_json(table: SampleTable, kept: list[int], out: Path) -> None:
    with Path(table.head.path).open("rb") as file, replacing(out, shared=True) as partial:
        listed = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        with partial.open("wb") as target:
            target.write(b"[\n" if listed else b"")
            for place, row in enumerate(kept):
                file.seek(int(table.columns.row_start[row]))
                value = file.read(int(table.columns.row_length[row])).removeprefix(b"\xef\xbb\xbf").strip()
                target.write((b",\n" if place and listed else b"") + value + (b"" if listed else b"\n"))
            target.write(b"\n]\n" if listed else b"")
            target.flush()
            os.fsync(target.fileno())


def _write_shards(table: SampleTable, kept: list[int], out: Path) -> None:
    keep: dict[str, set[int]] = {}
    for row in kept:
        origin = table.origin(row)
        keep.setdefault(Path(origin.file).name, set()).add(origin.row)
    if out.suffix == SUFFIX:
        (shard,) = table.head.content
        with replacing(out) as partial:
            _copy_groups(Path(shard), partial, keep.get(Path(shard).name, set()))
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        for shard in table.head.content:
            numbers = keep.get(Path(shard).name, set())
            if numbers:
                _copy_groups(Path(shard), partial / Path(shard).name, numbers)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_groups(shard: Path, out: Path, numbers: set[int]) -> None:
    """Copy the groups of a shard that have these numbers, members as they are."""
    with tarfile.open(shard, "r:") as source, tarfile.open(out, "w") as target:
        members = (member for member in source if member.isreg())
        for number, (_, group) in enumerate(groupby(members, key=lambda member: key_of(member.name))):
            for member in group:
                if number in numbers:
                    target.addfile(member, source.extractfile(member))
