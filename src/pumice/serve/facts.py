"""What a model's folder says of it, without loading anything: for the lists of both APIs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError

_HEADER = 100 << 20
"""Bytes of the largest header that safetensors itself accepts."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A model on disk.

    Attributes:
        name: by which clients ask for it.
        folder: where it is; clients never see it.
        modified: seconds since 1970 at which its configuration was written.
        size: bytes of its weights.
        digest: SHA-256 over its configuration and its weights' headers and sizes, in hex. It tells models
            apart; it is no check of every byte.
        parameters: numbers in its weights.
        dtype: what most of them are stored in, as safetensors has it: ``F32``, ``BF16``.
        config: its ``config.json``.
    """

    name: str
    folder: Path
    modified: float
    size: int
    digest: str
    parameters: int
    dtype: str
    config: Mapping[str, Any]

    @property
    def when(self) -> str:
        """``modified`` as RFC 3339 has it."""
        return datetime.fromtimestamp(self.modified, UTC).isoformat()

    @property
    def context(self) -> int | None:
        """The most tokens of prompt and answer, where the configuration says it."""
        text = self.config.get("text_config") or self.config
        found = text.get("max_position_embeddings")
        return found if isinstance(found, int) else None

    @property
    def family(self) -> str:
        """The kind of model by its configuration: ``llava``."""
        return str(self.config.get("model_type", "llava"))


def read_facts(name: str, folder: Path) -> Facts:
    """Read what a folder says; of weights, headers alone.

    Raises:
        CheckpointError: its configuration or a header cannot be read.
    """
    marks = (folder / mark for mark in ("config.json", "adapter_config.json"))
    path = next(mark for mark in marks if mark.is_file())
    try:
        text = path.read_bytes()
        config = json.loads(text)
        digest = hashlib.sha256(text)
        size = parameters = 0
        dtypes: dict[str, int] = {}
        for file in sorted(folder.glob("*.safetensors")):
            size += file.stat().st_size
            header = _header(file)
            digest.update(header)
            for key, tensor in json.loads(header).items():
                if key != "__metadata__":
                    number = _product(tensor["shape"])
                    parameters += number
                    dtypes[tensor["dtype"]] = dtypes.get(tensor["dtype"], 0) + number
        if not size and path.name == "config.json":
            size = sum(file.stat().st_size for file in folder.glob("*.bin"))
            parameters, dtypes = _pickled(folder) if size else (0, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the model's files cannot be read ({type(error).__name__})",
            where=str(folder),
            remedy="restore the folder's config.json and safetensors files",
        ) from error
    digest.update(str(size).encode())
    dtype = max(dtypes, key=lambda kind: dtypes[kind], default="unknown")
    modified = path.stat().st_mtime
    return Facts(name, folder, modified, size, digest.hexdigest(), parameters, dtype, config)


def _pickled(folder: Path) -> tuple[int, dict[str, int]]:
    """How many numbers a folder of pickles has, and how many of each type."""
    from pumice.model.counting import numbers_of  # with torch, which other folders do not take so early

    dtypes: dict[str, int] = {}
    for one in numbers_of(folder):
        dtypes[one.dtype] = dtypes.get(one.dtype, 0) + one.count
    return sum(dtypes.values()), dtypes


def _header(file: Path) -> bytes:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _HEADER or length > file.stat().st_size:
            raise ValueError("a header longer than its file")
        return stream.read(length)


def _product(shape: list[int]) -> int:
    number = 1
    for side in shape:
        number *= side
    return number


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a model may be called: it stands in addresses and logs."""
