"""Notes on disk: a file for each check and chunk, found again by what was looked at."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumice.files import replacing
from pumice.trust.audit.check import Notes

FOLDER = "audit"
"""The folder below a cache."""
_JSON = ".json"


def place_of(folder: Path, key: str, content: bytes) -> Path:
    """The file of a check's notes about a chunk.

    Args:
        folder: where notes are kept.
        key: the check's.
        content: stands for the rows or pictures of the chunk.
    """
    name = hashlib.blake2b(key.encode() + b"\n" + content, digest_size=16).hexdigest()
    return folder / name[:2] / f"{name}.npz"


def write(path: Path, notes: Notes) -> None:
    """Keep notes; the file appears whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in notes.items():
        if isinstance(value, list):
            text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
            arrays[name + _JSON] = np.frombuffer(zlib.compress(text.encode(), 1), np.uint8)
        else:
            assert value.dtype.kind in "biufSU", f"{name} is of {value.dtype}"
            arrays[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=True) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def is_whole(path: Path) -> bool:
    """Whether notes are there and can be read."""
    with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile), zipfile.ZipFile(path) as file:
        return bool(file.namelist())
    return False


def read(path: Path, only: str | None = None) -> Mapping[str, Any]:
    """Notes again, or one of them alone.

    Raises:
        OSError: they went while the audit ran.
    """
    found: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as stored:
        for name in stored.files:
            bare = name.removesuffix(_JSON)
            if only is None or only == bare:
                value = stored[name]
                found[bare] = json.loads(zlib.decompress(value.tobytes())) if name != bare else value
    return found
