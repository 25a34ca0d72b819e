"""A file of features: many views, found by their keys, every part checked before it is used.

It is a safetensors file with ``features`` [M, P, V], of fp8 ``scales`` [M, P], and of each view its key (16
bytes), number of tiles, checksum, and how far off its features are. It is read by place and not mapped: of a
mapped file that is cut off meanwhile the process would die, and mapped pages count as its memory.

Shapes: N views, M tiles, P features of a tile, V tower width.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pumice.files import replacing
from pumice.recipes.features import FeatureType
from pumice.train.codec import TYPES, Packed, joined

SUFFIX = ".safetensors"
VERSION = "1"
KEY = 16
"""Bytes of a key."""
_TYPES = {"fp32": "F32", "bf16": "BF16", "fp8": "F8_E4M3"}
_MOST_HEAD = 1 << 20


class DamagedShard(Exception):
    """A file of features that is not what was written, with what is wrong; never shown to a user as such."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The features of one view: its key, what is kept, and the sums of squares of ``codec.deviation``."""

    key: bytes
    packed: Packed
    deviation: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of features whose head was read and found whole.

    Attributes:
        path: the file.
        kind: what its numbers are.
        places: by key, which of its views it is.
        starts: the first tile of each view, and their number in all, int64 [N + 1].
        sums: the checksum of each view, int64 [N].
        deviations: sums of squares, float64 [N, 2].
        shape: of a tile, (P, V).
        numbers_at: the byte at which ``features`` begins.
        scales_at: the byte at which ``scales`` begins, or None.
    """

    path: Path
    kind: FeatureType
    places: Mapping[bytes, int]
    starts: NDArray[np.int64]
    sums: NDArray[np.int64]
    deviations: NDArray[np.float64]
    shape: tuple[int, int]
    numbers_at: int
    scales_at: int | None

    def read(self, place: int, handle: int) -> Packed:
        """One view's features as they were written.

        Args:
            place: which of the views.
            handle: the open file.

        Raises:
            DamagedShard: they are not those that were written.
            OSError: the file cannot be read.
        """
        start, stop = int(self.starts[place]), int(self.starts[place + 1])
        length, dim = self.shape
        size = TYPES[self.kind].itemsize * length * dim
        raw = [_bytes(handle, self.numbers_at + start * size, (stop - start) * size)]
        if self.scales_at is not None:
            raw.append(_bytes(handle, self.scales_at + start * length * 4, (stop - start) * length * 4))
        if _checksum(raw) != int(self.sums[place]):
            raise DamagedShard("features that are not those that were written")
        numbers = torch.frombuffer(raw[0], dtype=TYPES[self.kind]).reshape(stop - start, length, dim)
        if self.scales_at is None:
            return Packed(numbers)
        return Packed(numbers, torch.frombuffer(raw[1], dtype=torch.float32).reshape(stop - start, length))


def shard_name(keys: Sequence[bytes]) -> str:
    """The name of a file by the views in it: who writes the same twice writes one file."""
    return hashlib.blake2b(b"".join(keys), digest_size=16).hexdigest() + SUFFIX


def write_shard(path: Path, entries: Sequence[Entry]) -> int:
    """Write a file of features; it appears whole or not at all. Returns its bytes.

    Args:
        path: the file; its folder exists, and several processes may write there.
        entries: the views, of one kind and shape.
    """
    packed = joined([entry.packed for entry in entries])
    keys = np.frombuffer(b"".join(entry.key for entry in entries), np.uint8).reshape(-1, KEY)
    tiles = np.array([len(entry.packed.numbers) for entry in entries], np.int64)
    sums = np.array([_checksum(_raw(entry.packed)) for entry in entries], np.int64)
    deviations = np.array([entry.deviation for entry in entries], np.float64)
    tensors = {
        "features": packed.numbers.contiguous(),
        "keys": torch.from_numpy(keys.copy()),
        "tiles": torch.from_numpy(tiles),
        "checksums": torch.from_numpy(sums),
        "deviations": torch.from_numpy(deviations),
    }
    if packed.scales is not None:
        tensors["scales"] = packed.scales.contiguous()
    head = {"version": VERSION, "index": _index_digest(keys, tiles, sums, deviations)}
    with replacing(path, shared=True) as partial:
        save_file(tensors, partial, metadata=head)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        return partial.stat().st_size


def open_shard(path: Path, kind: FeatureType, shape: tuple[int, int]) -> Shard:
    """Read the head of a file of features.

    Args:
        path: the file.
        kind: what its numbers should be.
        shape: of a tile, (P, V).

    Raises:
        DamagedShard: it is cut off, or is not what it should be.
        OSError: it cannot be read; ``FileNotFoundError`` where another process took it away.
    """
    with path.open("rb") as file:
        head, begin = _head(file.fileno(), os.fstat(file.fileno()).st_size)
        if head.get("__metadata__", {}).get("version") != VERSION:
            raise DamagedShard("a file of another version")

        def array(name: str, dtype: Any, width: int | None = None) -> NDArray[Any]:
            start, stop = head[name]["data_offsets"]
            found = np.frombuffer(_bytes(file.fileno(), begin + start, stop - start), dtype)
            return found if width is None else found.reshape(-1, width)

        try:
            keys, tiles = array("keys", np.uint8, KEY), array("tiles", np.int64)
            sums, deviations = array("checksums", np.int64), array("deviations", np.float64, 2)
            if head["__metadata__"].get("index") != _index_digest(keys, tiles, sums, deviations):
                raise DamagedShard("an index that is not the one that was written")
            starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(tiles)])
            whole = {"features": (_TYPES[kind], [int(starts[-1]), *shape])}
            if kind == "fp8":
                whole["scales"] = ("F32", [int(starts[-1]), shape[0]])
            for name, (dtype, wanted) in whole.items():
                if (head[name]["dtype"], head[name]["shape"]) != (dtype, wanted):
                    raise DamagedShard(f"{name} of another kind or shape")
            numbers_at = begin + int(head["features"]["data_offsets"][0])
            scales_at = begin + int(head["scales"]["data_offsets"][0]) if kind == "fp8" else None
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedShard(f"a head that says nonsense ({error!r})") from error
    places = {row.tobytes(): number for number, row in enumerate(keys)}
    return Shard(path, kind, places, starts, sums, deviations, shape, numbers_at, scales_at)


def _head(handle: int, size: int) -> tuple[dict[str, Any], int]:
    """The head of a safetensors file, and the byte behind it; the file is as long as the head says."""
    length = int.from_bytes(_bytes(handle, 0, 8), "little")
    if not 2 <= length <= _MOST_HEAD:
        raise DamagedShard("no head")
    try:
        head = json.loads(_bytes(handle, 8, length))
        end = max(entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__")
        if size != 8 + length + int(end):
            raise DamagedShard(f"{size:,} bytes in place of {8 + length + int(end):,}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedShard(f"a head that cannot be read ({error!r})") from error
    return head, 8 + length


def _bytes(handle: int, start: int, length: int) -> bytearray:
    """Some bytes of a file, in memory that may be written to (tensors want it so)."""
    found = bytearray(length)
    view, done = memoryview(found), 0
    os.lseek(handle, start, os.SEEK_SET)
    while done < length:
        block = os.read(handle, length - done)
        if not block:
            raise DamagedShard("a file that is cut off")
        view[done : done + len(block)] = block
        done += len(block)
    return found


def _raw(packed: Packed) -> list[memoryview]:
    parts = [packed.numbers] if packed.scales is None else [packed.numbers, packed.scales]
    return [memoryview(part.contiguous().reshape(-1).view(torch.uint8).numpy().data) for part in parts]


def _checksum(parts: Sequence[bytearray | memoryview]) -> int:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def _index_digest(*arrays: NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
