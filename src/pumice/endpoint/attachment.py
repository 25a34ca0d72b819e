"""Pictures as a chat endpoint takes them: bytes with a media type, in a ``data:`` address."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import PIL.Image
from PIL import ExifTags

from pumice.image.decode import decode_image, open_image

JPEG, PNG = "image/jpeg", "image/png"
_TYPES = {"JPEG": JPEG, "PNG": PNG}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture that goes along with a request.

    Attributes:
        media_type: ``image/jpeg`` or ``image/png``.
        data: the bytes of such a file.
    """

    media_type: str
    data: bytes = field(repr=False)

    def url(self) -> str:
        """The ``data:`` address that holds it."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def attach(picture: Path | bytes | PIL.Image.Image, name: str = "the picture") -> Attachment:
    """A picture ready to be sent.

    Bytes of JPEG and PNG go as they are, so that a server decodes what the file holds. All else becomes
    PNG: other formats, pictures in memory, and files whose EXIF block turns them, for servers differ in
    whether they heed it.

    Args:
        picture: a file, the bytes of one, or a decoded picture.
        name: what errors call bytes.

    Raises:
        ImageError: it is missing, damaged, too large or of no known format.
    """
    if isinstance(picture, PIL.Image.Image):
        return _png(picture.convert("RGB"))
    if isinstance(picture, Path):
        rgb = open_image(picture)  # tells what is wrong with a file, and with which
        return _as_it_is(picture.read_bytes()) or _png(rgb)
    rgb = decode_image(picture, name)
    return _as_it_is(picture) or _png(rgb)


def _as_it_is(data: bytes) -> Attachment | None:
    """The bytes themselves, where a server sees in them what we see."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        media_type = _TYPES.get(image.format or "")
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return Attachment(media_type, data) if media_type and not turned else None


def _png(image: PIL.Image.Image) -> Attachment:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return Attachment(PNG, buffer.getvalue())
