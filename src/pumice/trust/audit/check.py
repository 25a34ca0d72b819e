"""What a check of an audit is, what it is shown, and what it finds.

A check is a small frozen dataclass that subclasses ``Check``. It works in two halves:

1. **Looking**, in worker processes, in chunks. ``row(row)`` is called once for each row, ``picture(view)``
   once for each different picture, and each says what it noticed: a JSON value, an array, or None. What one
   chunk noticed is packed into ``Notes`` (``pack``: by default the values that are not None and their places)
   and kept in the cache. So looking must depend on nothing but the row or the picture, and on the check's own
   fields and ``version``, which together are its ``key``. Fields must travel to other processes.
2. **Concluding**, once, in the parent process. ``conclude(seen)`` reads the notes of all chunks and yields
   ``Finding``s. What compares rows or pictures with one another belongs here. It is not kept, and is quick.

``reads`` says which of the two methods are called: ``ROWS``, ``BYTES`` (pictures as they lie on the disk) or
``PIXELS`` (the same, decoded, upright, RGB, at least ``side`` pixels on its shorter side where the file has
as many, and less than twice of it). Each row and each picture is read once for all checks together, so
another check's ``side`` may make the picture larger. ``picture`` is not called for one that cannot be read
(or, for ``PIXELS``, not decoded) unless ``faulty`` is true. Where ``finish`` looks at the pictures of rows,
``shows`` is true: what is kept of a chunk's rows then holds only as long as the files of their pictures do.

A check that needs one big thing in memory (a model on a GPU) prepares its input in ``picture``, as an array,
packs it in ``pack``, and runs the model in ``finish(notes)``: that is called in the parent for each new
chunk, and what it returns is what is kept.

A check is listed in ``registry``, with a function that makes it from the wishes of the command or says why
it cannot run here; then the audit tells that it did not run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from json import dumps
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pumice.data.problems import Refusal
from pumice.types import Sample, Still

if TYPE_CHECKING:
    from PIL.Image import Image

    from pumice.trust.audit.seen import Seen

Severity = Literal["note", "warning", "serious"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "serious")
"""From what one may want to know to what must not be trained on."""

ROWS: Literal["rows"] = "rows"
BYTES: Literal["bytes"] = "bytes"
PIXELS: Literal["pixels"] = "pixels"
Need = Literal["rows", "bytes", "pixels"]

Notes = Mapping[str, "NDArray[Any] | list[Any]"]
"""What is kept of a chunk: arrays (no objects), and lists of JSON values, by name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a check found.

    Attributes:
        check: its check's name.
        kind: what it is, among the kinds of its check; one word or two, with hyphens.
        severity: how bad that is.
        what: it in a sentence, with no value of personal data in it.
        row: the row's number in the audit; None for a finding about a picture.
        picture: the picture's number in the audit, where it is about one. All rows that show the picture
            are then concerned.
        also: more rows that are concerned just like it, by number.
        score: how strong it is, on the check's own scale.
        group: the same for findings that belong together (the copies of one picture).
        details: more, as JSON.
        place: the row, where it could not be read and so has no number.
    """

    check: str
    kind: str
    severity: Severity
    what: str
    row: int | None = None
    picture: int | None = None
    also: tuple[int, ...] = ()
    score: float | None = None
    group: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    place: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row as checks see it: its number in the audit, and what it says."""

    number: int
    sample: Sample

    def texts(self) -> Iterator[tuple[str, str]]:
        """Everything that a person or a model wrote: the place (``message 2``), and the text."""
        for index, message in enumerate(self.sample.messages):
            yield f"message {index}", message.text
        if self.sample.rejected is not None:
            yield "rejected", self.sample.rejected
        for index, region in enumerate(self.sample.regions):
            yield f"region {index}", region.phrase

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Questions and their answers, in order; what stands before an answer without a question is ""."""
        asked = ""
        for message in self.sample.messages:
            if message.role == "user":
                asked = message.text
            elif message.role == "assistant":
                yield asked, message.text
                asked = ""


@dataclass(frozen=True, slots=True)
class View:
    """A picture as checks see it.

    Attributes:
        number: its number in the audit.
        still: where it is.
        data: the bytes of its file; empty where they cannot be read.
        size: width and height in pixels, as the file has them upright; None where its header says nothing.
        image: decoded, RGB, upright and small; None where no check wants it or it cannot be decoded.
        fault: why it cannot be read or decoded; "" where it can.
    """

    number: int
    still: Still
    data: bytes
    size: tuple[int, int] | None
    image: Image | None
    fault: str


@dataclass(frozen=True)
class Check(ABC):
    """One check; see the module's text."""

    name: ClassVar[str]
    reads: ClassVar[frozenset[Need]]
    version: ClassVar[int] = 1
    side: ClassVar[int] = 0
    faulty: ClassVar[bool] = False
    shows: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """What its notes depend on, beside rows and pictures."""
        return dumps([self.name, self.version, self.side, asdict(self)], sort_keys=True)

    def row(self, row: Row) -> Any:
        """What is noticed of a row; None for nothing."""
        raise NotImplementedError(self.name)

    def picture(self, view: View) -> Any:
        """What is noticed of a picture; None for nothing."""
        raise NotImplementedError(self.name)

    def pack(self, values: Sequence[Any]) -> Notes:
        """What is kept of a chunk, of what was noticed of its rows (or pictures) in their order."""
        at = [place for place, value in enumerate(values) if value is not None]
        return {"at": np.array(at, np.int64), "said": [values[place] for place in at]}

    def finish(self, notes: Notes) -> Notes:
        """The notes that are kept, made in the parent process of what ``pack`` gave."""
        return notes

    @abstractmethod
    def conclude(self, seen: Seen) -> Iterable[Finding]:
        """What is found, of the notes of all chunks."""


__all__ = [
    "BYTES",
    "PIXELS",
    "ROWS",
    "SEVERITIES",
    "Check",
    "Finding",
    "Need",
    "Notes",
    "Row",
    "Severity",
    "View",
]
