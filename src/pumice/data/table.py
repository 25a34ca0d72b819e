"""A data file as a sequence of samples that are read when they are asked for.

What is kept of a row is some hundred bytes: the place it stands in, its pictures' numbers, how many words
it has, a digest of what it says. So 665,298 conversations take 80 MB and not several GB, and the file need
not be read again where nothing changed.

Legend: n rows, m pictures shown by rows (a picture shown twice counts twice), p different pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from pumice.data.formats import FORM_NAMES, read_draft
from pumice.data.problems import Refusal
from pumice.errors import DataError
from pumice.types import NO_RIGHTS, ImageRef, IntArray, Message, Origin, Picture, Rights, Sample, Text, Video

NAMED, VIDEO = -1, -2
"""What ``picture_file`` says of a picture, or a video, that has a name inside the image folder."""

Stamp = tuple[int, int]
"""Bytes of a file and when it was changed, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What is kept of all rows; arrays as ``index`` writes them.

    ``row_file`` [n] int32 is the file, of ``Head.files``, whose bytes ``row_start`` [n] int64 up to
    ``row_length`` [n] int64 hold the row; ``row_origin`` [n] int32 (of ``Head.origins``) and ``row_number``
    [n] int64 are what errors name. ``row_form`` [n] uint8 is its form, of ``FORM_NAMES``, ``row_given`` [n]
    uint8 whether its container holds its pictures. ``pairs``, ``question_words``, ``answer_words`` [n] int32
    are counts, ``group`` [n] int32 the data set it belongs to, of ``Head.groups``, ``digest`` [n, 16] uint8
    stands for what it says. ``use_start`` [n + 1] int64 cuts ``uses`` [m] int32, the pictures of each row.
    ``rights`` [n] int32 numbers what rows say of licence and author; each different one is told once:
    ``rights_ends`` [r] int64 cuts ``rights_text`` [bytes] uint8 into lists of JSON, as ``Rights`` has its
    fields.

    Pictures: ``name_ends`` [p] int64 cuts ``names`` [bytes] uint8 into their names in UTF-8;
    ``picture_file`` [p] int32 is ``NAMED`` or ``VIDEO`` for a name inside the image folder, else the file, of
    ``Head.files``, whose bytes ``picture_start`` [p] int64 up to ``picture_length`` [p] int64 are the
    picture. ``picture_row`` [p] int32 is the first row that shows it.
    """

    row_file: NDArray[np.int32]
    row_start: IntArray
    row_length: IntArray
    row_origin: NDArray[np.int32]
    row_number: IntArray
    row_form: NDArray[np.uint8]
    row_given: NDArray[np.uint8]
    pairs: NDArray[np.int32]
    question_words: NDArray[np.int32]
    answer_words: NDArray[np.int32]
    group: NDArray[np.int32]
    digest: NDArray[np.uint8]
    rights: NDArray[np.int32]
    rights_text: NDArray[np.uint8]
    rights_ends: IntArray
    use_start: IntArray
    uses: NDArray[np.int32]
    names: NDArray[np.uint8]
    name_ends: IntArray
    picture_file: NDArray[np.int32]
    picture_start: IntArray
    picture_length: IntArray
    picture_row: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Head:
    """What is kept of the data file as a whole.

    ``path``, ``content`` and ``files`` are absolute, ``origins`` are as the data was named, for errors.
    ``content`` are the files it consists of and ``sha256`` stands for what is in them; ``files`` are those
    that rows and pictures are read from (of a table in columns, what was taken out of it). ``stamps`` are
    those of ``content``, ``file_stamps`` those of ``files``. ``unreadable`` are rows that are in no column
    since they could not be understood: file, row, place in the row, what is wrong, what to do, id. ``erased``
    rows are in no column either, ``tombstones`` stands for what says so (``data.tombstones``).
    """

    path: str
    format: str
    sha256: str
    content: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    files: tuple[str, ...]
    file_stamps: tuple[Stamp, ...]
    origins: tuple[str, ...]
    groups: tuple[str, ...]
    unreadable: tuple[tuple[str, int | None, str, str, str, str | None], ...] = ()
    erased: int = 0
    tombstones: str = ""


@dataclass(frozen=True, eq=False)
class SampleTable(Sequence[Sample]):
    """The samples of one data file, in its order.

    ``source`` names them in a mixture, ``root`` is the folder of their pictures, ``prompt`` is put behind
    every question on a line of its own (unless it ends with it already), ``given`` is what is told of licence
    and author for rows that do not say it themselves. ``refused`` are rows that cannot be
    used and were allowed to be so: those that could not be read are not in the table, those whose picture is
    missing are, and ``left_out`` [any] has their numbers.
    """

    head: Head
    columns: Columns
    source: str
    root: Path | None = None
    prompt: str | None = None
    refused: tuple[Refusal, ...] = ()
    left_out: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    given: Rights = NO_RIGHTS

    def bound(
        self, source: str, root: Path | None, prompt: str | None, given: Rights = NO_RIGHTS
    ) -> SampleTable:
        """The same rows under another name, with another image folder, prompt, or word of their rights."""
        return replace(self, source=source, root=root, prompt=prompt, given=given)

    def __len__(self) -> int:
        return len(self.columns.row_start)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return list(self.read(range(*index.indices(len(self)))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return next(self.read([index % len(self)]))

    def __iter__(self) -> Iterator[Sample]:
        return self.read(range(len(self)))

    def read(self, rows: Iterable[int]) -> Iterator[Sample]:
        """Samples by number, each file opened once while its rows follow one another.

        Raises:
            DataError: a file changed since its rows were checked.
        """
        handle: BinaryIO | None = None
        opened = -1
        try:
            for row in rows:
                file = int(self.columns.row_file[row])
                if handle is None or file != opened:
                    if handle is not None:
                        handle.close()
                    handle, opened = self._open(file), file
                yield self._sample(handle, row)
        finally:
            if handle is not None:
                handle.close()

    def origin(self, row: int) -> Origin:
        """Where a row was read."""
        columns = self.columns
        return Origin(self.head.origins[columns.row_origin[row]], int(columns.row_number[row]))

    def images(self, row: int) -> tuple[Picture, ...]:
        """The pictures of a row, without reading it."""
        start, stop = self.columns.use_start[row : row + 2]
        return tuple([self.picture(int(use)) for use in self.columns.uses[start:stop]])

    def picture(self, number: int) -> Picture:
        """A picture by its number, from 0 to p - 1."""
        columns = self.columns
        name = self.picture_name(number)
        file = int(columns.picture_file[number])
        if file < 0:
            place = name_in(self.root, name)
            return Video(place) if file == VIDEO else place
        start, length = int(columns.picture_start[number]), int(columns.picture_length[number])
        return ImageRef(Path(self.head.files[file]), start, length, name)

    def picture_name(self, number: int) -> str:
        """What the rows call a picture."""
        ends = self.columns.name_ends
        start = int(ends[number - 1]) if number else 0
        return self.columns.names[start : ends[number]].tobytes().decode("utf-8", "surrogatepass")

    def names(self, row: int) -> list[str]:
        """What a row calls its pictures."""
        start, stop = self.columns.use_start[row : row + 2]
        return [self.picture_name(int(use)) for use in self.columns.uses[start:stop]]

    def rights(self, row: int) -> Rights:
        """Whose a row is, as it says itself, else as its source does."""
        return self.rights_numbered(int(self.columns.rights[row]))

    def rights_numbered(self, number: int) -> Rights:
        """What the rows say that have this number in ``Columns.rights``."""
        ends = self.columns.rights_ends
        start = int(ends[number - 1]) if number else 0
        return Rights(*json.loads(self.columns.rights_text[start : ends[number]].tobytes())).over(self.given)

    @property
    def pictures(self) -> int:
        """How many different pictures and videos the rows show."""
        return len(self.columns.picture_file)

    @property
    def videos(self) -> int:
        """How many of them are videos."""
        return int((self.columns.picture_file == VIDEO).sum())

    def identity(self) -> bytes:
        """What, beside its digest, decides what a row of this table is to a model."""
        return repr((self.source, None if self.root is None else str(self.root), self.prompt)).encode()

    def _open(self, file: int) -> BinaryIO:
        path = Path(self.head.files[file])
        changed = DataError(
            "the data file changed since it was checked", where=str(path), remedy="start again"
        )
        try:
            handle = path.open("rb")
        except OSError as error:
            raise changed from error
        if stamp_of(path) != self.head.file_stamps[file]:
            handle.close()
            raise changed
        return handle

    def _sample(self, handle: BinaryIO, row: int) -> Sample:
        columns = self.columns
        place = ImageRef(Path(), int(columns.row_start[row]), int(columns.row_length[row]), "")
        origin, images = self.origin(row), self.images(row)
        given = len(images) if columns.row_given[row] else None
        draft = read_draft(handle, place, FORM_NAMES[columns.row_form[row]], origin, given)
        messages = draft.messages
        if self.prompt is not None:
            messages = tuple([with_prompt(message, self.prompt) for message in messages])
        rights = self.rights(row)  # not the draft's: containers may tell them beside the row
        return Sample(draft.id, messages, images, self.source, origin, draft.regions, draft.rejected, rights)


def name_in(root: Path | None, name: str) -> Path:
    """The file of a picture that rows call ``name``; relative where there is no image folder."""
    return Path(name) if root is None else root / name


def with_prompt(message: Message, prompt: str) -> Message:
    """A question with a response-format prompt behind it; other messages as they are."""
    if message.role != "user" or message.text.endswith(prompt):
        return message
    *before, last = message.parts
    if isinstance(last, Text):
        return Message(message.role, (*before, Text(f"{last.text}\n{prompt}")))
    return Message(message.role, (*message.parts, Text(f"\n{prompt}")))


def stamp_of(path: Path) -> Stamp:
    """Size and time of change of a file; -1 where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def fingerprint(parts: Iterable[tuple[SampleTable, IntArray]]) -> str:
    """SHA-256 over everything that decides what a step sees, for rows of tables in an order."""
    total = hashlib.sha256()
    for table, rows in parts:
        total.update(hashlib.sha256(table.identity()).digest())
        total.update(np.ascontiguousarray(table.columns.digest[rows]).tobytes())
    return total.hexdigest()
