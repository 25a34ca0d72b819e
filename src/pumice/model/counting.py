"""How many numbers a checkpoint's weights have, by its files' headers: none is loaded or unpickled."""

from __future__ import annotations

import json
import math
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError
from pumice.model.adapter import TOWER, Adapter, is_adapter
from pumice.model.quantized.stored import SCALES
from pumice.model.weights import (
    INDEX,
    PICKLED,
    PICKLED_INDEX,
    SINGLE,
    WEIGHT_ENDINGS,
    read_json,
    weight_files,
)

_LONGEST = 100 << 20
"""Bytes of the largest header that safetensors itself accepts; of a pickle's list of tensors, too."""
_STORAGES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "CharStorage": "I8", "ByteStorage": "U8", "LongStorage": "I64", "IntStorage": "I32",
    "BoolStorage": "BOOL",
}  # fmt: skip
"""torch's names of types, as safetensors has them."""
_CONFIGS = {"float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2)}
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Numbers:
    """One tensor of a checkpoint.

    Attributes:
        key: its name; empty where a file does not tell names.
        count: how many numbers it stands for; of codes of 4 bits, two a byte.
        dtype: as stored, by safetensors' name: ``F32``, ``BF16``; ``U8`` and ``I8`` of quantised ones.
    """

    key: str
    count: int
    dtype: str


def numbers_of(folder: Path) -> list[Numbers]:
    """All tensors of a checkpoint; of an adapter, those of what it was trained on as well.

    Safetensors tell them in their headers. Of pickles the opcodes are read and none is carried out; one of
    torch before 1.6 is counted by its size and the type that ``config.json`` names.

    Raises:
        CheckpointError: a file is missing or is not what its name says.
    """
    if is_adapter(folder):
        return _of_adapter(folder)
    # Of what is no whole model (a projector, an adapter of others) its loader knows what is missing.
    whole = any((folder / name).is_file() for name in (SINGLE, INDEX, PICKLED, PICKLED_INDEX))
    files = weight_files(folder) if whole else _own(folder)
    return _together(one for file in files for one in _of_file(file, folder))


def _of_adapter(folder: Path) -> list[Numbers]:
    adapter = Adapter.read(folder)
    found = [one for file in _own(folder) if file.name != TOWER for one in _of_file(file, folder)]
    for part in adapter.base:
        found += numbers_of(adapter.find(part, None, part))
    return found


def _own(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_ENDINGS)


def _of_file(file: Path, folder: Path) -> Iterator[Numbers]:
    try:
        if file.suffix == ".safetensors":
            yield from _of_safetensors(file)
        elif zipfile.is_zipfile(file):
            yield from _of_pickle(file)
        else:
            kind, width = _CONFIGS.get(_told(folder), _CONFIGS["float32"])
            yield Numbers("", file.stat().st_size // width, kind)
    except _BROKEN as error:
        raise CheckpointError(
            f"the weights cannot be counted ({type(error).__name__})",
            where=str(file),
            remedy="copy or download the file again; compare its size with the source's",
        ) from error


def _of_safetensors(file: Path) -> Iterator[Numbers]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _LONGEST or length > file.stat().st_size:
            raise ValueError("a header longer than its file")
        header = json.loads(stream.read(length))
    for key, tensor in header.items():
        if key != "__metadata__":
            yield Numbers(key, math.prod(tensor["shape"]), str(tensor["dtype"]))


def _of_pickle(file: Path) -> Iterator[Numbers]:
    """The storages that a zip file of ``torch.save`` lists, each once."""
    with zipfile.ZipFile(file) as archive:
        name = next(one for one in archive.namelist() if one.endswith("data.pkl"))
        if archive.getinfo(name).file_size > _LONGEST:
            raise ValueError("a list of tensors too long to be one")
        listed = archive.read(name)
    values: list[Any] = []  # what opcodes put onto the stack, but for containers
    memo: dict[Any, Any] = {}
    seen: set[str] = set()
    top: Any = None
    for code, given, _ in pickletools.genops(listed):
        if code.name in ("BINPUT", "LONG_BINPUT"):
            memo[given] = top
        elif code.name == "MEMOIZE":
            memo[len(memo)] = top
        elif code.name == "BINPERSID":
            # Of a storage: "storage", its type, name, device and size; before it the tensor's key and what
            # torch makes of both.
            last = values[-5:]
            if len(last) == 5 and last[0] == "storage" and last[2] not in seen:
                _, kind, storage, _, count = last
                seen.add(storage)
                key = next((one for one in values[-6::-1] if isinstance(one, str) and " " not in one), "")
                yield Numbers(key, int(count), _STORAGES.get(str(kind).split()[-1], "unknown"))
            values.clear()
        elif code.name in ("BINGET", "LONG_BINGET"):
            top = memo.get(given)
            values.append(top)
        elif given is not None and code.name not in ("PROTO", "FRAME"):
            top = given
            values.append(top)
        else:
            top = None


def _told(folder: Path) -> str:
    """The type that a configuration names."""
    config = folder / "config.json"
    fields = read_json(config) if config.is_file() else {}
    return str(fields.get("torch_dtype") or fields.get("dtype"))


def _together(tensors: Iterator[Numbers]) -> list[Numbers]:
    """Codes and their scales as one, counted by the weights that they stand for."""
    found: list[Numbers] = []
    named: dict[str, Numbers] = {}
    for one in tensors:
        if one.key:
            named[one.key] = one
        else:
            found.append(one)
    for key, one in named.items():
        if key.endswith(SCALES) and key.removesuffix(SCALES) in named:
            continue
        packed = one.dtype == "U8" and f"{key}{SCALES}" in named
        found.append(replace(one, count=2 * one.count) if packed else one)
    return found
