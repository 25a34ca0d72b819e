"""The frame in the middle of a video of SEED-Bench, as LLaVA's extract_video_frames.py takes it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

from pumice.data.checks import is_number
from pumice.errors import DataError
from pumice.evaluate.samples import Stored
from pumice.image.video import VideoInfo, read_frames, video_info
from pumice.score.files import Row
from pumice.score.files import need as key_of

ACTION, PREDICTION, PROCEDURE = 10, 11, 12
"""Types of questions: whole short videos; parts in seconds; parts in frames."""
VIDEOS = {
    ACTION: "videos/20bn-something-something-v2",
    PREDICTION: "videos/EPIC-KITCHENS",
    PROCEDURE: "videos/BreakfastII_15fps_qvga_sync",
}
"""Where LLaVA's script finds the videos, by type."""


def middle_frame(path: Path, number: int, row: Row, name: str) -> Stored:
    """The picture of a question, decoded when it is needed.

    Args:
        path: the video.
        number: the question's type.
        row: of the question; ``segment`` is the part of the video that it is about.
        name: what the picture is called.

    Raises:
        DataError: the segment is not two numbers.
    """
    start = end = 0.0
    if number != ACTION:
        segment = key_of(row.value, "segment", row.where)
        if not isinstance(segment, list) or len(segment) != 2 or not all(map(is_number, segment)):
            raise DataError(
                f"the segment is {segment!r}", where=row.where, remedy="it is two numbers: start and end"
            )
        start, end = float(segment[0]), float(segment[1])
    size = path.stat().st_size if path.is_file() else 0
    return Stored(name, partial(_decoded, path, number, (start, end), row.where), f"{size} bytes")


def _decoded(path: Path, number: int, segment: tuple[float, float], where: str) -> bytes:
    """The frame as PNG.

    Raises:
        ImageError: the video is damaged.
        MissingExtraError: PyAV is not installed.
    """
    info = video_info(path, where=where)
    index = middle_index(info, number, segment)
    held = io.BytesIO()
    for frame in read_frames(info, [index], where=where):
        frame.save(held, "PNG")
    return held.getvalue()


def middle_index(info: VideoInfo, number: int, segment: tuple[float, float]) -> int:
    """Which frame LLaVA's script takes, from 0.

    Its middle of N frames is (N - 1) / 2 rounded down. N is one less than there are in a whole video. A
    segment in seconds is cut at the last frame, one in frames at their number.
    """
    last = info.frames - 1
    if number == ACTION:
        start, count = 0, last
    elif number == PREDICTION:
        rate = info.rate or 0.0
        start, end = (int(min(max(second * rate, 0), last)) for second in segment)
        count = end - start
    else:
        start = int(segment[0])
        count = min(int(segment[1]), info.frames) - start
    return min(max(start + max(count - 1, 0) // 2, 0), last)
