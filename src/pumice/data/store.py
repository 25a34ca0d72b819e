"""A folder in which a reader keeps what it must not read twice: pictures taken out of rows, and rows.

Pictures that lie in text (base64) or in compressed columns cannot be reached by place. They are laid one
behind the other into one file, each once, and are parts of that file from then on (``ImageRef``).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pumice.data.lines import to_line
from pumice.types import ImageRef

PICTURES, ROWS = "pictures.bin", "rows.jsonl"
_TEMPORARY: list[tempfile.TemporaryDirectory[str]] = []
"""Folders whose pictures samples may still name, so they stay until the program ends."""


class Store:
    """Two files that only grow, made when they are first needed.

    Args:
        folder: where they are; None takes a folder that goes when the program ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._handles: dict[str, BinaryIO] = {}
        self._known: dict[bytes, ImageRef] = {}

    def add_picture(self, data: bytes, name: str | None = None) -> ImageRef:
        """Keep a picture, once however often it comes; without a name its SHA-256 names it."""
        digest = hashlib.sha256(data).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._append(PICTURES, data, name or digest.hex()[:32] + suffix_of(data))
            self._known[digest] = known
        return known

    def add_row(self, row: dict[str, Any]) -> ImageRef:
        """Keep a row as a line of JSON; what comes back is its place."""
        data = to_line(row).encode()
        place = self._append(ROWS, data, "")
        self._handles[ROWS].write(b"\n")
        return place

    def mark(self) -> dict[str, int]:
        """How far each file is, for ``back_to``."""
        return {name: handle.tell() for name, handle in self._handles.items()}

    def back_to(self, mark: Mapping[str, int]) -> None:
        """Take out what was added since ``mark``."""
        for name, handle in self._handles.items():
            if handle.tell() != mark.get(name, 0):
                handle.truncate(mark.get(name, 0))
                handle.seek(0, 2)
        end = mark.get(PICTURES, 0)
        self._known = {digest: place for digest, place in self._known.items() if place.offset < end}

    def close(self) -> None:
        """Write out what was added; it can be read from then on."""
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()

    def _append(self, file: str, data: bytes, name: str) -> ImageRef:
        if self.folder is None:
            _TEMPORARY.append(tempfile.TemporaryDirectory(prefix="pumice-"))
            self.folder = Path(_TEMPORARY[-1].name)
        path = self.folder / file
        if file not in self._handles:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._handles[file] = path.open("ab")
        handle = self._handles[file]
        place = ImageRef(path, handle.tell(), len(data), name)
        handle.write(data)
        return place


def suffix_of(data: bytes) -> str:
    """The usual ending of a picture's file, told from its first bytes; "" where they say nothing."""
    for start, suffix in (
        (b"\xff\xd8\xff", ".jpg"),
        (b"\x89PNG\r\n", ".png"),
        (b"GIF8", ".gif"),
        (b"BM", ".bmp"),
    ):
        if data.startswith(start):
            return suffix
    return ".webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""
