"""The weights of a checkpoint folder: which files, which keys; every key and shape is accounted for."""

from __future__ import annotations

import json
import math
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from pumice.errors import CheckpointError
from pumice.model.stored import Stored, open_pickled, open_safetensors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
_OWN_CONFIG = "use the config.json that was saved with these weights"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; CheckpointError if it is missing or is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path.name}",
            where=str(path),
            remedy="point at a folder that holds a checkpoint",
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} does not hold a JSON object", where=str(path))
    return value


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights: safetensors, else pickles (``pytorch_model.bin``).

    Raises:
        CheckpointError: the folder or its weights are missing.
    """
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such folder", where=str(folder), remedy="give the path of a local checkpoint folder"
        )
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / index).is_file():
            return _shards(folder, index)
        if (folder / single).is_file():
            return [folder / single]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in WEIGHT_ENDINGS)
    raise CheckpointError(
        f"{SINGLE} is missing" + (f" (the folder has {', '.join(others)})" if others else ""),
        where=str(folder),
        remedy="copy the whole folder",
    )


def _shards(folder: Path, index: str) -> list[Path]:
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("the index has no weight_map", where=str(folder / index))
    files = [folder / Path(str(name)).name for name in sorted(set(weight_map.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"weight files are missing: {', '.join(missing)}",
            where=str(folder),
            remedy="copy the whole folder",
        )
    return files


def open_file(file: Path) -> dict[str, Stored]:
    """The tensors of one weight file, none of them read yet; the kind of file is told by its ending."""
    return open_safetensors(file) if file.suffix == ".safetensors" else open_pickled(file)


def open_weights(folder: Path) -> dict[str, Stored]:
    """All tensors of a checkpoint folder by their keys, none of them read yet.

    Raises:
        CheckpointError: a file is missing or broken; names it.
    """
    tensors: dict[str, Stored] = {}
    for file in weight_files(folder):
        try:
            tensors.update(open_file(file))
        except CheckpointError as error:
            if file.suffix == ".safetensors":
                raise
            what = f"{error.what} ({SINGLE} is missing, so {file.name} was opened)"
            raise CheckpointError(what, where=error.where, remedy=error.remedy) from error
    return tensors


def readable_as_others(file: Path) -> None:
    """Give a file the mode that the process gives new files; safetensors' are for their owner alone."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / "new"
        made.touch()
        mode = made.stat().st_mode
    file.chmod(stat.S_IMODE(mode))


def write_tensors(tensors: Mapping[str, Stored], folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    """Write tensors to ``folder`` as one file, or as shards of at most ``shard_bytes`` with an index.

    Floating ones become ``dtype``. One shard at a time is in memory.
    """
    sizes = {key: math.prod(tensor.shape) * _kind(tensor, dtype).itemsize for key, tensor in tensors.items()}
    shards: list[list[str]] = [[]]
    filled = 0
    for key in sorted(tensors):
        if shards[-1] and filled + sizes[key] > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += sizes[key]
    weight_map: dict[str, str] = {}
    for number, keys in enumerate(shards, start=1):
        name = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        shard = {key: tensors[key].read().to("cpu", _kind(tensors[key], dtype)).contiguous() for key in keys}
        save_file(shard, folder / name, metadata={"format": "pt"})
        readable_as_others(folder / name)
        weight_map |= dict.fromkeys(keys, name)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": dict(sorted(weight_map.items())),
        }
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _kind(tensor: Stored, dtype: torch.dtype) -> torch.dtype:
    return dtype if tensor.dtype.is_floating_point else tensor.dtype


def check_keys(
    expected: Mapping[str, torch.Size],
    tensors: Mapping[str, Stored],
    where: str,
    *,
    optional: Iterable[str] = (),
) -> None:
    """CheckpointError naming every missing or unexpected key, or the first key whose shape differs."""
    refuse_keys(set(expected) - set(tensors) - set(optional), set(tensors) - set(expected), where)
    wrong = {key: (tensors[key].shape, expected[key]) for key in sorted(tensors)}
    refuse_shapes({key: both for key, both in wrong.items() if both[0] != both[1]}, where)


def refuse_keys(missing: Iterable[str], unexpected: Iterable[str], where: str) -> None:
    """CheckpointError if there are any; names them."""
    parts = [
        f"{len(keys)} {kind} ({', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''})"
        for kind, keys in (("missing", sorted(missing)), ("unexpected", sorted(unexpected)))
        if keys
    ]
    if parts:
        raise CheckpointError(
            f"the weights do not fit config.json: keys {'; '.join(parts)}", where=where, remedy=_OWN_CONFIG
        )


def refuse_shapes(wrong: Mapping[str, tuple[Sequence[int], Sequence[int]]], where: str) -> None:
    """CheckpointError for the first key whose shapes (stored, wanted) differ; says how many there are."""
    for key, (stored, wanted) in sorted(wrong.items()):
        more = f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{key} has shape {list(stored)}, but config.json asks for {list(wanted)}{more}",
            where=where,
            remedy=_OWN_CONFIG,
        )


def fill(module: nn.Module, tensors: Mapping[str, Stored], where: str) -> None:
    """Copy tensors into a module of the same keys and shapes, which keeps its own type.

    Raises:
        CheckpointError: a key is missing or unexpected, or a shape differs.
    """
    own = module.state_dict()
    check_keys({key: value.shape for key, value in own.items()}, tensors, where)
    with torch.no_grad():
        for key, tensor in tensors.items():
            own[key].copy_(tensor.read())
