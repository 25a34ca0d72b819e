"""Pictures that strangers send: bytes that are sniffed, headers that are judged, and only then pixels."""

from __future__ import annotations

import base64
import binascii
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

import PIL.Image

from pumice.errors import ImageError
from pumice.image.decode import frame_rgb
from pumice.serve.failure import Failure
from pumice.serve.limits import Limits

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What is tried, by content; what a client says of the type is not looked at."""

_DATA = re.compile(r"\s*data:([^,]*),", re.IGNORECASE)


def is_data(url: str) -> bool:
    """Whether an address holds the picture itself."""
    return url.lstrip()[:5].lower() == "data:"


def data_of(url: str, limits: Limits, param: str) -> bytes:
    """The bytes of a ``data:`` address (RFC 2397), base64 or percent-encoded.

    Raises:
        Failure: 400, it is not well formed or too large.
    """
    found = _DATA.match(url)
    if found is None:
        raise Failure(400, "a data: address has no comma before its data", param=param, code="invalid_image")
    *_, last = found[1].split(";")
    rest = url[found.end() :]
    if last.strip().lower() == "base64":
        return base64_of(rest, limits, param)
    check_bytes(len(rest) // 3, limits, param)
    data = unquote_to_bytes(rest)
    check_bytes(len(data), limits, param)
    return data


def base64_of(text: str, limits: Limits, param: str) -> bytes:
    """The bytes of base64 of either alphabet, with or without line breaks, padding and percents.

    Raises:
        Failure: 400, it is no base64 or too large.
    """
    check_bytes(len(text) * 3 // 4 - 3, limits, param)
    if "%" in text:
        text = unquote_to_bytes(text).decode("ascii", "replace")
    text = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Failure(400, "a picture is no valid base64", param=param, code="invalid_image") from error


def check_bytes(size: int, limits: Limits, param: str) -> None:
    """Refuse a picture's file that is too large; Failure 400."""
    if size > limits.image_bytes:
        raise Failure(
            400,
            f"a picture is larger than {limits.image_bytes:,} bytes: scale it down, or compress it",
            param=param,
            code="image_too_large",
        )


class PixelBudget:
    """The pixels of all pictures in memory; what would pass the bound is turned away for now."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._lock = threading.Lock()

    def take(self, pixels: int) -> None:
        """Raises Failure 429 where there is no room; a single picture always has some."""
        with self._lock:
            if self.held and self.held + pixels > self.most:
                raise Failure(
                    429, "the pictures of other requests fill the memory; try again",
                    code="pictures_full", retry_after=2,
                )  # fmt: skip
            self.held += pixels

    def give(self, pixels: int) -> None:
        """Pixels that are gone."""
        with self._lock:
            self.held -= pixels


class Held:
    """The pixels that one request holds; ``give_back`` may be called twice."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget, self._pixels = budget, 0

    def take(self, pixels: int) -> None:
        """As ``PixelBudget.take``."""
        self._budget.take(pixels)
        self._pixels += pixels

    def give_back(self) -> None:
        """All that this request took."""
        self._budget.give(self._pixels)
        self._pixels = 0


def decode(data: bytes, number: int, limits: Limits, held: Held, param: str) -> PIL.Image.Image:
    """The picture in some bytes: the first frame, upright, RGB. Others are neither read nor counted.

    Args:
        data: a file's bytes.
        number: which picture of the request it is, from 1, for the error.
        limits: its bounds; sides are judged before a pixel is decoded.
        held: takes the picture's pixels.
        param: the member that holds it.

    Raises:
        Failure: 422, it cannot be decoded; 400, it is outside the bounds; 429, no room now.
    """
    with _opened(data, number, param) as image:
        width, height = image.size
        _check_sides(width, height, number, limits, param)
        held.take(width * height)
        try:
            return frame_rgb(image, Path(f"picture {number}"), max_pixels=limits.pixels)
        except ImageError as error:  # its words may hold what a decoder says of its memory
            raise _damaged(number, param) from error


@contextmanager
def _opened(data: bytes, number: int, param: str) -> Iterator[PIL.Image.Image]:
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError as error:
        raise Failure(
            422, f"picture {number} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file",
            param=param, code="invalid_image",
        ) from error  # fmt: skip
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise Failure(
            400, f"picture {number} has too many pixels: scale it down", param=param, code="image_too_large"
        ) from error
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise _damaged(number, param) from error
    with image:
        yield image


def _check_sides(width: int, height: int, number: int, limits: Limits, param: str) -> None:
    if width < 1 or height < 1:
        raise Failure(422, f"picture {number} has no pixels", param=param, code="invalid_image")
    if width * height > limits.pixels:
        words = (
            f"picture {number} is {width} x {height}, {width * height / 1e6:.1f} MP; the limit is "
            f"{limits.pixels / 1e6:.1f} MP: scale it down, or start the server with a larger --max-pixels"
        )
        raise Failure(400, words, param=param, code="image_too_large")
    if max(width, height) > limits.aspect * min(width, height):
        words = f"picture {number} is {width} x {height}: one side is over {limits.aspect:g} times the other"
        raise Failure(400, words, param=param, code="invalid_image")


def _damaged(number: int, param: str) -> Failure:
    return Failure(
        422, f"picture {number} is damaged and cannot be decoded", param=param, code="invalid_image"
    )
