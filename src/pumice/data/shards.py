"""WebDataset shards: tar files whose members of one name are a row, read by place.

``KEY.json`` holds a row in any of the row formats, ``KEY.jpg`` (``KEY.0.jpg``, ``KEY.1.jpg``, ...) its
pictures in order; or ``KEY.txt`` holds a caption of the one picture. A tar file keeps its members as they
are, so each row and picture is some bytes of the shard and can be read without the rest.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pumice.errors import DataError
from pumice.types import ImageRef

SUFFIX = ".tar"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(slots=True)
class Group:
    """The members of one key: the row's or caption's place, and the pictures in the order of the tar."""

    key: str
    row: ImageRef | None = None
    caption: ImageRef | None = None
    pictures: list[ImageRef] = field(default_factory=list)


def find_shards(path: Path) -> list[Path]:
    """The shards that a path names: a tar file, all of a folder, or ``name-{000..012}.tar``.

    Raises:
        DataError: there are none, or one of a range is missing.
    """
    found = _RANGE.search(path.name)
    if found:
        first, last = found.groups()
        numbers = range(int(first), int(last) + 1)
        paths = [
            path.with_name(path.name.replace(found.group(), str(n).zfill(len(first)), 1)) for n in numbers
        ]
    else:
        paths = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise DataError("there are no shards", where=str(path), remedy="give a folder with .tar files")
    for shard in paths:
        if not shard.is_file():
            raise DataError(f"the shard {shard.name} is missing", where=str(shard), remedy="check the path")
    return paths


def read_groups(shard: Path) -> Iterator[Group]:
    """The groups of a shard, in order; only headers are read.

    Raises:
        DataError: it is no tar file, is compressed or cut off, or a member is of no known kind.
    """
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            group: Group | None = None
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise _bad(f"{member.name} is no ordinary file", shard, "pack files only")
                if member.offset_data + member.size > size:
                    raise _bad(f"it is cut off inside {member.name}", shard, "fetch the shard again")
                key, suffix = _split(member.name)
                if group is None or group.key != key:
                    if group is not None:
                        yield group
                    group = Group(key)
                place = ImageRef(shard, member.offset_data, member.size, member.name)
                _put(group, suffix, place, shard)
            if group is not None:
                yield group
    except tarfile.TarError as error:
        remedy = "unpack .tar.gz and the like: their members cannot be read by place"
        raise _bad(f"it is no plain tar file ({error})", shard, remedy) from error


def _put(group: Group, suffix: str, place: ImageRef, shard: Path) -> None:
    # `.0.jpg` numbers a picture; the order is the tar's
    last = f".{suffix.rpartition('.')[2]}"
    if last in PICTURES:
        group.pictures.append(place)
    elif suffix == ".json" and group.row is None:
        group.row = place
    elif suffix == ".txt" and group.caption is None:
        group.caption = place
    else:
        known = ", ".join((".json", ".txt", *PICTURES))
        raise _bad(f"the member {place.name} has no use", shard, f"members end in one of {known}, once each")


def key_of(name: str) -> str:
    """What the members of one row have in common: the folders and the name up to the first dot."""
    return _split(name)[0]


def _split(name: str) -> tuple[str, str]:
    """A member's key, its folders with it, and its ending from the first dot on, in lower case."""
    folder, _, base = name.rpartition("/")
    stem, dot, rest = base.partition(".")
    return f"{folder}/{stem}", f"{dot}{rest}".lower()


def _bad(what: str, shard: Path, remedy: str) -> DataError:
    return DataError(f"the shard cannot be used: {what}", where=str(shard), remedy=remedy)
