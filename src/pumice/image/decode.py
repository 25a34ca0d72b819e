"""Opening image files that nobody has vouched for.

Every image of a data set passes here, so a file is treated as hostile: only the formats of ``FORMATS``
are tried, by content and not by name, the size is judged from the header before a pixel is decoded, and
whatever a decoder raises becomes an ``ImageError`` that names the file, its row (``where``, for a picture
that a row of data names) and what to do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from pumice.errors import ImageError, ImageFormatError
from pumice.image.source import open_picture, or_without
from pumice.types import Still

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 2**26
"""Width times height beyond which a file is refused: 8192 x 8192, 200 MB as RGB."""
MAX_ASPECT = 200
"""Longer side over shorter side beyond which a file is refused.

A shortest-edge resize multiplies the longer side by this ratio, so a strip one pixel high would
need gigabytes; no vision tower sees anything in such an image.
"""

_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
"""Modes with transparency; by name, for the second band of LAB is called A too."""
_SWAPS_SIDES = frozenset({5, 6, 7, 8})


def open_image(path: Still, *, max_pixels: int = MAX_PIXELS, where: str | None = None) -> Image.Image:
    """Decode the first frame of an image file to RGB, upright.

    EXIF orientation is applied. Transparency is composited over white, as transformers'
    ``convert_to_rgb`` does. Sixteen-bit greys are scaled to eight bits (Pillow alone would clip them).
    Colour profiles are not applied.

    Args:
        path: the file, or the part of one that is the picture.
        max_pixels: the largest width x height accepted, judged from the header.
        where: the data file and row that name the image, for the error; None where a person named it.

    Returns:
        An RGB image of the size that ``image_size`` tells.

    Raises:
        ImageError: the file is missing, of another format, too large, too narrow, damaged, truncated, or
            of pixels that have no place between black and white.
    """
    with opened(path, where) as image:
        return frame_rgb(image, path, max_pixels=max_pixels, where=where)


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image that is in memory, as ``open_image`` does a file.

    Args:
        data: what a file of it would hold.
        name: what it is called in errors.
        max_pixels: as ``open_image``.

    Raises:
        ImageError: as ``open_image``.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as ``opened``
    if not data:
        raise ImageError(f"image {name} is empty", remedy="fetch the file that holds it again")
    with _header(io.BytesIO(data), Path(name), None) as image:
        return frame_rgb(image, Path(name), max_pixels=max_pixels)


@dataclass(frozen=True, slots=True)
class Small:
    """A picture decoded small: its own width and height upright, and it, RGB and upright."""

    size: tuple[int, int]
    image: Image.Image


def decode_small(data: bytes, name: str, side: int, *, max_pixels: int = MAX_PIXELS) -> Small:
    """Decode an image that is in memory for who needs it small, as ``decode_image`` does else.

    All of its bytes are decoded, so damage is found, but a JPEG's blocks at a half, a quarter or an eighth.

    Args:
        data: what a file of it would hold.
        name: what it is called in errors.
        side: pixels that the shorter side of the result has at least, and less than twice of it, where the
            file has as many.
        max_pixels: as ``open_image``.

    Raises:
        ImageError: as ``decode_image``.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as ``opened``
    if not data:
        raise ImageError(f"image {name} is empty", remedy="fetch the file that holds it again")
    with _header(io.BytesIO(data), Path(name), None) as image:
        width, height = image.size
        _check_size(image.size, Path(name), max_pixels, None)
        turned = _orientation(image) in _SWAPS_SIDES
        image.draft("RGB", (side, side))
        small = frame_rgb(image, Path(name), max_pixels=max_pixels)
    factor = min(small.size) // max(side, 1)
    if factor > 1:
        small = small.reduce(factor)
    return Small((height, width) if turned else (width, height), small)


