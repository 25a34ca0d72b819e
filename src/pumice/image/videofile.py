"""Frames of video files (MP4, WebM, AVI, ...) through PyAV, which is an extra: ``pip install pumice[video]``.

A file is treated as hostile, as pictures are: only the containers of ``CONTAINERS`` are tried (no playlist,
nothing that names other files), nothing but the file itself is opened, and frames are measured before
they are converted.
"""

from __future__ import annotations

import bisect
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from pumice.errors import ImageError, MissingExtraError
from pumice.image.decode import check_size

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
"""FFmpeg's names of the containers that are read."""

_INDEXED = frozenset({"mov", "matroska"})
"""Those with an exact index of key frames."""

_UPRIGHT = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    -180: Image.Transpose.ROTATE_180,
    -90: Image.Transpose.ROTATE_270,
}
"""By the counterclockwise turn that the container asks for (telephones store what the sensor saw)."""


def file_info(path: Path, max_pixels: int, where: str | None) -> tuple[int, float | None]:
    """How many frames a video file has, and how many a second.

    The header's number where there is one (MP4, AVI), else the packets are counted, undecoded.

    Raises:
        ImageError: it is damaged, too large, or holds no video.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path, max_pixels, where) as (container, stream):
        frames = int(stream.frames) or len(_packets(container, stream))
        if frames < 1:
            raise ImageError(f"video {path} has no frames", where=where, remedy="remove its row")
        rate = stream.average_rate or stream.guessed_rate
        return frames, float(rate) if rate else None


def file_frames(
    path: Path, indices: Sequence[int], max_pixels: int, where: str | None
) -> Iterator[Image.Image]:
    """The frames at ``indices`` (rising), RGB and upright, in the order in which they are shown.

    In MP4 and WebM it jumps to the key frame before a frame where that saves decoding, and tells frames
    by their times, so that a jump gives the same frame as decoding everything. Other containers do not
    say exactly where their key frames are, and everything up to the last frame is decoded.

    Raises:
        ImageError: a frame is not there, damaged or too large.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path, max_pixels, where) as (container, stream):
        packets = _packets(container, stream) if _INDEXED & set(container.format.name.split(",")) else []
    times = sorted(time for time, _ in packets if time is not None)
    by_time = bool(packets) and len(set(times)) == len(packets)
    keys = sorted(time for time, key in packets if key and time is not None)
    rest = iter(indices)
    with _opened(path, max_pixels, where) as (container, stream):  # anew: demuxing went to the end
        if by_time:
            found = _by_time(container, stream, [times[at] for at in indices if at < len(times)], keys)
        else:
            found = _by_count(container, stream, indices)
        for frame in found:
            check_size((frame.width, frame.height), path, max_pixels=max_pixels, where=where)
            image: Image.Image = frame.to_image()
            method = _UPRIGHT.get(int(frame.rotation))
            next(rest)
            yield image if method is None else image.transpose(method)
    missing = next(rest, None)
    if missing is not None:
        raise ImageError(
            f"video {path} is damaged: it has no frame {missing}, or it cannot be decoded",
            where=where,
            remedy="fetch or export the file again, or remove its row",
        )


def _by_count(container: Any, stream: Any, indices: Sequence[int]) -> Iterator[Any]:
    """Frames by their number from the start."""
    wanted = iter(indices)
    index = next(wanted, None)
    for number, frame in enumerate(container.decode(stream)):
        if number == index:
            if frame.is_corrupt:
                return
            yield frame
            index = next(wanted, None)
        if index is None:
            return


def _by_time(container: Any, stream: Any, wanted: Sequence[int], keys: Sequence[int]) -> Iterator[Any]:
    """Frames by their times; ends early where one is missing."""
    frames, shown = container.decode(stream), None
    for time in wanted:
        start = bisect.bisect_right(keys, time) - 1
        if start >= 0 and (shown is None or keys[start] > shown):
            container.seek(keys[start], stream=stream)
            frames = container.decode(stream)
        frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
        if frame is None or frame.pts != time or frame.is_corrupt:
            return
        shown = time
        yield frame


def _packets(container: Any, stream: Any) -> list[tuple[int | None, bool]]:
    """Time and whether a key frame, of all packets that show something, undecoded."""
    return [
        (packet.pts, bool(packet.is_keyframe))
        for packet in container.demux(stream)
        if packet.size and not packet.is_discard
    ]


@contextmanager
def _opened(path: Path, max_pixels: int, where: str | None) -> Iterator[tuple[Any, Any]]:
    """Container and first video stream. What FFmpeg raises inside becomes an ImageError."""
    av = _library(path, where)
    try:
        # `file:` and the white lists keep FFmpeg from following names to other files or the network.
        # Not `options`: those reach the streams too, and PyAV 16 and older crash on an FLV with any.
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"file:{path}", container_options=options) as container:
            if not container.streams.video:
                raise ImageError(f"{path} holds no video", where=where, remedy="name a video or a picture")
            stream = container.streams.video[0]
            size = (stream.codec_context.width, stream.codec_context.height)
            check_size(size, path, max_pixels=max_pixels, where=where)
            yield container, stream
    except ImageError:
        raise
    except Exception as error:  # FFmpeg's errors on hostile bytes are of many classes
        raise ImageError(
            f"{path} is neither a picture nor a video that can be read ({type(error).__name__}: {error})",
            where=where,
            remedy="convert it to MP4 or to a folder of frames, or mend or remove the file",
        ) from error


def _library(path: Path, where: str | None) -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtraError(
            f"{path} is no picture, and to read video files the library av is needed",
            where=where,
            remedy="pip install 'pumice[video]', or turn the video into a folder of frames",
        ) from error
