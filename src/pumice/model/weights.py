"""Reading and writing tensors: safetensors only, every key and shape accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pumice.errors import CheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
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
    """The safetensors files of a checkpoint folder.

    Raises:
        CheckpointError: the folder or its weights are missing, or the weights are pickles.
    """
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such folder", where=str(folder), remedy="give the path of a local checkpoint folder"
        )
    if (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
        files = [folder / Path(name).name for name in names]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise CheckpointError(
                f"weight files are missing: {', '.join(missing)}",
                where=str(folder),
                remedy="copy the whole folder",
            )
        return files
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
    what = f"{SINGLE} is missing" + (
        f" (pickled weights are not read: {', '.join(pickles)})" if pickles else ""
    )
    raise CheckpointError(what, where=str(folder), remedy="save the checkpoint again with safetensors")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder by their keys, on the CPU, as stored."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"the weights cannot be read: {error}",
                where=str(file),
                remedy="copy or download the file again",
            ) from error
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, shard_bytes: int) -> None:
    """Write tensors to ``folder`` as one file, or as shards of at most ``shard_bytes`` with an index."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for key in sorted(tensors):
        size = tensors[key].nbytes
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][key] = tensors[key]
        filled += size
    if len(shards) == 1:
        save_file(shards[0], folder / SINGLE, metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def check_keys(
    expected: Mapping[str, torch.Size],
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    optional: Iterable[str] = (),
) -> None:
    """CheckpointError naming every missing or unexpected key, or the first key whose shape differs."""
    missing = sorted(set(expected) - set(tensors) - set(optional))
    unexpected = sorted(set(tensors) - set(expected))
    if missing or unexpected:
        parts = []
        if missing:
            parts.append(f"{len(missing)} missing ({_some(missing)})")
        if unexpected:
            parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
        raise CheckpointError(
            f"the weights do not fit config.json: keys {'; '.join(parts)}",
            where=where,
            remedy="use the config.json that was saved with these weights",
        )
    for key in sorted(tensors):
        if tensors[key].shape != expected[key]:
            raise CheckpointError(
                f"{key} has shape {list(tensors[key].shape)}, but config.json asks for {list(expected[key])}",
                where=where,
                remedy="use the config.json that was saved with these weights",
            )


def fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str, dtype: torch.dtype) -> None:
    """Copy tensors into a module of the same keys and shapes, which becomes ``dtype``; tied ones may lack.

    Raises:
        CheckpointError: a key is missing or unexpected, or a shape differs.
    """
    model.to(dtype)
    own = model.state_dict()
    storages: dict[int, list[str]] = {}
    for key, tensor in own.items():
        storages.setdefault(tensor.data_ptr(), []).append(key)
    tied = {key for keys in storages.values() if any(k in tensors for k in keys) for key in keys}
    check_keys({key: value.shape for key, value in own.items()}, tensors, where, optional=tied)
    with torch.no_grad():
        for key, tensor in tensors.items():
            own[key].copy_(tensor)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:6]) + (", ..." if len(keys) > 6 else "")
