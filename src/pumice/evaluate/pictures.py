"""The pictures of samples: found, named, opened, and replaced by grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import PIL.Image

from pumice.errors import DataError, ImageError
from pumice.evaluate.predictor import MEAN_GREY
from pumice.evaluate.samples import Picture, Sample, Stored
from pumice.image.decode import decode_image, image_size, open_image

SHOWN = 3
"""Missing files that an error names."""


def picture_name(picture: Picture, folder: Path) -> str:
    """What a picture is called in files of results: relative to the task's folder where it lies there."""
    if isinstance(picture, Stored):
        return picture.name
    inside = picture.is_relative_to(folder)
    return (picture.relative_to(folder) if inside else picture.absolute()).as_posix()


def open_sight(picture: Picture) -> PIL.Image.Image:
    """A picture, decoded to RGB and upright.

    Raises:
        ImageError: as ``pumice.image.decode.open_image``.
    """
    if isinstance(picture, Stored):
        return decode_image(picture.read(), picture.name)
    return open_image(picture)


def why_bad(sample: Sample) -> str:
    """Why a picture of a question cannot be shown; empty where all can."""
    try:
        for picture in sample.images:
            open_sight(picture)
    except ImageError as error:
        return error.what
    return ""


def grey_sight(picture: Picture) -> PIL.Image.Image:
    """Plain ``MEAN_GREY`` of the picture's size: what is left of it for a model that must not see.

    Raises:
        ImageError: as ``open_sight``.
    """
    if isinstance(picture, Stored):
        size = decode_image(picture.read(), picture.name).size
    else:
        size = image_size(picture)
    return PIL.Image.new("RGB", size, MEAN_GREY)


def check_pictures(samples: Sequence[Sample], folder: Path) -> None:
    """Make sure that every picture's file is there, before anybody is asked.

    Raises:
        DataError: some are not; how many, and the first of them.
    """
    files = dict.fromkeys(
        picture for sample in samples for picture in sample.images if isinstance(picture, Path)
    )
    missing = [file for file in files if not file.is_file()]
    if missing:
        names = ", ".join(picture_name(file, folder) for file in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        raise DataError(
            f"{len(missing):,} of {len(files):,} pictures are not there: {names}{more}",
            where=next((one.where for one in samples if missing[0] in one.images and one.where), str(folder)),
            remedy="fetch the pictures of the task (pumice eval --list says from where)",
        )
