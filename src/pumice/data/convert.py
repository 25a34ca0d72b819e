"""From one data format to another, each row read back as it is written.

JSON formats name their pictures: names stay, and pictures that lie in a container are written into a
folder. Shards and parquet files hold their pictures. Rows in them have the messages form, which can say
all that a sample holds.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pumice.data.checks import bad
from pumice.data.formats import check_format, detect_format
from pumice.data.forms import FORMS, Form
from pumice.data.forms.messages import write as write_messages
from pumice.data.index import Progress, open_table
from pumice.data.lines import lines_file, to_line
from pumice.data.parquet import write_parquet
from pumice.data.shards import PICTURES, SUFFIX
from pumice.data.store import suffix_of
from pumice.data.table import SampleTable
from pumice.errors import UsageError
from pumice.files import replacing
from pumice.image.names import leaves_folder
from pumice.image.source import open_picture
from pumice.types import ImageRef, Picture, Sample, Text, Video

WRITABLE = (*FORMS, "parquet", "webdataset")
"""The formats that can be written: all but the hub's."""
SHARD_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: the format read, rows, pictures written anew, and how many rows changed in LLaVA's
    way: their only picture moved to the front of its turn, the text around it stripped."""

    format: str
    rows: int
    pictures: int
    moved: int
    first_moved: str | None = None


def convert(
    path: str | Path,
    out: Path,
    to: str,
    *,
    format: str | None = None,
    image_root: Path | None = None,
    picture_folder: Path | None = None,
    shard_rows: int = SHARD_ROWS,
    progress: Progress | None = None,
) -> Converted:
    """Write a data file in another format.

    Args:
        path: what is read (see ``open_table``).
        out: the file that is written, ``.json`` (a list), ``.jsonl`` (lines), ``.parquet`` or ``.tar``; or
            the folder for shards, which must not hold anything.
        to: the format, one of ``WRITABLE``.
        format: what ``path`` is; None tells it from the file.
        image_root: the folder of the pictures that rows name.
        picture_folder: where pictures that lie in a container go, where the new format names pictures.
        shard_rows: how many rows a shard holds.
        progress: called now and then.

    Raises:
        DataError: a row cannot be read, or cannot be written in the new format; nothing is left behind.
        UsageError: a format that cannot be written, a file's ending that does not fit it, or no folder where
            one is needed.
    """
    check_format(to)
    if to not in WRITABLE:
        raise UsageError(f"{to} cannot be written", where="--to", remedy=f"choose: {', '.join(WRITABLE)}")
    _check_out(out, to)
    found = format or detect_format(str(path))
    embeds = to in ("parquet", "webdataset")
    if embeds and image_root is None and found in FORMS:
        image_root = Path()
    table = open_table(path, image_root, "convert", format=found, check_files=embeds, progress=progress)
    writer = _Writer(table, to, picture_folder, progress)
    if to == "webdataset":
        _write_shards(writer, out, shard_rows)
    elif to == "parquet":
        with replacing(out) as partial:
            write_parquet(writer.embedded(), partial)
    else:
        with lines_file(out, llava=out.suffix == ".json") as add:
            for row in writer.named(FORMS[to]):
                add(to_line(row))
    return Converted(found, len(table), writer.pictures, writer.moved, writer.first_moved)


class _Writer:
    """A table's samples as rows of another format, counted."""

    def __init__(self, table: SampleTable, to: str, folder: Path | None, progress: Progress | None) -> None:
        self.table, self.to, self.folder, self.progress = table, to, folder, progress
        self.pictures = 0
        self.moved = 0
        self.first_moved: str | None = None
        self._written: dict[ImageRef, str] = {}
        self._taken: dict[str, bytes] = {}

    def named(self, form: Form) -> Iterator[dict[str, Any]]:
        """Rows that name their pictures."""
        for number, sample in self._samples():
            names = [
                name if not isinstance(picture, ImageRef) else self._extract(picture, str(sample.origin))
                for picture, name in zip(sample.images, self.table.names(number), strict=True)
            ]
            row = form.write(sample, names)
            self._read_back(form, row, sample, number)
            yield row

    def bundled(self) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
        """Rows in the messages form, each with the bytes of its pictures."""
        for number, sample in self._samples():
            row = write_messages(sample, self.table.names(number))
            self._read_back(FORMS["messages"], row, sample, number)
            data = [self._bytes(picture, str(sample.origin)) for picture in sample.images]
            self.pictures += len(data)
            yield row, data

    def embedded(self) -> Iterator[dict[str, Any]]:
        """Rows of a table: contents always as parts, pictures in a column of their own."""
        for row, data in self.bundled():
            names = []
            for message in row["messages"]:
                if isinstance(message["content"], str):
                    message["content"] = [{"type": "text", "text": message["content"]}]
                names += [part["image"] for part in message["content"] if part["type"] == "image"]
            pairs = zip(data, names, strict=True)
            yield {**row, "images": [{"bytes": picture, "path": name} for picture, name in pairs]}

    def _samples(self) -> Iterator[tuple[int, Sample]]:
        total = len(self.table)
        for number, sample in enumerate(self.table):
            yield number, sample
            if self.progress is not None and (number % 1000 == 999 or number == total - 1):
                self.progress("writing rows", number + 1, total)

    def _read_back(self, form: Form, row: dict[str, Any], sample: Sample, number: int) -> None:
        where = str(sample.origin)
        again = form.parse(row, number, where, None)
        said = (sample.id, sample.messages, sample.regions, sample.rejected, sample.rights)
        if (again.id, again.messages, again.regions, again.rejected, again.rights) == said:
            return
        if form.name != "llava" or _loose(again.messages) != _loose(sample.messages):
            raise bad("the row would not read back as it is", where, "write the format messages")
        self.moved += 1
        self.first_moved = self.first_moved or where

    def _extract(self, picture: ImageRef, where: str) -> str:
        """Write a picture out of its container, once; the name it has in the folder."""
        if self.folder is None:
            raise UsageError(
                f"{self.to} names its pictures, and these lie inside the data",
                where=where,
                remedy="add --pictures DIR, where they are written as files",
            )
        if picture in self._written:
            return self._written[picture]
        name = picture.name
        if leaves_folder(name):
            raise bad(f"the picture {name!r} would leave its folder", where, "rename it in the data")
        data = self._bytes(picture, where)
        digest = hashlib.sha256(data).digest()
        while self._taken.get(name, digest) != digest:  # another picture of that name, as in another shard
            name = f"{picture.file.stem}/{name}"
        self._written[picture] = name
        if name not in self._taken:
            self._taken[name] = digest
            self.pictures += 1
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as partial:
                partial.write_bytes(data)
        return name

    def _bytes(self, picture: Picture, where: str) -> bytes:
        if isinstance(picture, Video):
            raise bad(
                f"the row shows the video {picture}, and {self.to} holds pictures alone",
                where,
                "write it in the format llava, sharegpt or messages, which name their videos",
            )
        with open_picture(picture, where) as stream:
            return stream.read()


