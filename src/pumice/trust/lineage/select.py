"""Which rows of which files a request for erasure means."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pumice.data.contents import Contents
from pumice.data.index import content_digest, erased_ids, open_table
from pumice.data.seen import picture_content
from pumice.data.table import SampleTable
from pumice.data.tombstones import name_digest
from pumice.errors import DataError, UsageError
from pumice.types import HUB, ImageRef, Picture, Sample, Video

_DIGEST = re.compile(r"[0-9a-fA-F]{32}")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request names: ids or digests of rows, picture files, a pattern for texts, ids and names."""

    rows: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    subject: re.Pattern[str] | None = None

    @staticmethod
    def of(rows: Sequence[str], images: Sequence[Path], subject: str | None) -> Wanted:
        """From a command's words.

        Raises:
            UsageError: nothing is named, a pattern that is none, or a picture that is not there.
        """
        if not rows and not images and subject is None:
            raise UsageError(
                "nothing is named that is to be erased", remedy="give --row, --image or --subject"
            )
        for image in images:
            if not image.exists():
                raise UsageError(
                    f"there is no picture {image}",
                    where="--image",
                    remedy="give the file itself: its bytes tell which pictures are meant",
                )
        try:
            pattern = None if subject is None else re.compile(subject, re.IGNORECASE)
        except re.error as error:
            raise UsageError(
                f"{subject!r} is no regular expression ({error})",
                where="--subject",
                remedy="put a backslash before each of . * + ? ( ) [ ] { } | ^ $ that is meant as it is",
            ) from error
        if pattern is not None and pattern.search("") is not None:
            raise UsageError(
                f"{subject!r} fits every text", where="--subject", remedy="name what is to be found"
            )
        return Wanted(tuple(rows), tuple(images), pattern)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file as `pumice data erase` was given it, or as a run's recipe names it."""

    path: str
    images: Path | None = None
    format: str | None = None


@dataclass
class Chosen:
    """The rows of one file that a request means, and others that show the same pictures."""

    file: DataFile
    table: SampleTable
    rows: list[int] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)

    @property
    def digests(self) -> set[bytes]:
        """Of the rows."""
        return {bytes(self.table.columns.digest[row].tobytes()) for row in self.rows}

    @property
    def contents(self) -> set[bytes]:
        """What those of the rows say that have no id: the number that stands in for it may change."""
        pairs = zip(self.rows, self.table.read(self.rows), strict=True)
        return {said for row, one in pairs if (said := content_digest(self.table, row, one)) is not None}

    def ids(self) -> set[str]:
        """Of the rows; read anew."""
        return {sample.id for sample in self.table.read(self.rows)}

    def pictures(self) -> dict[Picture, str]:
        """What the rows show, and how they call it."""
        return {
            picture: name
            for row in self.rows
            for picture, name in zip(self.table.images(row), self.table.names(row), strict=True)
        }

    def only_here(self) -> dict[Picture, str]:
        """Those pictures that no other row of the file shows."""
        rest = set(range(len(self.table))) - set(self.rows)
        left = {picture for row in rest for picture in self.table.images(row)}
        return {picture: name for picture, name in self.pictures().items() if picture not in left}


def choose(
    files: Iterable[DataFile], wanted: Wanted, cache: Path | None, progress: Progress | None = None
) -> list[Chosen]:
    """Look for the rows in each file; files of which no row is left are left out.

    Args:
        files: where to look, each once.
        wanted: what for.
        cache: of tables and of what pictures hold.
        progress: told how far it is.

    Raises:
        DataError: a file cannot be read, or is on the hub and cannot get tombstones.
    """
    contents = Contents(cache)
    asked = {picture_content(_picture(image), contents): image for image in wanted.images}
    sizes = {_size(_picture(image)) for image in wanted.images}
    found = []
    for file in files:
        if str(file.path).startswith(HUB) or file.format == "hub":
            raise DataError(
                "rows of a dataset of the hub cannot be erased: nothing can lie beside it",
                where=file.path,
                remedy="write it as a file (pumice data convert) and train on that",
            )
        table = _table(file, cache, progress)
        if table is None:
            continue
        chosen = Chosen(file, table)
        shown = _showing(table, asked, sizes, contents)
        chosen.rows = _rows_with(table, shown)
        if wanted.rows or wanted.subject is not None:
            more = {number for number, one in enumerate(table) if _meant(table, number, one, wanted)}
            chosen.rows = sorted(more | set(chosen.rows))
        if same := chosen.contents:  # without an id nothing tells rows apart that say the same
            more = {row for row, one in enumerate(table) if content_digest(table, row, one) in same}
            chosen.rows = sorted(more | set(chosen.rows))
        found.append(chosen)
    contents.save()
    return found


