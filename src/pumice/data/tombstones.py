"""Rows that were erased, and stay so: a file beside each data file says which, and every reader obeys it.

``FILE.erased.jsonl`` lies beside ``FILE`` and only grows. Its first line says how many follow, so that a list
that lost lines is no shorter list: it stops every reader. It holds digests and no contents: of a row what
``index.row_digest`` gives, of a picture its name as rows write it. So a row stays erased where the file is
sorted, joined with others, or written anew with the same row in it, and so do rows that come later and show
an erased picture. A row without an id has its number for one, which changes with its place: of such a row
there is a digest without it as well. ``open_table`` leaves them out before anything else sees them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pumice.errors import DataError
from pumice.files import lock
from pumice.words import counted

SUFFIX = ".erased.jsonl"
VERSION = 1
_KINDS = {"row": "rows", "picture": "pictures", "content": "contents"}
_HEAD = '{"format": "pumice tombstones", "version": 1, "lines": %12d}\n'
"""The first line: of one length whatever it counts, so it is written anew in its place."""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What is erased of some files, 16 bytes each: digests of rows, of names of pictures, and of what rows
    without an id say."""

    rows: frozenset[bytes] = frozenset()
    pictures: frozenset[bytes] = frozenset()
    contents: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures or self.contents)

    @property
    def digest(self) -> str:
        """Stands for all of them, whatever their order; "" where there are none."""
        if not self:
            return ""
        kinds = (self.rows, self.pictures, self.contents)
        text = json.dumps([sorted(one.hex() for one in kind) for kind in kinds])
        return hashlib.sha256(text.encode()).hexdigest()

    def has(self, row: bytes, names: Iterable[str]) -> bool:
        """Whether a row is erased.

        Args:
            row: its digest.
            names: of its pictures, as it writes them; without those that lie inside a container.
        """
        if row in self.rows:
            return True
        return bool(self.pictures) and any(name_digest(name) in self.pictures for name in names)


def tombstone_file(path: str | Path) -> Path:
    """Where the tombstones of a file lie."""
    return Path(f"{os.fspath(path)}{SUFFIX}")


def _places(path: str | Path) -> list[Path]:
    """Where the tombstones of a file may lie: beside the file itself, and beside a link that names it.

    Under whatever name a file is read, what was erased of it under another stays erased.
    """
    return list(
        dict.fromkeys([tombstone_file(os.path.realpath(path)), tombstone_file(os.path.abspath(path))])
    )


def name_digest(name: str) -> bytes:
    """16 bytes that stand for the name of a picture."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_tombstones(files: Iterable[str | Path]) -> Tombstones:
    """What is erased of some files.

    Raises:
        DataError: a file of tombstones is damaged: then nobody can say which rows may be used.
    """
    found: dict[str, set[bytes]] = {kind: set() for kind in _KINDS.values()}
    for path in dict.fromkeys(place for file in files for place in _places(file)):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error
        lines = text.splitlines()
        if not lines:
            raise _damaged(path, "it is empty")
        told = 0
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    if entry["format"] != "pumice tombstones" or entry["version"] != VERSION:
                        raise ValueError(f"not tombstones of version {VERSION}")
                    told = int(entry.get("lines", 0))  # older lists count nothing
                    continue
                digest = bytes.fromhex(entry["digest"])
                if len(digest) != 16:
                    raise ValueError("a digest has 32 hexadecimal digits")
                found[_KINDS[entry["kind"]]].add(digest)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise _damaged(path, f"line {number}: {error!r}") from error
        if len(lines) - 1 < told:  # more than are told of: a writer stopped before it counted them
            raise _damaged(path, f"it has {counted(len(lines) - 1, 'line')} of {told:,} behind its first")
    return Tombstones(**{kind: frozenset(digests) for kind, digests in found.items()})


def add_tombstones(
    path: str | Path,
    rows: Iterable[bytes],
    pictures: Iterable[bytes] = (),
    contents: Iterable[bytes] = (),
    *,
    erasure: str,
) -> int:
    """Erase rows of a file; those that are erased already are not written again.

    Several processes may do so at once. What a kill or a full disk left of a last line goes first.

    Args:
        path: the data file; it is not touched. Of a link the file that it leads to is meant.
        rows: digests of rows.
        pictures: digests of names of pictures.
        contents: digests of what rows without an id say (``index.content_digest``).
        erasure: names the erasure in its log.

    Returns:
        How many tombstones are new.

    Raises:
        DataError: the file of tombstones is damaged, or cannot be written.
    """
    target = _places(path)[0]
    try:
        _begin(target)
        with target.open("r+b") as file:
            lock(file, wait=True)
            _whole_lines(file)
            known = read_tombstones([path])
            lines = [
                json.dumps({"kind": kind, "digest": digest.hex(), "erasure": erasure}) + "\n"
                for kind, digests, there in (
                    ("row", rows, known.rows),
                    ("picture", pictures, known.pictures),
                    ("content", contents, known.contents),
                )
                for digest in sorted(set(digests) - there)
            ]
            file.seek(0)
            head = file.readline()
            file.seek(0, os.SEEK_END)
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
            now = (_HEAD % _lines_behind(file)).encode()
            if len(head) == len(now):  # the lines lie on the disk before they are counted
                file.seek(0)
                file.write(now)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"the tombstones cannot be written ({error.strerror or error})",
            where=str(target),
            remedy="nothing was erased; make the folder writable, or work on a copy of the data",
        ) from error
    return len(lines)


def _begin(target: Path) -> None:
    """Put an empty list there, whole from the first moment on; one that is there stays."""
    if target.exists():
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_text(_HEAD % 0, "utf-8")
    try:
        os.link(partial, target)
    except FileExistsError:
        pass  # another process began it meanwhile
    except OSError:  # a file system without links
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _lines_behind(file: IO[bytes]) -> int:
    file.seek(0)
    return file.read().count(b"\n") - 1


def _whole_lines(file: IO[bytes]) -> None:
    """Cut off a last line that was not written to its end.

    Whoever wrote it was not told that anything is erased, and says the whole of it again.
    """
    file.seek(0)
    text = file.read()
    size = text.rfind(b"\n") + 1
    if size < len(text):
        file.truncate(size)


def erased_files(files: Sequence[str | Path]) -> list[Path]:
    """Those files of tombstones that are there."""
    return [path for file in files for path in _places(file) if path.is_file()]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"the list of erased rows cannot be read ({why})",
        where=str(path),
        remedy="restore it from a copy; without it, erased rows would be used again",
    )