def frame_rgb(
    image: Image.Image, path: Still, *, max_pixels: int = MAX_PIXELS, where: str | None = None
) -> Image.Image:
    """The frame that an opened image stands at, decoded as ``open_image`` does; ImageError as there."""
    orientation = _orientation(image)
    _check_size(image.size, path, max_pixels, where)
    try:
        image.load()
        upright = _to_rgb(image)
    except _NoColourError as error:
        raise ImageError(
            f"image file {path} {error}",
            where=where,
            remedy="convert it to eight or sixteen bits a channel, with black at 0, or remove its row",
        ) from error
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise _damaged(path, where, error) from error
    method = _TRANSPOSED.get(orientation)
    return upright if method is None else upright.transpose(method)


def image_size(path: Still, *, max_pixels: int = MAX_PIXELS, where: str | None = None) -> tuple[int, int]:
    """Width and height in pixels after EXIF orientation, from the header alone.

    Raises:
        ImageError: as ``open_image``, but for damage behind the header.
    """
    with opened(path, where) as image:
        width, height = image.size
        _check_size(image.size, path, max_pixels, where)
        return (height, width) if _orientation(image) in _SWAPS_SIDES else (width, height)


def check_size(size: tuple[int, int], path: Still, *, max_pixels: int, where: str | None = None) -> None:
    """Refuse a width and height that ``open_image`` would refuse (for sizes that a cache remembers)."""
    _check_size(size, path, max_pixels, where)


@contextmanager
def opened(path: Still, where: str | None = None) -> Iterator[Image.Image]:
    """The image with its header read; the file is closed at the end.

    Raises:
        ImageFormatError: the file is of no format of ``FORMATS``.
        ImageError: as ``image_size``, but for its size, which is not looked at.
    """
    # Some library in the process may have allowed them, and half a picture would pass for a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with open_picture(path, where) as stream, _header(stream, path, where) as image:
        yield image


def _header(stream: BinaryIO, path: Still, where: str | None) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageFormatError(
            f"{path} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image",
            where=where,
            remedy="convert the file to one of these formats, or mend or remove it",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path} is too large to decode safely ({error})",
            where=where,
            remedy=or_without("scale the image down", where),
        ) from error
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise _damaged(path, where, error) from error


def _check_size(size: tuple[int, int], path: Still, max_pixels: int, where: str | None) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(
            f"{path} has no pixels ({width} x {height})", where=where, remedy="mend or remove the file"
        )
    if width * height > max_pixels:
        raise ImageError(
            f"{path} is {width} x {height}: more than {max_pixels:,} pixels",
            where=where,
            remedy=or_without("scale the image down", where),
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{path} is {width} x {height}: one side is over {MAX_ASPECT} times the other",
            where=where,
            remedy=or_without("crop the image", where),
        )


def _damaged(path: Still, where: str | None, error: Exception) -> ImageError:
    return ImageError(
        f"image file {path} is damaged ({type(error).__name__}: {error})",
        where=where,
        remedy=or_without("fetch or export the file again", where),
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block is malformed."""
    if image.format == "TIFF":  # Pillow turns these itself, and tells the turned size
        return 1
    try:
        # The base method reads the header only; PngImageFile's own would decode the whole image.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSED else 1


class _NoColourError(Exception):
    """Pixels that are decoded, and are no colours."""


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _grey16_to_rgb(image)
    if image.mode == "F":
        raise _NoColourError("has floating point pixels, and nothing says which is black and which white")
    if image.mode in _WITH_ALPHA or image.info.get("transparency") is not None:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    # convert() returns the same object for RGB; a copy outlives the closed file either way
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    """0..65535 to 0..255, rounded; the one transparent grey a PNG may name becomes white."""
    grey_HW = np.asarray(image)
    low, high = int(grey_HW.min()), int(grey_HW.max())
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    white = (1 << bits) - 1 if 8 < bits < 16 else 65535  # twelve bits are common in microscopes
    if low < 0 or high > white:
        raise _NoColourError(f"has greys from {low} to {high}, and nothing says which is white")
    scale = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
    eight_HW = scale[grey_HW]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns eight bits round, and not sixteen
        eight_HW = 255 - eight_HW
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        eight_HW[grey_HW == transparent] = 255
    return Image.fromarray(eight_HW).convert("RGB")