def check_named(found: Sequence[Chosen], files: Iterable[DataFile], wanted: Wanted) -> list[str]:
    """Refuse ids that are in no file: a slip would leave a row where it is, and nobody would know.

    Args:
        found: what was chosen (``choose``).
        files: where it was looked for.
        wanted: the request. A digest may be of a row that is gone, and is not asked for.

    Returns:
        Those ids of which the rows are erased already.

    Raises:
        DataError: a row of that id is not there, and none was erased.
    """
    missing = {name for name in wanted.rows if not is_digest(name)}
    missing -= {name for one in found for name in one.ids()} if missing else set()
    if not missing:
        return []
    gone: set[str] = set()
    for file in files:
        with contextlib.suppress(DataError):  # a run's file that is no more holds no row, either
            gone |= missing & erased_ids(file.path, file.format).keys()
    lost = sorted(missing - gone)
    if lost:
        known = {one.id for chosen in found for one in chosen.table}
        near = [word for name in lost for word in difflib.get_close_matches(name, known, 1)]
        raise DataError(
            f"no row has the id {', '.join(map(repr, lost))}; nothing was erased",
            where="--row",
            remedy=(f"did you mean {', '.join(map(repr, near))}? " if near else "")
            + "`pumice data show FILE` lists ids; of a row that is gone from the file, give the digest "
            "(erasures.jsonl)",
        )
    return sorted(gone)


def note_beside(found: Sequence[Chosen]) -> None:
    """Note the rows that are not meant and show a picture that a chosen row of any file shows, told by its
    bytes: captions of it, what was generated from it."""
    contents = Contents(None)
    pictures = {picture for chosen in found for picture in chosen.pictures()}
    digests = set()
    for picture in pictures:
        if _size(picture) >= 0:
            digests.add(picture_content(picture, contents))
    sizes = {_size(picture) for picture in pictures} - {-1}
    for chosen in found:
        table, own = chosen.table, set(chosen.rows)
        shown = _showing(table, dict.fromkeys(digests, Path()), sizes, contents) if digests else set()
        chosen.beside = [row for row in _rows_with(table, shown) if row not in own]


def is_digest(name: str) -> bool:
    """Whether a word looks like a row's digest."""
    return _DIGEST.fullmatch(name) is not None


def digests_named(name: str, files: Iterable[str]) -> set[bytes]:
    """Digests of the rows that a word names, by digest or by an id in some files.

    Raises:
        DataError: no row has that id, or a file cannot be read.
    """
    # Ids may look like digests: many sets name rows by an MD5.
    found = {bytes.fromhex(name)} if is_digest(name) else set()
    for file in files:
        if not Path(file).exists():
            continue
        table = _table(DataFile(file), None, None)
        if table is not None:
            found |= {table.columns.digest[row].tobytes() for row, one in enumerate(table) if one.id == name}
        gone = erased_ids(file).get(name)
        found |= set() if gone is None else {gone}
    if not found:
        raise DataError(
            f"no row has the id {name!r} in the data files that are here",
            where="--row",
            remedy="give the row's digest: it also tells of rows that are gone from the files (it stands in "
            "erasures.jsonl beside the runs)",
        )
    return found


def tombstones_of(chosen: Chosen, wanted: Wanted) -> tuple[set[bytes], set[bytes]]:
    """Digests of rows, and of names of pictures, that erase what was chosen.

    A picture's name is erased where the request names the picture: rows that come later with it are then
    erased, too. Of pictures in containers the names tell nothing.
    """
    names: set[bytes] = set()
    if wanted.images:
        contents = Contents(None)
        asked = {picture_content(_picture(image), contents) for image in wanted.images}
        for picture, name in chosen.pictures().items():
            if not isinstance(picture, ImageRef) and picture_content(picture, contents) in asked:
                names.add(name_digest(name))
    return chosen.digests, names


def _table(file: DataFile, cache: Path | None, progress: Progress | None) -> SampleTable | None:
    """The rows that are not erased yet; None where that is none."""
    try:
        return open_table(
            file.path,
            file.images,
            Path(file.path).stem,
            format=file.format,
            check_files=False,
            cache_folder=cache,
            progress=progress,
            allow_bad=None,
        )
    except DataError as error:
        if "rows are erased" in error.what:
            return None
        raise


def _showing(table: SampleTable, asked: dict[bytes, Path], sizes: set[int], contents: Contents) -> set[int]:
    """The numbers of pictures that hold the same bytes as those that are named; few are read."""
    if not asked:
        return set()
    found = set()
    for number in range(table.pictures):
        picture = table.picture(number)
        if _size(picture) in sizes and picture_content(picture, contents) in asked:
            found.add(number)
    return found


def _rows_with(table: SampleTable, pictures: set[int]) -> list[int]:
    """The rows that show one of some pictures."""
    shown = np.isin(table.columns.uses, sorted(pictures))
    rows = np.repeat(np.arange(len(table)), np.diff(table.columns.use_start))[shown]
    return [int(row) for row in np.unique(rows)]


def _meant(table: SampleTable, row: int, sample: Sample, wanted: Wanted) -> bool:
    digest = table.columns.digest[row].tobytes().hex()
    for name in wanted.rows:
        if name == sample.id or (is_digest(name) and name.lower() == digest):
            return True
    if wanted.subject is None:
        return False
    texts = [sample.id, *table.names(row), *(message.text for message in sample.messages)]
    texts += [region.phrase for region in sample.regions]
    texts += [sample.rejected] if sample.rejected else []
    return any(wanted.subject.search(text) for text in texts)


def _picture(path: Path) -> Picture:
    return Video(path) if path.is_dir() else path


def _size(picture: Picture) -> int:
    """Bytes of a picture; of a folder of frames 0, of one that is not there -1."""
    if isinstance(picture, ImageRef):
        return picture.length
    path = picture.path if isinstance(picture, Video) else picture
    try:
        return 0 if path.is_dir() else os.stat(path).st_size
    except OSError:
        return -1
