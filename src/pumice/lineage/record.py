"""What a checkpoint came from: a small record that travels with it, from folder to folder.

``lineage.json`` lies in every folder of weights that Pumice writes: a stage's model, its adapter and its
best model, saved states, and what `pumice export`, `merge` and `quantize` make. It says what made the
folder, and holds the record of each parent, so a folder that is found anywhere can be followed to its data
without the run. A parent without a record is named by the digests of its weight files, and nothing is
guessed of it.

    kind       stage, state, best, adapter, export, merge, quantize
    weights    SHA-256 of each weight file of this folder (none of a state: its seals say that)
    parents    part -> name, weights, lineage (their record, or null)
    run, stage, step, steps, recipe, code, policy, data, ...   of what a stage made (``train.lineage``)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError
from pumice.files import write_json
from pumice.lineage.digests import weight_digests

LINEAGE = "lineage.json"
FORMAT, VERSION = "pumice lineage", 1
_DEEP = 100
"""A chain of more parents is no record of ours."""


def read_lineage(folder: Path) -> dict[str, Any] | None:
    """The record of a folder; None where it has none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / LINEAGE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, repr(error)) from error
    if not _is_record(found):
        raise _damaged(path, f"it is no record of version {VERSION}")
    record: dict[str, Any] = found
    return record


def write_lineage(folder: Path, record: Mapping[str, Any], *, weights: bool = True) -> None:
    """Put a record into a folder whose weights are written.

    Args:
        folder: the checkpoint's.
        record: without format, version and ``weights``.
        weights: whether the weight files are hashed into it.
    """
    own = {"weights": weight_digests(folder)} if weights else {}
    write_json(folder / LINEAGE, {"format": FORMAT, "version": VERSION, **record, **own})


def parent_of(folder: Path, name: str | None = None) -> dict[str, Any]:
    """What a record says of a folder of weights from which another is made.

    Args:
        folder: the parent's.
        name: what it is called; the folder's name where nothing is given. Never a path: that is nobody's
            business where the record goes.

    Raises:
        CheckpointError: its record is damaged.
    """
    return {
        "name": name or folder.resolve().name,
        "weights": weight_digests(folder),
        "lineage": read_lineage(folder),
    }


def derived(kind: str, parents: Mapping[str, Mapping[str, Any]], **facts: Any) -> dict[str, Any]:
    """The record of what was made of parents without any training.

    Args:
        kind: what was done.
        parents: by the part that each is of the new model (``parent_of``).
        facts: how.
    """
    assert not facts.keys() & {"format", "version", "kind", "weights", "parents"}
    return {"kind": kind, **facts, "parents": {part: dict(one) for part, one in parents.items()}}


def ancestors(record: Mapping[str, Any], deep: int = 0) -> Iterator[Mapping[str, Any]]:
    """A record and all records behind it, the nearest first."""
    yield record
    if deep >= _DEEP:
        return
    for parent in record.get("parents", {}).values():
        if parent.get("lineage") is not None:
            yield from ancestors(parent["lineage"], deep + 1)


def unrecorded(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Parents of which nothing is known but their weight files, of a record and all behind it."""
    return [
        parent
        for one in ancestors(record)
        for parent in one.get("parents", {}).values()
        if parent.get("lineage") is None
    ]


def changed_weights(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Weight files of a folder that are not those its record was written with; also missing and new ones."""
    then, now = dict(record.get("weights") or {}), weight_digests(folder)
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _is_record(found: object) -> bool:
    if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        return False
    records: list[Any] = [found]
    for _ in range(1000):
        if not records:
            return True
        one = records.pop()
        if not isinstance(one, dict) or not isinstance(one.get("kind"), str):
            return False
        parents = one.get("parents", {})
        if not isinstance(parents, dict):
            return False
        for parent in parents.values():
            if not isinstance(parent, dict) or not isinstance(parent.get("name"), str):
                return False
            if parent.get("lineage") is not None:
                records.append(parent["lineage"])
    return False


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"the record of where the weights come from cannot be read ({why})",
        where=str(path),
        remedy="restore it from a copy of the folder; without it (delete it) nothing is known of them",
    )
