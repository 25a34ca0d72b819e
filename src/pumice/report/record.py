"""The record of a verb, which its page renders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pumice.errors import DataError


def read_record(path: Path, of: str, verb: str) -> Any:
    """What a record holds.

    Args:
        path: the file.
        of: whose record it is, for the error: ``the audit``.
        verb: the command that writes it.

    Raises:
        DataError: there is no such record, or it cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the record of {of} cannot be read ({error})",
            where=str(path),
            remedy=f"name a folder that {verb} wrote",
        ) from error
