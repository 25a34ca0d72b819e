"""Names of picture files as data files write them: relative to one folder, and inside it."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath


def leaves_folder(name: str) -> bool:
    """Whether a path from a data file is absolute or climbs with ``..``, written in either system's way.

    Data comes from strangers: a row must not be able to name a file outside the folder that was given.
    """
    ways = (PurePosixPath(name), PureWindowsPath(name))
    return any(bool(path.anchor) or ".." in path.parts for path in ways)
