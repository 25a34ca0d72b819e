"""Making the table of a data file: every row read and checked once, and what was found kept on disk.

A kept table is used again while the files it was made from have their sizes and times of change, or else
their SHA-256. Whether picture files exist is looked at each time, where it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from array import array
from collections.abc import Callable
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.checks import bad
from pumice.data.draft import Clip, Draft
from pumice.data.formats import (
    FORM_NAMES,
    Entry,
    Named,
    check_format,
    content_files,
    detect_format,
    digest_of,
    read_entries,
)
from pumice.data.forms import FORMS
from pumice.data.missing import check_pictures
from pumice.data.problems import Problems, Refusal
from pumice.data.rows import collector_paused
from pumice.data.store import Store
from pumice.data.table import NAMED, VIDEO, Columns, Head, SampleTable, stamp_of
from pumice.data.tombstones import Tombstones, read_tombstones, tombstone_file
from pumice.errors import DataError, PumiceError
from pumice.types import NO_RIGHTS, ImageRef, Rights, Sample, Text

VERSION = 6
"""Of what a table holds; 2 has videos, 3 the rows that cannot be read, 4 pairs of answers, 5 the ids of bad
rows, 6 licences and authors."""
CACHE_FOLDER = ".cache"
"""Beside the runs: what was found good, so that the next start need not look again."""
TABLES = "tables"
"""The folder below a cache in which tables are kept, each in one of its own."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done and of how much."""

_EVERY = 1000
_TEXT_ONLY = "text only"
_INSIDE = "pictures inside"


def open_table(
    path: str | Path,
    image_root: Path | None,
    source: str,
    *,
    format: str | None = None,
    prompt: str | None = None,
    given: Rights = NO_RIGHTS,
    check_files: bool = True,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
    max_errors: int = 20,
    allow_bad: int | None = 0,
) -> SampleTable:
    """The samples of a data file, every row checked.

    Args:
        path: a file, a folder, a range of shards, or ``hub:`` and a name.
        image_root: the folder that names of pictures are relative to; None for data without any.
        source: the name of this data in a mixture.
        format: one of ``FORMATS``; None tells it from the file.
        prompt: put behind every question.
        given: licence and author of the rows that do not say theirs.
        check_files: whether each picture's file must exist.
        cache_folder: where the table is kept for the next time; None keeps none.
        progress: called now and then with bytes or rows done.
        max_errors: how many bad rows the error lists; it always says how many there are.
        allow_bad: so many rows may be bad (None: any number); the table then tells them (``refused``).

    Raises:
        DataError: the file cannot be read, holds no rows, or has more rows than ``allow_bad`` that cannot be
            used. None is dropped without being told.
    """
    path = str(path)
    if format is None:
        format = detect_format(path)
    check_format(format)
    # What the hub holds under a name may change without a trace here.
    folder = None if cache_folder is None or format == "hub" else cache_folder / TABLES / _key(path, format)
    table = None if folder is None else _load(folder, path, format)
    problems = Problems(max_errors)
    if table is None:
        table = _build(path, format, problems, folder, progress, allow_bad)
    else:
        for file, row, rest, what, remedy, id in table.head.unreadable:
            problems.add(
                Refusal(source, _as_named(file, path), row, id, what, rest, remedy or None).error(), id
            )
    table = table.bound(source, image_root, prompt, given)
    if not len(table) and table.head.erased:
        raise bad(
            f"all {table.head.erased:,} rows are erased",
            path,
            f"leave this file out; which, says {tombstone_file((*table.head.content, path)[0]).name}",
        )
    left_out = check_pictures(table, problems, check_files)
    if allow_bad is not None and problems.count > allow_bad:
        problems.raise_if_any(_too_many(path, allow_bad))
    if len(left_out) == len(table):
        problems.raise_if_any(f"{path} has no row that can be used")
    pairs = zip(problems.kept, problems.ids, strict=True)
    refused = tuple([Refusal.of(error, source, id) for error, id in pairs])
    return replace(table, refused=refused, left_out=left_out)


def _too_many(path: str, allowed: int) -> str:
    more = f", more than the {allowed:,} that allow_bad lets pass" if allowed else ""
    return f"{path} has rows that cannot be used{more}"


