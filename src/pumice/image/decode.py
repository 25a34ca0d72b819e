"""Opening image files that nobody has vouched for.

Every image of a data set passes here, so a file is treated as hostile: only the five formats of
``FORMATS`` are tried, the size is judged from the header before a pixel is decoded, and whatever a
decoder raises becomes an ``ImageError`` that names the file, its row (``where``, for a picture that a row
of data names) and what to do.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pumice.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
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
_SWAPS_SIDES = frozenset({5, 6, 7, 8})


def open_image(path: Path, *, max_pixels: int = MAX_PIXELS, where: str | None = None) -> Image.Image:
    """Decode the first frame of an image file to RGB, upright.

    EXIF orientation is applied. Transparency is composited over white, as transformers'
    ``convert_to_rgb`` does. Sixteen-bit greys are scaled to eight bits (Pillow alone would clip them).

    Args:
        path: the file.
        max_pixels: the largest width x height accepted, judged from the header.
        where: the data file and row that name the image, for the error; None where a person named it.

    Returns:
        An RGB image of the size that ``image_size`` tells.

    Raises:
        ImageError: the file is missing, of another format, too large, too narrow or damaged.
    """
    with _opened(path, where) as image:
        orientation = _orientation(image)
        _check_size(image.size, path, max_pixels, where)
        try:
            image.load()
            upright = _to_rgb(image)
        except Exception as error:  # decoders of hostile bytes raise almost anything
            raise _damaged(path, where, error) from error
    method = _TRANSPOSED.get(orientation)
    return upright if method is None else upright.transpose(method)


def image_size(path: Path, *, max_pixels: int = MAX_PIXELS, where: str | None = None) -> tuple[int, int]:
    """Width and height in pixels after EXIF orientation, from the header alone.

    Raises:
        ImageError: as ``open_image``, but for damage behind the header.
    """
    with _opened(path, where) as image:
        width, height = image.size
        _check_size(image.size, path, max_pixels, where)
        return (height, width) if _orientation(image) in _SWAPS_SIDES else (width, height)


def check_size(size: tuple[int, int], path: Path, *, max_pixels: int, where: str | None = None) -> None:
    """Refuse a width and height that ``open_image`` would refuse (for sizes that a cache remembers)."""
    _check_size(size, path, max_pixels, where)


@contextmanager
def _opened(path: Path, where: str | None) -> Iterator[Image.Image]:
    """The image with its header read; the file is closed at the end."""
    _check_file(path, where)
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image",
            where=where,
            remedy="convert the file to one of these formats, or mend or remove it",
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path} is too large to decode safely ({error})",
            where=where,
            remedy=_or_without("scale the image down", where),
        ) from error
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise _damaged(path, where, error) from error
    with image:
        yield image


def _check_file(path: Path, where: str | None) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if where is not None:
            remedy = "check the path and the image folder, or remove the row"
        else:
            remedy = "check the path" if path.is_absolute() else f"check the path; it starts at {Path.cwd()}"
        raise ImageError(f"image file {path} does not exist", where=where, remedy=remedy) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(
            f"image file {path} cannot be read ({reason})",
            where=where,
            remedy=_or_without("check the path and its permissions", where),
        ) from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever
        raise ImageError(f"{path} is not a file", where=where, remedy="name an image file")
    if status.st_size == 0:
        raise ImageError(f"image file {path} is empty", where=where, remedy="fetch the file again")


def _check_size(size: tuple[int, int], path: Path, max_pixels: int, where: str | None) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(
            f"{path} has no pixels ({width} x {height})", where=where, remedy="mend or remove the file"
        )
    if width * height > max_pixels:
        raise ImageError(
            f"{path} is {width} x {height}: more than {max_pixels:,} pixels",
            where=where,
            remedy=_or_without("scale the image down", where),
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"{path} is {width} x {height}: one side is over {MAX_ASPECT} times the other",
            where=where,
            remedy=_or_without("crop the image", where),
        )


def _damaged(path: Path, where: str | None, error: Exception) -> ImageError:
    return ImageError(
        f"image file {path} is damaged ({type(error).__name__}: {error})",
        where=where,
        remedy=_or_without("fetch or export the file again", where),
    )


def _or_without(mend: str, where: str | None) -> str:
    """The remedy for a picture of a row, which may go; one that a person shows has no row."""
    return mend if where is None else f"{mend}, or remove its row"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block is malformed."""
    try:
        # The base method reads the header only; PngImageFile's own would decode the whole image.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSED else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _grey16_to_rgb(image)
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    # convert() returns the same object for RGB; a copy outlives the closed file either way
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _grey16_to_rgb(image: Image.Image) -> Image.Image:
    """0..65535 to 0..255, rounded; the one transparent grey a PNG may name becomes white."""
    grey_HW = np.asarray(image).astype(np.int64).clip(0, 65535)
    eight_HW = ((grey_HW + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        eight_HW[grey_HW == transparent] = 255
    return Image.fromarray(eight_HW).convert("RGB")
