"""What was kept of erased rows beside the data: tables, features, notes, replies; all can be made again.

A file of features holds many pictures and does not tell which, so all of them go where a picture goes. Notes
of audits tell of texts as well what was found in them: all of these go. Counts of tokens (``lengths``) hold
numbers alone and stay.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.contents import CONTENTS_FILE
from pumice.data.extents import CACHE_FILE
from pumice.data.index import TABLE_FILE, TABLES
from pumice.data.seen import members
from pumice.files import replacing
from pumice.trust.lineage.select import Chosen
from pumice.types import ImageRef, Picture, Video

FEATURES, NOTES = "features", "audit"
REPLIES, GENERATION = "replies.jsonl", "generation.json"


@dataclass(frozen=True, slots=True)
class Purge:
    """Something that goes.

    Attributes:
        what: it is, in words.
        place: the file or folder.
        size: bytes that go.
        names: of a file of entries, those that go; None where all of it does.
    """

    what: str
    place: Path
    size: int
    names: frozenset[str] | None = None

    def carry_out(self) -> None:
        """Remove it."""
        if self.names is None:
            if self.place.is_dir():
                shutil.rmtree(self.place, ignore_errors=True)
            else:
                self.place.unlink(missing_ok=True)
        elif self.place.suffix == ".jsonl":
            _without_jobs(self.place, self.names)
        else:
            _without_keys(self.place, self.names)


def purges(
    chosen: Sequence[Chosen], digests: set[bytes], caches: Iterable[Path], generated: Iterable[Path]
) -> list[Purge]:
    """All that is kept of the chosen rows.

    Args:
        chosen: the rows.
        digests: of them, and of those that were erased earlier.
        caches: folders that runs and `pumice data` share.
        generated: folders of `pumice generate`.
    """
    found: list[Purge] = []
    gone = [one for one in chosen if one.rows]
    pictures = [picture for one in gone for picture in one.pictures()]
    for cache in caches:
        if not cache.is_dir():
            continue
        tables = []
        for folder in sorted((cache / TABLES).glob("*")):
            if _holds(folder / TABLE_FILE, digests):  # also of files that lie elsewhere by now
                tables.append(folder)
                found.append(Purge("a table of the data", folder, _bytes(folder)))
        for file, key in ((CACHE_FILE, "images"), (CONTENTS_FILE, "pictures")):
            if (entries := _entries(cache / file, key, pictures, tables)) is not None:
                found.append(entries)
        for name, what in ((FEATURES, "features of pictures"), (NOTES, "notes of audits")):
            if (
                (pictures if name == FEATURES else gone)
                and (cache / name).is_dir()
                and (size := _bytes(cache / name))
            ):
                found.append(Purge(f"{what}, all of them", cache / name, size))
    found += _replies(gone, generated)
    return found


def _holds(path: Path, digests: set[bytes]) -> bool:
    """Whether a kept table has one of some rows; True of one that cannot be read."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
            return bool(len(members(kept["digest"], digests)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return True


def _entries(path: Path, key: str, pictures: Sequence[Picture], tables: Sequence[Path]) -> Purge | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))[key]
        known = dict(kept)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    wanted = {_name(picture) for picture in pictures}
    inside = tuple(f"{os.path.abspath(table)}{os.sep}" for table in tables)
    names = frozenset(name for name in known if name in wanted or (inside and name.startswith(inside)))
    size = sum(len(json.dumps({name: known[name]})) for name in names)
    return Purge("what is remembered of pictures", path, size, names) if names else None


def _replies(chosen: Sequence[Chosen], folders: Iterable[Path]) -> list[Purge]:
    """Replies of a teacher from which erased rows were made; rows have the ids of their jobs."""
    found = []
    for folder in folders:
        own = [one for one in chosen if Path(one.file.path).resolve().parent == folder.resolve()]
        ids = frozenset(name for one in own for name in one.ids())
        path = folder / REPLIES
        if ids and path.is_file():
            size = sum(len(line) for line in _lines(path) if _job(line) in ids)
            if size:
                found.append(Purge("replies of a teacher", path, size, ids))
    return found


def _without_jobs(path: Path, jobs: frozenset[str]) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        file.writelines(line for line in _lines(path) if _job(line) not in jobs)
        file.flush()
        os.fsync(file.fileno())


def _without_keys(path: Path, names: frozenset[str]) -> None:
    whole = json.loads(path.read_text(encoding="utf-8"))
    for key, value in whole.items():
        if isinstance(value, dict):
            whole[key] = {name: entry for name, entry in value.items() if name not in names}
    with replacing(path, shared=True) as partial:
        partial.write_text(json.dumps(whole, separators=(",", ":")), encoding="utf-8")


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _job(line: bytes) -> str | None:
    try:
        job = json.loads(line).get("job")
    except (ValueError, AttributeError, RecursionError):
        return None
    return None if job is None else str(job)


def _name(picture: Picture) -> str:
    """As ``contents.json`` and ``images.json`` name it."""
    if isinstance(picture, ImageRef):
        return f"{os.path.abspath(picture.file)}@{picture.offset}+{picture.length}"
    return os.path.abspath(picture.path if isinstance(picture, Video) else picture)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
