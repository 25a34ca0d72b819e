"""Tensors that lie in files: known by name, type and shape before anything is read.

A checkpoint of many gigabytes is opened so, and its tensors are read one at a time straight into the
memory where they stay. Files are read, not mapped: mapped pages count as memory of the process, and a
model whose weights are mapped breaks when its file changes.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from pumice.errors import CheckpointError

_HEADER_LIMIT = 100_000_000
"""The longest header that the safetensors format allows, in bytes."""
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One tensor of a file.

    Attributes:
        shape: its shape.
        dtype: its type as stored.
        make: reads it; each call gives a tensor of its own.
    """

    shape: torch.Size
    dtype: torch.dtype
    make: Callable[[], Tensor]

    def read(self) -> Tensor:
        """The tensor, on the CPU."""
        return self.make()

    def __getitem__(self, part: EllipsisType) -> Tensor:
        """The whole tensor: ``[...]`` is how transformers asks for what it has not read yet."""
        return self.make()

    @property
    def nbytes(self) -> int:
        """How many bytes it takes as stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    def then(self, change: Callable[[Tensor], Tensor], shape: torch.Size | None = None) -> Stored:
        """The same tensor, changed when it is read; ``shape`` is the new one where it differs."""
        return Stored(self.shape if shape is None else shape, self.dtype, lambda: change(self.make()))


def held(tensor: Tensor) -> Stored:
    """A tensor that is in memory already."""
    return Stored(tensor.shape, tensor.dtype, lambda: tensor)


def open_safetensors(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file, none of them read yet.

    Raises:
        CheckpointError: the file is missing, cut short, or its header does not describe its content.
    """
    header, start, size = _read_header(file)
    tensors = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        try:
            dtype, shape = entry["dtype"], torch.Size(entry["shape"])
            begin, end = (int(place) for place in entry["data_offsets"])
        except (TypeError, KeyError, ValueError) as error:
            raise _unreadable(file, f"its header does not describe {key} ({error!r})") from error
        if dtype not in _TYPES:
            raise _unreadable(file, f"{key} has type {dtype}, which is not supported")
        kind = _TYPES[dtype]
        if begin < 0 or end - begin != math.prod(shape) * kind.itemsize:
            raise _unreadable(file, f"{key} of shape {list(shape)} does not fit its {end - begin} bytes")
        if start + end > size:
            raise _unreadable(
                file,
                f"it is cut short: {key} ends at byte {start + end:,}, but the file has {size:,} bytes",
            )
        tensors[key] = Stored(shape, kind, _reader(file, start + begin, end - begin, kind, shape))
    return tensors


def _read_header(file: Path) -> tuple[dict[str, Any], int, int]:
    """The header, where the tensors begin, and the size of the file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(8)
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
            if len(first) < 8 or length > size - 8:
                told = f"{length:,}" if length else "8 or more"
                raise _unreadable(
                    file, f"it is cut short: its header is {told} bytes long, but the file has {size:,} bytes"
                )
            if length > _HEADER_LIMIT:
                raise _unreadable(file, f"its header claims {length:,} bytes; it is no safetensors file")
            header = json.loads(stream.read(length).decode("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unreadable(file, str(error)) from error
    if not isinstance(header, dict):
        raise _unreadable(file, "its header is no JSON object")
    return header, 8 + int(length), size


def _reader(
    file: Path, begin: int, count: int, dtype: torch.dtype, shape: torch.Size
) -> Callable[[], Tensor]:
    def read() -> Tensor:
        raw = torch.empty(count, dtype=torch.uint8)
        view = memoryview(raw.numpy().data)
        filled = 0
        try:
            with file.open("rb", buffering=0) as stream:
                stream.seek(begin)
                while filled < count:
                    step = stream.readinto(view[filled:])
                    if not step:
                        raise _unreadable(file, f"it ends at byte {begin + filled:,}, before its tensors do")
                    filled += step
        except OSError as error:
            raise _unreadable(file, str(error)) from error
        return raw.view(dtype).reshape(shape)

    return read


def open_pickled(file: Path) -> dict[str, Stored]:
    """The tensors of a file that ``torch.save`` wrote, read with ``weights_only=True``.

    Nothing in such a file is run: what is no tensor or plain container is refused. Zip files (all since
    torch 1.6) are mapped while a tensor is copied; older ones are read whole.

    Raises:
        CheckpointError: the file is missing, broken or holds anything else than tensors by name.
    """
    state, mapped = _unpickle(file)
    tensors = {}
    for key, tensor in state.items():
        if not mapped:
            tensors[key] = held(tensor)
            continue
        # Opened again for each tensor: pages that one mapping touched would all stay with the process.
        tensors[key] = Stored(tensor.shape, tensor.dtype, partial(_unpickled, file, key))
    return tensors


def _unpickled(file: Path, key: str) -> Tensor:
    return _unpickle(file)[0][key].clone(memory_format=torch.contiguous_format)


def _unpickle(file: Path) -> tuple[dict[str, Tensor], bool]:
    mapped = True
    try:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            mapped = False
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _unreadable(file, first) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _unreadable(file, "it holds other things than tensors by name")
    return {str(key): value for key, value in state.items()}, mapped


def _unreadable(file: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"the weights cannot be read: {why}",
        where=str(file),
        remedy=_again(file) or "copy or download the file again; compare its size with the source's",
    )


def _again(file: Path) -> str | None:
    """How a file is made again that a run made, and that was copied from nowhere."""
    for place in file.parents:
        stages = place.parent.parent
        if stages.name == "stages" and (stages.parent / "run.json").is_file():
            return (
                f"a run made this file, and there is no other: delete {place} and give the run's command "
                f"again with --resume, which trains stage {place.parent.name!r} again to the same weights"
            )
    return None
