"""Rows whose picture has no file: each told, the first of them with what was probably meant."""

from __future__ import annotations

import difflib
import os
from pathlib import Path, PurePosixPath

import numpy as np

from pumice.data.checks import bad
from pumice.data.problems import Problems
from pumice.data.table import VIDEO, SampleTable
from pumice.errors import DataError, ImageError
from pumice.types import ImageRef, IntArray, Picture, Video

HINTS = 20
"""Missing files whose like is looked for: a folder of a million names is not searched for each row."""
_IDS = 1000
"""Rows that are read again for their ids."""


def check_pictures(table: SampleTable, problems: Problems, check_files: bool) -> IntArray:
    """Names need a folder; each row that shows a picture without a file is a problem. The rows' numbers."""
    columns = table.columns
    named = np.flatnonzero(columns.picture_file < 0)
    none = np.zeros(0, np.int64)
    if not named.size:
        return none
    missing = np.zeros(table.pictures, np.bool_)
    if table.root is None:
        missing[named] = check_files
    elif check_files:
        missing[named] = [not _exists(table.picture(number)) for number in named.tolist()]
    if table.root is None and not check_files:
        return none
    uses = np.flatnonzero(missing[columns.uses])
    rows = np.searchsorted(columns.use_start, uses, side="right") - 1
    ids = _ids(table, rows)
    near = _Near(table.root)
    for use, row in zip(uses.tolist(), rows.tolist(), strict=True):
        where, number = str(table.origin(row)), int(columns.uses[use])
        name = table.picture_name(number)
        if table.root is None:
            error: DataError = bad(
                f"the row names {_kind(table, number)} {name!r} but no image folder is given",
                where,
                f"name it with --images DIR (in a recipe: data.{table.source}.images), or look at no picture "
                "with --no-images",
            )
        else:
            error = ImageError(
                f"{_kind(table, number)} file {table.picture(number)} does not exist",
                where=where,
                remedy=near.remedy(name),
            )
        problems.add(error, ids.get(row))
    return np.unique(rows).astype(np.int64)


def _ids(table: SampleTable, rows: IntArray) -> dict[int, str]:
    chosen = np.unique(rows)[:_IDS].tolist()
    try:
        return {row: sample.id for row, sample in zip(chosen, table.read(chosen), strict=True)}
    except DataError:
        return {}  # the file changed; whoever reads it says so


class _Near:
    """What a name without a file was probably to be."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.left = HINTS
        self._folders: dict[Path, list[str]] = {}
        self._known: dict[str, str] = {}

    def remedy(self, name: str) -> str:
        """What to do about a name."""
        assert self.root is not None
        if name not in self._known and self.left:
            self.left -= 1
            self._known[name] = self._look(self.root, name)
        return self._known.get(name) or f"put it under the image folder {self.root}, or remove the row"

    def _look(self, root: Path, name: str) -> str:
        parts = PurePosixPath(name).parts
        own = Path(os.path.abspath(root)).parts
        for count in range(1, len(parts)):
            rest = PurePosixPath(*parts[count:])
            if own[-count:] == parts[:count] and (root / rest).is_file():
                above = os.path.normpath(root / Path(*[".."] * count))
                return (
                    f"the folder {'/'.join(parts[:count])} is named twice: give {above} as the image folder "
                    f"(--images {above}), or write {rest} in the row"
                )
        folder = (root / name).parent
        found = self._nearest(folder, parts[-1])
        return f"did you mean {str(PurePosixPath(*parts[:-1], found))!r}? Capitals count" if found else ""

    def _nearest(self, folder: Path, name: str) -> str:
        if folder not in self._folders:
            try:
                self._folders[folder] = os.listdir(folder)
            except OSError:
                self._folders[folder] = []
        names = self._folders[folder]
        alike = [each for each in names if each.lower() == name.lower()]
        return next(iter(alike or difflib.get_close_matches(name, names, n=1, cutoff=0.8)), "")


def _kind(table: SampleTable, number: int) -> str:
    return "video" if table.columns.picture_file[number] == VIDEO else "image"


def _exists(picture: Picture) -> bool:
    """Whether the file of a picture is there; of a video, the file or the folder of frames."""
    assert not isinstance(picture, ImageRef), "what lies in a container is not looked for"
    return os.path.exists(picture.path) if isinstance(picture, Video) else os.path.isfile(picture)
