"""Videos: how many frames there are, which are taken, and their pixels.

A video is a folder of frame pictures, an animation (GIF, WebP, PNG, TIFF of several pages), or a video
file. The last needs PyAV (``pip install pumice[video]``), the others Pillow alone. The count comes from the
folder or the header, so that a plan decodes nothing.
Shape legend: N = frames, H, W = pixels of the tower's square input; channel first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import CheckpointError, ImageError, ImageFormatError
from pumice.image.decode import MAX_PIXELS, check_size, frame_rgb, open_image, opened
from pumice.image.grid import Size
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.image.videofile import file_frames, file_info

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Ends of the names that are frames in a folder; other files there are none."""

Kind = Literal["folder", "animation", "file"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before a frame is decoded.

    Attributes:
        path: the folder or file.
        kind: a folder of frames, an animation that Pillow reads, or a video file.
        frames: how many frames it has.
        rate: frames a second; None where nothing tells (folders, and animations but GIF and PNG).
    """

    path: Path
    kind: Kind
    frames: int
    rate: float | None


Extent = Size | VideoInfo
"""What of a picture or a video decides its layout: width and height in pixels, or its frames."""


def video_info(path: Path, *, max_pixels: int = MAX_PIXELS, where: str | None = None) -> VideoInfo:
    """Count a video's frames from its folder or header.

    Only of containers that do not tell their number are the packets counted, still without decoding.

    Args:
        path: a folder of frames, or a file.
        max_pixels: the largest width x height of a frame.
        where: the data file and row that name the video, for the error.

    Raises:
        ImageError: it is missing, damaged, too large, or no video.
        MissingExtraError: it is a video file and PyAV is not installed.
    """
    if path.is_dir():
        return VideoInfo(path, "folder", len(folder_files(path, where)), None)
    try:
        with opened(path, where) as image:
            check_size(image.size, path, max_pixels=max_pixels, where=where)
            return VideoInfo(path, "animation", _pages(image, path, where), _animation_rate(image))
    except ImageFormatError:  # no picture, so it may be a video
        frames, rate = file_info(path, max_pixels, where)
    return VideoInfo(path, "file", frames, rate)


def uniform_indices(total: int, count: int) -> list[int]:
    """``count`` frames of ``total``, spread evenly from the first to the last, rounded down.

    As LLaVA-NeXT samples (``np.linspace``). Of a shorter video frames are taken more than once.
    """
    return [int(index) for index in np.linspace(0, total - 1, count, dtype=int)]


def frame_indices(info: VideoInfo, settings: VideoSettings, where: str | None = None) -> list[int]:
    """Which frames are taken, in order.

    Without ``settings.fps`` that is ``uniform_indices``. With it every k-th frame, k = the video's rate over
    ``fps``, rounded, and at least 1; if they are more than ``settings.frames``, the even spread of
    those. Source: LLaVA-NeXT's ``process_video_with_decord``.

    Raises:
        ImageError: ``fps`` is asked for and nothing tells the video's rate.
    """
    if settings.fps is None:
        return uniform_indices(info.frames, settings.frames)
    if info.rate is None:
        raise ImageError(
            f"nothing tells how many frames a second {info.path} has",
            where=where,
            remedy="sample its frames evenly: leave fps out",
        )
    indices = list(range(0, info.frames, max(1, round(info.rate / settings.fps))))
    return indices if len(indices) <= settings.frames else uniform_indices(info.frames, settings.frames)


def video_files(info: VideoInfo, indices: Sequence[int], *, where: str | None = None) -> list[Path]:
    """The files whose content decides what the frames at ``indices`` show: a folder's own, or the video.

    Raises:
        ImageError: the folder cannot be read, or has lost frames since they were counted.
    """
    if info.kind != "folder":
        return [info.path]
    files = folder_files(info.path, where)
    if len(files) != info.frames:
        raise ImageError(
            f"{info.path} has {len(files)} frames, and had {info.frames}",
            where=where,
            remedy="let the folder be while it is used, and start again",
        )
    return [files[index] for index in indices]


def read_frames(
    info: VideoInfo, indices: Sequence[int], *, max_pixels: int = MAX_PIXELS, where: str | None = None
) -> Iterator[Image.Image]:
    """The frames at ``indices`` (never falling), RGB and upright, one after another.

    Only one frame is held at a time. What of a video is not asked for is not decoded, as far as its
    format allows.

    Raises:
        ImageError: a frame is missing, damaged or too large; names the file.
        MissingExtraError: it is a video file and PyAV is not installed.
    """
    assert list(indices) == sorted(indices), "frames are read in order"
    assert not indices or 0 <= indices[0] <= indices[-1] < info.frames, "frames outside the video"
    if info.kind == "folder":
        files = folder_files(info.path, where)
        found: Iterable[Image.Image] = (
            open_image(files[index], max_pixels=max_pixels, where=where) for index in sorted(set(indices))
        )
    elif info.kind == "animation":
        found = _animation_frames(info.path, sorted(set(indices)), max_pixels, where)
    else:
        found = file_frames(info.path, sorted(set(indices)), max_pixels, where)
    return _repeated(found, indices)


def video_pixels(
    path: Path,
    processor: ImageProcessor,
    settings: LayoutSettings,
    *,
    max_pixels: int = MAX_PIXELS,
    where: str | None = None,
) -> NDArray[np.float32]:
    """The tower's inputs for a video, float32 [N, 3, H, W], N = ``len(frame_indices(...))``.

    Raises:
        ImageError: as ``video_info``, ``frame_indices`` and ``read_frames``.
        CheckpointError: the settings know no video.
    """
    if settings.video is None:
        raise CheckpointError(
            "this checkpoint's settings say nothing about video",
            where="video",
            remedy="use a checkpoint that was trained on video, or show single pictures",
        )
    info = video_info(path, max_pixels=max_pixels, where=where)
    indices = frame_indices(info, settings.video, where)
    squares = processor.with_mode(settings.video.aspect)
    return np.stack(
        [squares(frame) for frame in read_frames(info, indices, max_pixels=max_pixels, where=where)]
    )


def check_frames(
    info: VideoInfo,
    settings: VideoSettings | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    where: str | None = None,
) -> None:
    """Decode the frames that a model with these settings takes, or all of them; ImageError as there."""
    indices = range(info.frames) if settings is None else frame_indices(info, settings, where)
    for _ in read_frames(info, indices, max_pixels=max_pixels, where=where):
        pass


def _repeated(frames: Iterable[Image.Image], indices: Sequence[int]) -> Iterator[Image.Image]:
    """Each frame as often as its index stands there."""
    rest = iter(frames)
    last, frame = -1, None
    for index in indices:
        if index != last:
            frame = next(rest)
            last = index
        assert frame is not None
        yield frame


def folder_files(folder: Path, where: str | None) -> list[Path]:
    """A folder's frames in the order of the numbers in their names (frame-2 before frame-10)."""
    try:
        names = [item.name for item in folder.iterdir() if not item.name.startswith(".")]
    except OSError as error:
        raise ImageError(
            f"the frame folder {folder} cannot be read ({error.strerror})",
            where=where,
            remedy="check the path and its permissions, or remove the row",
        ) from error
    frames = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    if not frames:
        raise ImageError(
            f"the frame folder {folder} holds no frames",
            where=where,
            remedy=f"put pictures into it, with names that end in {', '.join(sorted(SUFFIXES))}",
        )
    return [folder / name for name in sorted(frames, key=_natural)]


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _pages(image: Image.Image, path: Path, where: str | None) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise _broken(path, where, error) from error


def _animation_rate(image: Image.Image) -> float | None:
    """Frames a second by the first frame's duration, which GIF and PNG have in their header."""
    duration = image.info.get("duration")
    return 1000 / duration if isinstance(duration, int | float) and duration > 0 else None


def _animation_frames(
    path: Path, indices: Sequence[int], max_pixels: int, where: str | None
) -> Iterator[Image.Image]:
    with opened(path, where) as image:
        for index in indices:
            try:
                image.seek(index)
            except Exception as error:  # EOFError where it is cut off, and what decoders raise
                raise _broken(path, where, error, index) from error
            yield frame_rgb(image, path, max_pixels=max_pixels, where=where)


def _broken(path: Path, where: str | None, error: Exception, frame: int | None = None) -> ImageError:
    at = "" if frame is None else f" at frame {frame}"
    return ImageError(
        f"video {path} is damaged{at} ({type(error).__name__}: {error})",
        where=where,
        remedy="fetch or export the file again, or remove its row",
    )
