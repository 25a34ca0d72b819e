"""The bytes of a picture, wherever it is: in a file of its own, or in a part of a larger one.

What is handed out can be read and sought like a file and never shows a byte outside the picture, so a
decoder needs not know where it came from.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from pumice.errors import ImageError
from pumice.types import ImageRef, Still

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def open_picture(picture: Still, where: str | None = None) -> BinaryIO:
    """A binary stream of the picture's bytes, at its beginning; close it after use.

    Args:
        picture: a file, or part of one.
        where: the data file and row that name it, for the error; None where a person named it.

    Raises:
        ImageError: the file is missing, is no file, is empty, or is too short to hold the part.
    """
    path = picture.file if isinstance(picture, ImageRef) else picture
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever
            raise ImageError(f"{path} is not a file", where=where, remedy="name an image file")
        handle = path.open("rb")
    except FileNotFoundError as error:
        if where is not None:
            remedy = "check the path and the image folder, or remove the row"
        else:
            remedy = "check the path" if path.is_absolute() else f"check the path; it starts at {Path.cwd()}"
        raise ImageError(f"image file {picture} does not exist", where=where, remedy=remedy) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(
            f"image file {picture} cannot be read ({reason})",
            where=where,
            remedy=or_without("check the path and its permissions", where),
        ) from error
    if isinstance(picture, Path):
        length = status.st_size
    else:
        length = picture.length
        if picture.offset + length > status.st_size:
            handle.close()
            raise ImageError(
                f"image {picture} cannot be read (the file is shorter than it was)",
                where=where,
                remedy="restore the file, or read the data anew",
            )
    if length == 0:
        handle.close()
        raise ImageError(f"image file {picture} is empty", where=where, remedy="fetch the file again")
    if isinstance(picture, Path):
        return handle
    # BufferedReader has all that BinaryIO promises of a stream that is only read.
    return cast(BinaryIO, io.BufferedReader(_Part(handle, picture.offset, length)))


def or_without(mend: str, where: str | None) -> str:
    """The remedy for a picture of a row, which may go; one that a person shows has no row."""
    return mend if where is None else f"{mend}, or remove its row"


class _Part(io.RawIOBase):
    """Some bytes of an open file, seen as a file; closing it closes the file."""

    def __init__(self, handle: BinaryIO, offset: int, length: int) -> None:
        super().__init__()
        self.handle, self.offset, self.length = handle, offset, length
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.length}[whence]
        if start + offset < 0:
            raise ValueError(f"a seek to {start + offset}")
        self.place = start + offset
        return self.place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.length - self.place))
        self.handle.seek(self.offset + self.place)
        data = self.handle.read(wanted)
        view[: len(data)] = data
        self.place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.handle.close()
        super().close()
