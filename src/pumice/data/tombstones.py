"""Rows that were erased, and stay so: a file beside each data file says which, and every reader obeys it.

``FILE.erased.jsonl`` lies beside ``FILE`` and only grows. It holds digests and no contents: of a row what
``index.row_digest`` gives, of a picture its name as rows write it. So a row stays erased where the file is
sorted, joined with others, or written anew with the same row in it, and so do rows that come later and show
an erased picture. ``open_table`` leaves them out before anything else sees them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import DataError
from pumice.files import lock

SUFFIX = ".erased.jsonl"
VERSION = 1
_KINDS = {"row": "rows", "picture": "pictures"}


@dataclass(frozen=True, slots=True)
class Tombstones:
    """What is erased of some files: digests of rows, and of names of pictures, 16 bytes each."""

    rows: frozenset[bytes] = frozenset()
    pictures: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures)

    @property
    def digest(self) -> str:
        """Stands for all of them, whatever their order; "" where there are none."""
        if not self:
            return ""
        text = json.dumps([sorted(one.hex() for one in kind) for kind in (self.rows, self.pictures)])
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


def name_digest(name: str) -> bytes:
    """16 bytes that stand for the name of a picture."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_tombstones(files: Iterable[str | Path]) -> Tombstones:
    """What is erased of some files.

    Raises:
        DataError: a file of tombstones is damaged: then nobody can say which rows may be used.
    """
    found: dict[str, set[bytes]] = {"rows": set(), "pictures": set()}
    for path in map(tombstone_file, files):
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error
        for number, line in enumerate(text.splitlines(), 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    if entry["format"] != "pumice tombstones" or entry["version"] != VERSION:
                        raise ValueError(f"not tombstones of version {VERSION}")
                    continue
                digest = bytes.fromhex(entry["digest"])
                if len(digest) != 16:
                    raise ValueError("a digest has 32 hexadecimal digits")
                found[_KINDS[entry["kind"]]].add(digest)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise _damaged(path, f"line {number}: {error!r}") from error
    return Tombstones(frozenset(found["rows"]), frozenset(found["pictures"]))


def add_tombstones(
    path: str | Path, rows: Iterable[bytes], pictures: Iterable[bytes] = (), *, erasure: str
) -> int:
    """Erase rows of a file; those that are erased already are not written again.

    Args:
        path: the data file; it is not touched.
        rows: digests of rows.
        pictures: digests of names of pictures.
        erasure: names the erasure in its log.

    Returns:
        How many tombstones are new.

    Raises:
        DataError: the file of tombstones is damaged, or cannot be written.
    """
    target = tombstone_file(path)
    try:
        with target.open("a+b") as file:
            lock(file, wait=True)
            known = read_tombstones([path])
            lines: list[dict[str, Any]] = []
            if not file.tell():
                lines.append({"format": "pumice tombstones", "version": VERSION})
            for kind, digests, there in (("row", rows, known.rows), ("picture", pictures, known.pictures)):
                for digest in sorted(set(digests) - there):
                    lines.append({"kind": kind, "digest": digest.hex(), "erasure": erasure})
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"the tombstones cannot be written ({error.strerror or error})",
            where=str(target),
            remedy="nothing was erased; make the folder writable, or work on a copy of the data",
        ) from error
    return sum("digest" in line for line in lines)


def erased_files(files: Sequence[str | Path]) -> list[Path]:
    """Those files of tombstones that are there."""
    return [path for path in map(tombstone_file, files) if path.is_file()]


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"the list of erased rows cannot be read ({why})",
        where=str(path),
        remedy="restore it from a copy; without it, erased rows would be used again",
    )
