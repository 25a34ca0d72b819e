"""What training data showed and asked, as a file that a benchmark can be held against.

A picture is known by the SHA-256 of its pixels, so that it is found again in another file format without
loss, and by two difference hashes of 64 bits, which stay almost the same when it is scaled or compressed.
A question is known by a hash of its words alone. Neither can be read back.

Legend: P different pictures, Q questions with a picture (one that two pictures of a row share counts twice),
T questions without.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import unicodedata
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from pumice.data.samples import whole
from pumice.data.table import SampleTable
from pumice.errors import DataError
from pumice.files import replacing
from pumice.image.decode import open_image
from pumice.text.prompts import LETTER, LETTER_CN, OCR, SHORT, UNANSWERABLE, YES_NO
from pumice.types import Still, Video

VERSION = 1
SIDE = 8
BYTES = 16
"""Of a SHA-256, as much as is kept."""
ARCHIVE = b"PK"
"""How the files begin: they are .npz archives."""
MAKE = (
    "--training takes a file of fingerprints (.npz); make it of the training data: "
    "pumice data fingerprints DATA.json --images DIR --out FILE.npz"
)
CHUNK = 256
"""Pictures that are decoded before the next are read from the disk."""

Hashes = npt.NDArray[np.uint64]
Progress = Callable[[str, int, int], None]

_INSTRUCTIONS = (
    UNANSWERABLE,
    SHORT,
    LETTER,
    LETTER.removesuffix("."),
    LETTER_CN,
    YES_NO,
    "Answer the question with a single word.",
)
_LINE_OF_TOKENS = re.compile(rf"^{re.escape(OCR.strip())}.*$", re.M)
_MARK = re.compile(r"<image(?: \d+)?>|<video>")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A picture: 16 bytes that stand for its pixels, and its differences along rows and along columns.

    ``plain`` pictures have no differences to be told by.
    """

    pixels: bytes
    across: int
    down: int

    @property
    def plain(self) -> bool:
        return self.across == 0 and self.down == 0


def fingerprint(image: PIL.Image.Image) -> Fingerprint:
    """The fingerprint of an RGB picture.

    The difference hashes take it as 9 x 8 (8 x 9) greys, means of the pixels in them; a bit says whether a
    grey is lighter than the one before it in its row (column).
    """
    sha = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    sha.update(image.tobytes())
    grey = image.convert("L")
    across = np.asarray(grey.resize((SIDE + 1, SIDE), PIL.Image.Resampling.BOX))
    down = np.asarray(grey.resize((SIDE, SIDE + 1), PIL.Image.Resampling.BOX))
    return Fingerprint(
        sha.digest()[:BYTES], _bits(across[:, 1:] > across[:, :-1]), _bits(down[1:] > down[:-1])
    )


def _bits(larger: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(larger).tobytes(), "big")


def question_words(text: str) -> str:
    """The words of a question: no instruction for its answer, no OCR tokens, no marks, case or punctuation.

    >>> question_words("<image>\\nIs it Red?\\nAnswer the question using a single word or phrase.")
    'is it red'
    """
    text = _LINE_OF_TOKENS.sub(" ", _MARK.sub(" ", text))
    for instruction in _INSTRUCTIONS:
        text = text.replace(instruction, " ")
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", text))


def question_hash(text: str) -> int:
    """64 bits that stand for ``question_words``; 0 where there are none."""
    words = question_words(text)
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") if words else 0


@dataclass(frozen=True)
class Index:
    """The fingerprints of training data.

    Attributes:
        pixels: of each picture, uint8 [P, 16].
        across, down: its difference hashes, uint64 [P].
        start: int64 [P + 1], cuts ``asked`` into the questions of each picture.
        asked: uint64 [Q].
        text_only: questions without a picture, uint64 [T].
        head: what it was made of: ``sources``, a list of ``path``, ``sha256`` and ``rows``.
    """

    pixels: npt.NDArray[np.uint8]
    across: Hashes
    down: Hashes
    start: npt.NDArray[np.int64]
    asked: Hashes
    text_only: Hashes
    head: dict[str, Any]

    @property
    def pictures(self) -> int:
        """How many different ones."""
        return len(self.pixels)

    @property
    def questions(self) -> int:
        """How many different ones."""
        return len(np.unique(np.concatenate([self.asked, self.text_only])))

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        head = np.frombuffer(json.dumps(self.head).encode(), np.uint8)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, head=head, **arrays)

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read an index.

        Raises:
            DataError: there is none, or it is something else or of another version.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            what = "there is no such file" if not path.exists() else f"it cannot be read ({error.strerror})"
            raise DataError(what, where=str(path), remedy=MAKE) from error
        if not data.startswith(ARCHIVE):
            raise DataError(
                "the file holds no fingerprints of training data"
                + (": it is empty" if not data else ": it is no .npz archive"),
                where=str(path),
                remedy=MAKE,
            )
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                head = json.loads(stored["head"].tobytes())
                arrays = {name: stored[name] for name in _ARRAYS}
        except KeyError as error:
            raise DataError(
                "the archive holds no fingerprints of training data", where=str(path), remedy=MAKE
            ) from error
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"the fingerprints are damaged ({error})", where=str(path), remedy=MAKE
            ) from error
        if not isinstance(head, dict) or head.get("version") != VERSION:
            raise DataError("the fingerprints are of another version", where=str(path), remedy=MAKE)
        fault = _fault(arrays, head)
        if fault:
            raise DataError(f"the fingerprints are damaged: {fault}", where=str(path), remedy=MAKE)
        return cls(**arrays, head=head)


