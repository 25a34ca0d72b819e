"""Whether a row was in the data of a stage: a proof that whoever has the root can check alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.data.merkle import leaf_hash, root_of_proof
from pumice.data.seen import leaf_data
from pumice.errors import DataError
from pumice.trust.lineage.found import StageRows

FORMAT, VERSION = "pumice inclusion proof", 1


def proof_of(stage: StageRows, row: int) -> dict[str, Any]:
    """That a row is in the tree of a stage, as JSON: digests, its place, the hashes to the root, its steps.

    Args:
        stage: which.
        row: its number in ``stage.seen``.
    """
    seen = stage.seen
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": stage.run.name,
        "stage": stage.stage,
        "root": seen.root,
        "row": seen.row_digest(row).hex(),
        "pictures": [digest.hex() for digest in seen.picture_digests(row)],
        "index": row,
        "count": len(seen),
        "path": seen.proof(row),
        "steps": [int(step) + 1 for step in seen.steps(row)],
    }


def read_proof(path: Path) -> dict[str, Any]:
    """A proof from a file.

    Raises:
        DataError: it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise ValueError(f"no proof of version {VERSION}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"the proof cannot be read ({error})",
            where=str(path),
            remedy="give a file that pumice data lineage --proof wrote",
        ) from error
    proof: dict[str, Any] = found
    return proof


def holds(proof: Mapping[str, Any], root: str) -> bool:
    """Whether a proof leads to a root, hexadecimal; False also for one that is not well formed."""
    try:
        pictures = [bytes.fromhex(one) for one in proof["pictures"]]
        row = bytes.fromhex(proof["row"])
        if len(row) != 16 or any(len(one) != 16 for one in pictures):
            return False
        path = [bytes.fromhex(one) for one in proof["path"]]
        leaf = leaf_hash(leaf_data(row, pictures))
        index, count = proof["index"], proof["count"]
        if type(index) is not int or type(count) is not int:
            return False
        found = root_of_proof(leaf, index, count, path)
    except (ValueError, KeyError, TypeError):
        return False
    return found is not None and found.hex() == root.lower()