def _loose(messages: Iterable[Any]) -> list[tuple[str, str, list[int]]]:
    """Who says what about which pictures, without the place of pictures or blanks at the ends."""
    return [
        (
            message.role,
            "".join(part.text for part in message.parts if isinstance(part, Text)).strip(),
            [part.index for part in message.parts if not isinstance(part, Text)],
        )
        for message in messages
    ]


def _write_shards(writer: _Writer, out: Path, shard_rows: int) -> None:
    if out.suffix == SUFFIX:
        with replacing(out) as partial, tarfile.open(partial, "w") as tar:
            for number, (row, data) in enumerate(writer.bundled()):
                _add_group(tar, number, row, data)
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        for shard, members in groupby(enumerate(writer.bundled()), key=lambda item: item[0] // shard_rows):
            with tarfile.open(partial / f"{shard:06d}{SUFFIX}", "w") as tar:
                for number, (row, data) in members:
                    _add_group(tar, number, row, data)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _add_group(tar: tarfile.TarFile, number: int, row: dict[str, Any], data: list[bytes]) -> None:
    _add(tar, f"{number:09d}.json", to_line(row).encode())
    for index, picture in enumerate(data):
        suffix = suffix_of(picture)
        if suffix not in PICTURES:
            suffix = PICTURES[0]  # unknown to us; whoever reads it will say so, naming the row
        _add(tar, f"{number:09d}.{index}{suffix}", picture)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time 0 and no owner: the same data gives the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _check_out(out: Path, to: str) -> None:
    endings = {"parquet": (".parquet",), "webdataset": (SUFFIX, "")}.get(to, (".json", ".jsonl"))
    if out.suffix not in endings:
        shown = " or ".join(ending or "a folder" for ending in endings)
        raise UsageError(f"{to} is not written to {out.name!r}", where="OUT", remedy=f"OUT ends in {shown}")
    if out.is_dir() and (out.suffix or any(out.iterdir())):
        raise UsageError("the folder holds other files", where=str(out), remedy="choose another name")