_ARRAYS = {
    "pixels": (np.uint8, 2), "across": (np.uint64, 1), "down": (np.uint64, 1),
    "start": (np.int64, 1), "asked": (np.uint64, 1), "text_only": (np.uint64, 1),
}  # fmt: skip
"""Type and number of axes of each array."""


def _fault(arrays: Mapping[str, npt.NDArray[Any]], head: Mapping[str, Any]) -> str:
    """What is wrong with arrays that do not belong together; empty where nothing is."""
    for name, (kind, axes) in _ARRAYS.items():
        own = arrays[name]
        if own.dtype != kind or own.ndim != axes:
            return f"{name} is {own.dtype} with {own.ndim} axes, not {np.dtype(kind)} with {axes}"
    pictures, start = len(arrays["pixels"]), arrays["start"]
    if arrays["pixels"].shape[1] != BYTES:
        return f"pixels has {arrays['pixels'].shape[1]} bytes a picture, not {BYTES}"
    for name, length in (("across", pictures), ("down", pictures), ("start", pictures + 1)):
        if len(arrays[name]) != length:
            return f"{name} has {len(arrays[name]):,} entries for {pictures:,} pictures"
    if start[0] != 0 or start[-1] != len(arrays["asked"]) or (np.diff(start) < 0).any():
        return "start does not cut the questions into those of each picture"
    sources = head.get("sources")
    if not isinstance(sources, list) or not all(isinstance(one, dict) and "path" in one for one in sources):
        return "it does not say what it was made of"
    return ""


def build_index(
    tables: Sequence[SampleTable], *, workers: int | None = None, progress: Progress | None = None
) -> Index:
    """The fingerprints of all pictures and questions of some data files.

    Frames of videos are left out: ``head["videos"]`` says how many videos there are.

    Args:
        tables: from ``pumice.data.open_table``.
        workers: threads that decode; as many as there are processors unless told.
        progress: told of pictures, then of rows.

    Raises:
        ImageError: a picture cannot be read; its row is named.
    """
    prints: dict[bytes, Fingerprint] = {}
    seats: dict[bytes, int] = {}
    shown_in, asked, text_only = array("q"), array("Q"), array("Q")
    for table in tables:
        own = _pictures(table, workers or os.cpu_count() or 1, progress)
        for one in own.values():
            prints.setdefault(one.pixels, one)
            seats.setdefault(one.pixels, len(seats))
        for number, sample in enumerate(table, 1):
            hashes = {question_hash(turn.text) for turn in sample.messages if turn.role == "user"} - {0}
            shown = {seats[own[key].pixels] for image in sample.images if (key := str(image)) in own}
            for seat in shown:
                shown_in.extend([seat] * len(hashes))
                asked.extend(hashes)
            if not shown:
                text_only.extend(hashes)
            if progress and (number % 1000 == 0 or number == len(table)):
                progress(f"questions of {table.source}", number, len(table))
    start, questions = _by_picture(np.array(shown_in, np.int64), np.array(asked, np.uint64), len(seats))
    sources = [{"path": table.head.path, "sha256": table.head.sha256, "rows": len(table)} for table in tables]
    return Index(
        pixels=np.frombuffer(b"".join(prints), np.uint8).reshape(-1, BYTES),
        across=np.array([one.across for one in prints.values()], np.uint64),
        down=np.array([one.down for one in prints.values()], np.uint64),
        start=start,
        asked=questions,
        text_only=np.unique(np.array(text_only, np.uint64)),
        head={"version": VERSION, "sources": sources, "videos": sum(table.videos for table in tables)},
    )


def _by_picture(
    shown_in: npt.NDArray[np.int64], asked: Hashes, pictures: int
) -> tuple[npt.NDArray[np.int64], Hashes]:
    """Pairs of picture and question, each once, by picture: where those of each begin, and the questions."""
    order = np.lexsort([asked, shown_in])
    shown_in, asked = shown_in[order], asked[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (shown_in[1:] != shown_in[:-1]) | (asked[1:] != asked[:-1])
    return np.searchsorted(shown_in[new], np.arange(pictures + 1)).astype(np.int64), asked[new]


def _pictures(table: SampleTable, workers: int, progress: Progress | None) -> dict[str, Fingerprint]:
    """The fingerprint of each picture of a table, by what rows call it."""
    found: dict[str, Fingerprint] = {}

    def one(pair: tuple[Still, Any]) -> tuple[str, Fingerprint]:
        picture, origin = pair
        return str(picture), fingerprint(open_image(picture, where=str(origin)))

    stills: Iterator[tuple[Still, Any]] = (
        (picture, origin) for picture, origin in whole(table).pictures() if not isinstance(picture, Video)
    )
    total = table.pictures - table.videos
    with ThreadPoolExecutor(workers, thread_name_prefix="fingerprint") as pool:
        while part := list(islice(stills, CHUNK)):
            found.update(pool.map(one, part))
            if progress:
                progress(f"pictures of {table.source}", len(found), total)
    return found
