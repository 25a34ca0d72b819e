"""Sizes of images and frames of videos that were found good, kept on disk: opening each file takes minutes.

What is known of a file counts while it has its size and its time of change; of a folder of frames, while
its files together have theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pumice.files import write_text
from pumice.image.settings import VideoSettings
from pumice.image.video import Extent, Kind, VideoInfo
from pumice.types import ImageRef, Picture, Video

CACHE_FILE = "images.json"
CACHE_VERSION = 1
ALL_FRAMES = "all"


class Extents:
    """What earlier checks found.

    ``images``: path -> [bytes, mtime in ns, width, height, decoded]. ``videos``: path -> [bytes, mtime in ns,
    kind, frames, frames a second, what was decoded].

    Args:
        folder: where it is kept; None keeps nothing.
        video: which frames of a video are decoded; None is all.
    """

    def __init__(self, folder: Path | None, video: VideoSettings | None = None) -> None:
        self.file = None if folder is None else folder / CACHE_FILE
        self.images: dict[str, list[int]] = {}
        self.videos: dict[str, list[Any]] = {}
        self.changed = False
        self._frames = ALL_FRAMES if video is None else json.dumps([video.frames, video.fps])
        if self.file is not None and self.file.is_file():
            self._read(self.file)

    def _read(self, file: Path) -> None:
        """The entries, or none where the file is damaged: then all files are simply looked at again."""
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return
        if not isinstance(data, dict) or data.get("version") != CACHE_VERSION:
            return
        images, videos = data.get("images"), data.get("videos")
        if isinstance(images, dict):
            self.images = {key: entry for key, entry in images.items() if _is_image(entry)}
        if isinstance(videos, dict):
            self.videos = {key: entry for key, entry in videos.items() if _is_video(entry)}

    def get(self, picture: Picture, decode: bool) -> Extent | None:
        """What is known of it, if the file is the one that was checked, as thoroughly as asked now."""
        if self.file is None:
            return None
        if isinstance(picture, Video):
            found = self.videos.get(_name(picture))
            if found is None or found[:2] != _stamp(picture):
                return None
            if decode and found[5] not in (ALL_FRAMES, self._frames):
                return None
            return VideoInfo(picture.path, found[2], found[3], found[4])
        entry = self.images.get(_name(picture))
        if entry is None or entry[:2] != _stamp(picture) or (decode and not entry[4]):
            return None
        return entry[2], entry[3]

    def put(self, picture: Picture, extent: Extent, decode: bool) -> None:
        """Remember what was found of a file."""
        if self.file is None:
            return
        stamp = _stamp(picture)
        if isinstance(extent, VideoInfo):
            decoded = self._frames if decode else ""
            self.videos[_name(picture)] = [*stamp, extent.kind, extent.frames, extent.rate, decoded]
        else:
            self.images[_name(picture)] = [*stamp, *extent, int(decode)]
        self.changed = True

    def save(self) -> None:
        """Write what was learnt; the file appears whole or not at all.

        Where it cannot be written, the next check opens the files again: no reason to refuse a run.
        """
        if self.file is None or not self.changed:
            return
        content: dict[str, Any] = {"version": CACHE_VERSION, "images": self.images}
        if self.videos:
            content["videos"] = self.videos
        text = json.dumps(content, separators=(",", ":"))
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, text, shared=True)  # by runs that start at the same time


def numbers(extents: Sequence[Extent]) -> bytes:
    """Bytes that stand for sizes of images and frames of videos, in order."""
    rows = [
        (-extent.frames, -1 if extent.rate is None else round(1e6 * extent.rate))
        if isinstance(extent, VideoInfo)
        else extent
        for extent in extents
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def _name(picture: Picture) -> str:
    if isinstance(picture, ImageRef):
        return f"{os.path.abspath(picture.file)}@{picture.offset}+{picture.length}"
    return os.path.abspath(picture.path if isinstance(picture, Video) else picture)


def _stamp(picture: Picture) -> list[int]:
    """Size and time of change; of a folder, the sum and the latest over it and its files."""
    if isinstance(picture, ImageRef):
        path = picture.file
    else:
        path = picture.path if isinstance(picture, Video) else picture
    try:
        if isinstance(picture, Video) and path.is_dir():
            found = [path.stat(), *(entry.stat() for entry in os.scandir(path))]
            return [sum(status.st_size for status in found), max(status.st_mtime_ns for status in found)]
        status = path.stat()
    except (OSError, ValueError):
        return [-1, -1]  # no entry has this; opening the file then says what is wrong
    return [status.st_size, status.st_mtime_ns]


def _is_image(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 5 and all(type(number) is int for number in entry)


def _is_video(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 6:
        return False
    size, time, kind, frames, rate, decoded = entry
    return (
        all(type(number) is int for number in (size, time, frames))
        and kind in get_args(Kind)
        and (rate is None or isinstance(rate, int | float))
        and isinstance(decoded, str)
    )