def _build(
    path: str,
    format: str,
    problems: Problems,
    folder: Path | None,
    progress: Progress | None,
    allow_bad: int | None,
) -> SampleTable:
    """Read and check all rows; the table is kept in ``folder`` where no more are bad than may be."""
    partial = None if folder is None else folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        table = _read(path, format, problems, Store(partial), progress)
    except BaseException:
        _remove(partial)
        raise
    if allow_bad is not None and problems.count > allow_bad:
        _remove(partial)
    elif folder is not None and partial is not None:
        # Where the cache cannot be written the next run reads anew: no reason to refuse this one.
        with contextlib.suppress(OSError):
            return _keep(table, partial, folder)
    return table


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: str, format: str, problems: Problems, store: Store, progress: Progress | None) -> SampleTable:
    place = path if format == "hub" else os.path.abspath(path)
    content = content_files(place, format)
    stamps = tuple(stamp_of(file) for file in content)
    # One file of text tells how far its reader is; of many, their number does.
    single = len(content) == 1 and format in FORMS
    total = max(stamps[0][0] >> 20, 1) if single else max(len(content), 1)
    erased = read_tombstones(content)
    maker = _Maker(erased)
    with contextlib.closing(store), collector_paused():
        mark = store.mark()
        for entry in read_entries(path, format, problems, store):
            if not maker.add(entry):
                store.back_to(mark)  # nothing of an erased row stays in the cache
            elif erased:
                mark = store.mark()
            if progress is not None and len(maker.row_start) % _EVERY == 0:
                done = entry.place.offset >> 20 if single else len(maker.origins) - 1
                progress("reading rows", min(done, total - 1), total)
    sha256 = digest_of(place, format) or maker.digest_all()
    if progress is not None:
        progress("reading rows", total, total)
    if tuple(stamp_of(file) for file in content_files(place, format)) != stamps:
        raise bad("the data file changed while it was read", path, "start again")
    head = Head(
        path=place,
        format=format,
        sha256=sha256,
        content=tuple(map(str, content)),
        stamps=stamps,
        files=tuple(map(os.path.abspath, maker.files)),
        file_stamps=tuple(stamp_of(file) for file in maker.files),
        origins=tuple(maker.origins),
        groups=tuple(maker.groups),
        unreadable=tuple(map(_noted, problems.kept, problems.ids)),
        erased=maker.erased,
        tombstones=erased.digest,
    )
    return SampleTable(head, maker.columns(), Path(path).stem)


def _noted(error: PumiceError, id: str | None) -> tuple[str, int | None, str, str, str, str | None]:
    """What a table keeps of a row that could not be read: file, row, place in it, what, what to do, id."""
    row = Refusal.of(error, "")
    return row.file, row.row, row.detail, row.reason, row.remedy or "", id


