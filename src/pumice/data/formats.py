"""What data may look like on disk: the formats by their exact names, and the rows of each as one stream.

A JSON file holds rows of one form. Shards and tables hold rows of any form together with their pictures;
each row's form is told by its keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, get_args

from pumice.data.checks import bad
from pumice.data.draft import METADATA, Clip, Draft, Shown, id_of
from pumice.data.forms import FORMS, Form, caption, form_of
from pumice.data.parquet import hub_rows, parquet_rows, take_pictures
from pumice.data.problems import Problems, place
from pumice.data.rights import read_rights
from pumice.data.rows import as_object, no_rows, read_rows
from pumice.data.shards import SUFFIX, Group, find_shards, read_groups
from pumice.data.store import Store
from pumice.errors import DataError, suggest
from pumice.types import HUB, DataFormat, ImageRef, Origin

FORMATS: tuple[DataFormat, ...] = get_args(DataFormat)
"""Every format by name. Those that are in ``FORMS`` too are JSON or JSONL files of rows of that form."""
TALK = {"messages", "conversations", "items", "chosen", "rejected"}
"""Keys of which a row of a conversation has one."""
CAPTION = "caption"
"""The form of a row that is a caption beside a picture; only shards have it."""
FORM_NAMES = (*FORMS, CAPTION)
"""The forms a row may have, in the order by which tables number them."""


Named = str | ImageRef | Clip
"""What a row shows: a picture by its name in the image folder, or by its place in a container, or a video."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that was understood: where it is from, the bytes it stands in, what it says, its pictures.

    ``given`` says whether its container holds the pictures.
    """

    origin: Origin
    place: ImageRef
    form: str
    draft: Draft
    images: tuple[Named, ...]
    given: bool = False


def check_format(name: str) -> None:
    """Refuse a name that is no format's.

    Raises:
        DataError: it is none.
    """
    if name not in FORMATS:
        raise DataError(f"there is no data format {name!r}", where="format", remedy=suggest(name, FORMATS))


def detect_format(path: str) -> str:
    """The format of a file or folder: by its ending, or by the keys of a JSON file's first row.

    Raises:
        DataError: it cannot be read, or its first row has the keys of no format.
    """
    here = Path(path)
    if path.startswith(HUB):
        return "hub"
    if here.suffix == SUFFIX or (here.is_dir() and any(here.glob(f"*{SUFFIX}"))):
        return "webdataset"
    if here.suffix == ".parquet" or (here.is_dir() and any(here.glob("*.parquet"))):
        return "parquet"
    folder = Path(path.partition("@")[0])
    if any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return "hub"
    if here.is_dir():
        held = sorted(one.name for one in here.iterdir() if one.suffix in (".json", ".jsonl"))
        more = f" and {len(held) - 8} more" if len(held) > 8 else ""
        files = f" ({', '.join(held[:8])}{more})" if held else ""
        raise DataError(
            "the folder holds neither shards nor parquet files",
            where=path,
            remedy=f"name a file in it{files}, or the format: one of {', '.join(FORMATS)}",
        )
    for row in read_rows(here, Problems()):
        if isinstance(row.value, dict):
            return form_of(row.value, str(Origin(path, row.number))).name
    return "llava"  # no row is an object: whoever reads them says so


def read_entries(path: str, format: str, problems: Problems, store: Store) -> Iterator[Entry]:
    """The rows of a data file, in order; rows that cannot be used are collected as problems.

    Args:
        path: a file, a folder, a range of shards, or ``hub:`` and a name.
        format: one of ``FORMATS``.
        problems: collects what is wrong with single rows.
        store: keeps the pictures that cannot be reached by place, and the rows of tables.

    Raises:
        DataError: the whole cannot be read.
    """
    if format == "webdataset":
        yield from _shard_entries(Path(path), problems)
    elif format in ("parquet", "hub"):
        yield from _table_entries(path, format, problems, store)
    else:
        yield from _json_entries(Path(path), FORMS[format], problems, store)


def read_draft(handle: BinaryIO, entry: ImageRef, form: str, origin: Origin, given: int | None) -> Draft:
    """The draft of a row that was understood before, read again from its place.

    Raises:
        DataError: something else stands there now.
    """
    handle.seek(entry.offset)
    where = str(origin)
    try:
        text = handle.read(entry.length).decode("utf-8-sig")
        if form == CAPTION:
            return caption(text, origin.row, where, given)
        return FORMS[form].parse(json.loads(text), origin.row, where, given)
    except (ValueError, RecursionError, AttributeError) as error:
        raise bad(
            f"the row is no longer where it was ({error})",
            where,
            "the file changed while it was in use: start again",
        ) from error


def digest_of(path: str, format: str) -> str | None:
    """The SHA-256 that stands for a data file's content, as hexadecimal digits; None for the hub's.

    Of one file it is the file's. Of several (shards, a folder of parquet files) it is over their names and
    their own. Of shards only members' names and sizes and the rows are read, not the pictures.
    """
    if format == "hub":
        return None
    if format == "webdataset":
        return _shards_digest(find_shards(Path(path)))
    files = content_files(path, format)
    digests = []
    for file in files:
        with file.open("rb") as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    lines = "".join(f"{digest} {file.name}\n" for digest, file in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def content_files(path: str, format: str) -> list[Path]:
    """The files that a data file consists of; none where that cannot be told (the hub's)."""
    here = Path(path)
    if format == "hub":
        return []
    if format == "webdataset":
        return find_shards(here)
    return sorted(here.glob("*.parquet")) if format == "parquet" and here.is_dir() else [here]


def _json_entries(path: Path, form: Form, problems: Problems, store: Store) -> Iterator[Entry]:
    empty, before = True, problems.count
    for row in read_rows(path, problems):
        empty = False
        origin = Origin(str(path), row.number)
        try:
            draft = form.parse(as_object(row.value, str(origin)), row.number, str(origin), None)
            images = tuple([_resolved(image, store, origin) for image in draft.images])
        except DataError as error:
            problems.add(error, id_of(row.value))
        else:
            yield Entry(origin, ImageRef(path, row.start, row.length, ""), form.name, draft, images)
    if empty and problems.count == before:
        raise no_rows(path)


def _shard_entries(path: Path, problems: Problems) -> Iterator[Entry]:
    empty = True
    for shard in find_shards(path):
        with shard.open("rb") as handle:
            for number, group in enumerate(read_groups(shard)):
                empty = False
                origin = Origin(str(shard), number)
                try:
                    yield _shard_entry(handle, group, origin)
                except DataError as error:
                    place(error, origin)
                    problems.add(error)
    if empty:
        raise no_rows(path)


def _shard_entry(handle: BinaryIO, group: Group, origin: Origin) -> Entry:
    where = f"{origin} ({group.key.removeprefix('/')})"
    given = len(group.pictures)
    value = None if group.row is None else _json_at(handle, group.row, where)
    talks = isinstance(value, dict) and bool(TALK & value.keys())
    if group.row is not None and (talks or group.caption is None):
        row, at = as_object(value, where), group.row
        form = form_of(row, where)
        name, draft = form.name, form.parse(row, origin.row, where, given)
    elif group.caption is not None:  # a .json beside it is what some tools note of a picture
        at, name = group.caption, CAPTION
        draft = caption(_text_at(handle, at, where), origin.row, where, given)
        if isinstance(value, dict):
            draft = replace(draft, rights=read_rights(value, where))
    else:
        raise bad("no member holds the row", where, f"add {group.key}.json, or .txt with a caption")
    return Entry(origin, at, name, draft, _given(draft.images, group.pictures, where), given=True)


def _text_at(handle: BinaryIO, at: ImageRef, where: str) -> str:
    handle.seek(at.offset)
    try:
        return handle.read(at.length).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad(f"{at.name} is not UTF-8 ({error})", where, "write it as UTF-8") from error


def _json_at(handle: BinaryIO, at: ImageRef, where: str) -> Any:
    try:
        return json.loads(_text_at(handle, at, where))
    except (ValueError, RecursionError) as error:
        raise bad(f"{at.name} is not JSON ({error})", where, "write one JSON object") from error


def _table_entries(path: str, format: str, problems: Problems, store: Store) -> Iterator[Entry]:
    rows = hub_rows(path) if format == "hub" else parquet_rows(Path(path))
    number = -1
    for number, cells in enumerate(rows):
        origin = Origin(path, number)
        try:
            row, inside = take_pictures(cells, str(origin))
            form = form_of(row, str(origin))
            draft = form.parse(row, number, str(origin), None if inside is None else len(inside))
            images: tuple[Named, ...]
            if inside is None:
                images = tuple([_resolved(image, store, origin) for image in draft.images])
            else:
                kept = [store.add_picture(data, name) for data, name in inside]
                images = _given(draft.images, kept, str(origin))
        except DataError as error:
            problems.add(error, id_of(cells))
        else:
            at = store.add_row({key: value for key, value in row.items() if key not in METADATA})
            yield Entry(origin, at, form.name, draft, images, given=inside is not None)
    if number < 0:
        raise no_rows(Path(path))


def _given(shown: tuple[Shown, ...], pictures: list[ImageRef], where: str) -> tuple[ImageRef, ...]:
    """The pictures that a container holds for a row, under the names that the row gives them."""
    if len(shown) != len(pictures):
        raise bad(
            f"the row shows {len(shown)} picture(s) and {len(pictures)} lie beside it",
            where,
            "write one placeholder for each picture",
        )
    found = []
    for image, picture in zip(shown, pictures, strict=True):
        if isinstance(image, str):
            picture = ImageRef(picture.file, picture.offset, picture.length, image)
        elif isinstance(image, Clip):
            raise bad(
                "the row shows a video, and containers hold pictures alone",
                where,
                "write such rows as JSON, in the format llava, sharegpt or messages",
            )
        elif image is not None:
            raise bad("a picture is written into the row, and one lies beside it", where, "keep one of them")
        found.append(picture)
    return tuple(found)


def _resolved(image: Shown, store: Store, origin: Origin) -> Named:
    if isinstance(image, str | Clip):
        return image
    assert image is not None, f"{origin}: a picture without a name passed the row's form"
    return store.add_picture(image.data())


def _shards_digest(shards: list[Path]) -> str:
    digest = hashlib.sha256()
    for shard in shards:
        with shard.open("rb") as handle:
            for group in read_groups(shard):
                for member in (group.row, group.caption, *group.pictures):
                    if member is not None:
                        digest.update(
                            f"{shard.name}/{member.name} {member.length}\n".encode("utf-8", "replace")
                        )
                for text in (group.row, group.caption):
                    if text is not None:
                        handle.seek(text.offset)
                        digest.update(handle.read(text.length))
    return digest.hexdigest()
