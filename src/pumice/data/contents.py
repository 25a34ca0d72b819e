"""What stands for the content of a picture: a digest of its bytes, remembered while its file is unchanged.

Reading all pictures of a large data set takes minutes. A digest counts as long as the file has its size, its
number on the disk, and its times of change of content and of entry, all in nanoseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import ImageError
from pumice.files import write_text
from pumice.image.source import open_picture
from pumice.types import ImageRef, Still

CONTENTS_FILE = "contents.json"
CONTENTS_VERSION = 1

_FRESH = 2 * 10**9
"""A file that was changed within so many nanoseconds may change again without another time of change."""
_BLOCK = 1 << 20

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Content:
    """What a picture held when it was looked at: 16 bytes that stand for it, and the marks of its files."""

    digest: bytes
    stamps: tuple[Stamp, ...]


class Contents:
    """Digests of pictures; several threads may ask.

    Args:
        folder: the cache in which they are kept; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / CONTENTS_FILE
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        if self.file is not None:
            self._known = _read(self.file)

    def of(self, files: Sequence[Still], where: str | None = None) -> Content:
        """The content of a picture, or of the files of a video in their order.

        Raises:
            ImageError: a file is missing, empty, too short, or cannot be read.
        """
        found = [self._one(file, where) for file in files]
        if len(found) == 1:
            return Content(found[0][0], (found[0][1],))
        whole = hashlib.blake2b(b"".join(digest for digest, _ in found), digest_size=16)
        return Content(whole.digest(), tuple(stamp for _, stamp in found))

    def _one(self, file: Still, where: str | None) -> tuple[bytes, Stamp]:
        name, stamp = _name(file), stamp_of(file)
        known = self._known.get(name)
        if known is not None and stamp is not None and known[:4] == list(stamp):
            return bytes.fromhex(known[4]), stamp
        sha = hashlib.sha256()
        with open_picture(file, where) as stream:
            while block := stream.read(_BLOCK):
                sha.update(block)
        digest = sha.digest()[:16]
        if stamp is None or stamp_of(file) != stamp:
            raise ImageError(f"{file} changed while it was read", where=where, remedy="start again")
        if time.time_ns() - max(stamp[2:]) > _FRESH:
            self._known[name] = [*stamp, digest.hex()]
            self._changed = True
        return digest, stamp

    def save(self) -> None:
        """Write what was learnt; where that fails, the next run reads the pictures again."""
        if self.file is None or not self._changed:
            return
        content = {"version": CONTENTS_VERSION, "pictures": self._known}
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, json.dumps(content, separators=(",", ":")), shared=True)
            self._changed = False


def stamp_of(file: Still) -> Stamp | None:
    """Bytes, number on the disk, and times of change of content and of entry in ns; None without a file."""
    try:
        status = (file.file if isinstance(file, ImageRef) else file).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _name(file: Still) -> str:
    if isinstance(file, ImageRef):
        return f"{os.path.abspath(file.file)}@{file.offset}+{file.length}"
    return os.path.abspath(file)


def _read(file: Path) -> dict[str, list[Any]]:
    """The entries that are well formed; none where the file is damaged."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict) or data.get("version") != CONTENTS_VERSION:
        return {}
    pictures = data.get("pictures")
    if not isinstance(pictures, dict):
        return {}
    return {name: entry for name, entry in pictures.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 5 or not isinstance(entry[4], str):
        return False
    if not all(type(number) is int for number in entry[:4]):
        return False
    try:
        return len(bytes.fromhex(entry[4])) == 16
    except ValueError:
        return False