class _Maker:
    """Columns that grow row by row, without the rows that are erased."""

    def __init__(self, tombstones: Tombstones) -> None:
        self.tombstones, self.erased = tombstones, 0
        self.row_file, self.row_origin, self.group = array("i"), array("i"), array("i")
        self.row_start, self.row_length, self.row_number = array("q"), array("q"), array("q")
        self.row_form, self.row_given = array("B"), array("B")
        self.pairs, self.question_words, self.answer_words = array("i"), array("i"), array("i")
        self.digest = bytearray()
        self.rights, self.rights_text, self.rights_ends = array("i"), bytearray(), array("q")
        self.told: dict[Rights, int] = {}
        self.use_start, self.uses = array("q", [0]), array("i")
        self.names, self.name_ends = bytearray(), array("q")
        self.picture_file, self.picture_row = array("i"), array("i")
        self.picture_start, self.picture_length = array("q"), array("q")
        self.files: dict[Path, int] = {}
        self.origins: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.pictures: dict[Named, int] = {}

    def add(self, entry: Entry) -> bool:
        """One more row; False where it is erased."""
        draft = entry.draft
        digest = row_digest(draft, entry.images)
        if self.tombstones and (self.tombstones.has(digest, named(entry.images)) or self._erased(entry)):
            self.erased += 1
            return False
        self.row_file.append(self.files.setdefault(entry.place.file, len(self.files)))
        self.row_start.append(entry.place.offset)
        self.row_length.append(entry.place.length)
        self.row_origin.append(self.origins.setdefault(entry.origin.file, len(self.origins)))
        self.row_number.append(entry.origin.row)
        self.row_form.append(FORM_NAMES.index(entry.form))
        self.row_given.append(entry.given)
        asked = answered = pairs = 0
        for message in draft.messages:
            words = len(message.text.split())
            if message.role == "assistant":
                answered += words
                pairs += 1
            else:
                asked += words
        answered += len((draft.rejected or "").split())
        self.pairs.append(pairs)
        self.question_words.append(asked)
        self.answer_words.append(answered)
        self.rights.append(self._rights(draft.rights))
        group = draft.rights.dataset or _group(entry.images)
        self.group.append(self.groups.setdefault(group, len(self.groups)))
        self.digest += digest
        for image in entry.images:
            self.uses.append(self._picture(image, len(self.row_start) - 1))
        self.use_start.append(len(self.uses))
        return True

    def _erased(self, entry: Entry) -> bool:
        """Whether a row without an id is erased that stood in another place when it was."""
        if not self.tombstones.contents or entry.draft.id != str(entry.origin.row):
            return False
        return row_digest(replace(entry.draft, id=""), entry.images) in self.tombstones.contents

    def _rights(self, rights: Rights) -> int:
        number = self.told.setdefault(rights, len(self.told))
        if number == len(self.rights_ends):
            self.rights_text += json.dumps(astuple(rights)).encode()
            self.rights_ends.append(len(self.rights_text))
        return number

    def _picture(self, image: Named, row: int) -> int:
        number = self.pictures.setdefault(image, len(self.pictures))
        if number == len(self.picture_file):
            ref = image if isinstance(image, ImageRef) else None
            self.names += _name(image).encode("utf-8", "surrogatepass")
            self.name_ends.append(len(self.names))
            self.picture_row.append(row)
            if ref is not None:
                self.picture_file.append(self.files.setdefault(ref.file, len(self.files)))
            else:
                self.picture_file.append(VIDEO if isinstance(image, Clip) else NAMED)
            self.picture_start.append(0 if ref is None else ref.offset)
            self.picture_length.append(0 if ref is None else ref.length)
        return number

    def digest_all(self) -> str:
        """A digest of all that the rows say, for data that has no file of its own."""
        return hashlib.sha256(self.digest).hexdigest()

    def columns(self) -> Columns:
        """The rows so far."""
        arrays: dict[str, Any] = {
            "digest": np.frombuffer(bytes(self.digest), np.uint8).reshape(-1, 16),
            "names": np.frombuffer(bytes(self.names), np.uint8),
            "rights_text": np.frombuffer(bytes(self.rights_text), np.uint8),
        }
        for column in fields(Columns):
            if column.name not in arrays:
                arrays[column.name] = np.array(getattr(self, column.name))
        return Columns(**arrays)


def _name(image: Named) -> str:
    return image if isinstance(image, str) else image.name


def named(images: tuple[Named, ...]) -> list[str]:
    """The names of those pictures that lie in the image folder."""
    return [_name(image) for image in images if not isinstance(image, ImageRef)]


def _group(images: tuple[Named, ...]) -> str:
    """The data set of a row that names none: the folder of its first picture, at most two levels."""
    if not images:
        return _TEXT_ONLY
    if isinstance(images[0], ImageRef):
        return _INSIDE
    return "/".join(_name(images[0]).split("/")[:-1][:2]) or "."


def row_digest(draft: Draft, images: tuple[Named, ...]) -> bytes:
    """16 bytes that stand for what a row says: its id, words, pictures' names, boxes, rejected answer.

    BLAKE2b over JSON (as Python writes it, with spaces and in ASCII): ``[id, [[role, part, ...], ...],
    [name, ...], [[x1, y1, x2, y2, phrase, image], ...]]``, the rejected answer behind it where there is one.
    A part is text, or the number of a picture; the name of a video is ``["video", name]``.
    """
    names = [["video", image.name] if isinstance(image, Clip) else _name(image) for image in images]
    return _digest(draft.id, draft, names)


def erased_ids(path: str | Path, format: str | None = None) -> dict[str, bytes]:
    """The ids of a data file's erased rows, as far as the file still holds them, and their digests.

    Raises:
        DataError: the file cannot be read.
    """
    path = str(path)
    format = format or detect_format(path)
    maker = _Maker(read_tombstones(content_files(os.path.abspath(path), format)))
    if not maker.tombstones:
        return {}
    with contextlib.closing(Store(None)) as store:
        entries = read_entries(path, format, Problems(), store)
        return {
            entry.draft.id: row_digest(entry.draft, entry.images) for entry in entries if not maker.add(entry)
        }


def content_digest(table: SampleTable, row: int, sample: Sample) -> bytes | None:
    """``row_digest`` of a row that has no id, without the number that stands in for it; None of one that has.

    Args:
        table: as ``open_table`` gives it without a prompt, which no row says.
        row: its number there.
        sample: the row.
    """
    if sample.id != str(table.origin(row).row):
        return None
    start, stop = table.columns.use_start[row : row + 2]
    names = [
        ["video", name] if table.columns.picture_file[use] == VIDEO else name
        for use, name in zip(table.columns.uses[start:stop], table.names(row), strict=True)
    ]
    return _digest("", sample, names)


def _digest(id: str, said: Draft | Sample, names: list[Any]) -> bytes:
    words = [
        [message.role, *[part.text if isinstance(part, Text) else part.index for part in message.parts]]
        for message in said.messages
    ]
    boxes = [[*region.box, region.phrase, region.image] for region in said.regions]
    more = [] if said.rejected is None else [said.rejected]
    text = json.dumps([id, words, names, boxes, *more])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


TABLE_FILE = "table.npz"
_HEAD = "head"


def _key(path: str, format: str) -> str:
    """The name of a table's own folder."""
    text = json.dumps([VERSION, os.path.abspath(path), format])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _keep(table: SampleTable, partial: Path, folder: Path) -> SampleTable:
    """Put a table and its store under their final name; the folder appears whole or not at all."""
    partial.mkdir(parents=True, exist_ok=True)
    moved = {
        os.path.abspath(partial / file.name): os.path.abspath(folder / file.name)
        for file in partial.iterdir()
    }
    head = replace(table.head, files=tuple(moved.get(file, file) for file in table.head.files))
    # Who reads it may stand elsewhere and name the file otherwise.
    kept = replace(
        head,
        origins=tuple(map(os.path.abspath, head.origins)),
        unreadable=tuple([(os.path.abspath(row[0]), *row[1:]) for row in head.unreadable]),
    )
    text = json.dumps({"version": VERSION, **asdict(kept)})
    arrays: dict[str, Any] = {column.name: getattr(table.columns, column.name) for column in fields(Columns)}
    arrays[_HEAD] = np.frombuffer(text.encode(), np.uint8)
    with (partial / TABLE_FILE).open("wb") as handle:
        np.savez(handle, **arrays)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return replace(table, head=head)


def _load(folder: Path, path: str, format: str) -> SampleTable | None:
    """The table that was kept, if it is whole and still that of the files as they are."""
    try:
        with (folder / TABLE_FILE).open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
            head = json.loads(kept[_HEAD].tobytes())
            if head.pop("version") != VERSION:
                return None
            columns = Columns(**{column.name: kept[column.name] for column in fields(Columns)})
        found = Head(**{key: _frozen(value) for key, value in head.items()})
        if (found.path, found.format) != (os.path.abspath(path), format):
            return None
        origins = tuple(_as_named(origin, path) for origin in found.origins)
        return _still(SampleTable(replace(found, origins=origins), columns, path))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, DataError):
        return None


def _as_named(file: str, path: str) -> str:
    """A file of the data at ``path`` as seen from where ``path`` was named."""
    folder = os.path.dirname(path)
    return str(Path(folder) / os.path.relpath(file, os.path.abspath(folder)))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _still(table: SampleTable) -> SampleTable | None:
    """The table with its files' present stamps, if they hold what they held; else None."""
    head = table.head
    content = content_files(head.path, head.format)
    if tuple(map(str, content)) != head.content or read_tombstones(content).digest != head.tombstones:
        return None
    stamps = tuple(stamp_of(file) for file in content)
    if stamps != head.stamps:
        same_sizes = all(now[0] == then[0] for now, then in zip(stamps, head.stamps, strict=True))
        if not same_sizes or digest_of(head.path, head.format) != head.sha256:
            return None
    now = dict(zip(head.content, stamps, strict=True))
    for file, stamp in zip(head.files, head.file_stamps, strict=True):
        if file not in now and stamp_of(Path(file)) != stamp:
            return None  # what was taken out of the file is gone
    file_stamps = tuple(
        now.get(file, stamp) for file, stamp in zip(head.files, head.file_stamps, strict=True)
    )
    return replace(table, head=replace(head, stamps=stamps, file_stamps=file_stamps))
