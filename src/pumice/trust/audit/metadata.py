"""The check ``metadata``: what picture files say beside their pixels: where, when, by whom, with what."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import ExifTags, Image
from PIL.IptcImagePlugin import getiptcinfo
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pumice.errors import ImageError
from pumice.image.decode import FORMATS, decode_small
from pumice.trust.audit.check import BYTES, PIXELS, Check, Finding, Need, Severity, View
from pumice.trust.audit.likeness import ALIKE, hash_picture, likeness
from pumice.trust.personal import mask

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

KINDS: dict[str, Severity] = {
    "position": "serious",
    "thumbnail": "serious",
    "person": "warning",
    "serial": "warning",
    "date": "note",
    "comment": "note",
}
"""Each kind and how bad it is."""

_NAMES = {"Artist": 0x013B, "CameraOwnerName": 0xA430, "XPAuthor": 0x9C9D, "HostComputer": 0x013C}
_SERIALS = {"BodySerialNumber": 0xA431, "LensSerialNumber": 0xA435, "CameraSerialNumber": 0xC62F}
_DATES = (0x9003, 0x9004, 0x0132)
_THUMB_AT, _THUMB_LENGTH = 0x0201, 0x0202
_COMMENTS = {"UserComment": 0x9286, "XPComment": 0x9C9C, "ImageDescription": 0x010E}
_XMP_GPS = re.compile(rb"exif:GPSL(?:at|ong)itude")
_XMP_CREATOR = re.compile(rb"<(?:dc:creator|photoshop:Credit|Iptc4xmpCore:CreatorContactInfo)[ >]")
_XMP_SERIAL = re.compile(rb"(?:aux:SerialNumber|exifEX:BodySerialNumber)")
_DATE = re.compile(r"(?:19|20)\d\d[:-]\d\d[:-]\d\d")


@dataclass(frozen=True)
class Metadata(Check):
    """EXIF, XMP, IPTC and text chunks of picture files."""

    name: ClassVar[str] = "metadata"
    reads: ClassVar[frozenset[Need]] = frozenset({BYTES, PIXELS})
    side: ClassVar[int] = 64

    def picture(self, view: View) -> Any:
        found: dict[str, str] = {}
        for kind, what in told(view):
            found.setdefault(kind, what)
        return [[kind, found[kind]] for kind in KINDS if kind in found] or None

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        for number, said in seen.said(self, "pictures"):
            for kind, what in said:
                yield Finding(self.name, kind, KINDS[kind], what, picture=number)


def told(view: View) -> Iterator[tuple[str, str]]:
    """What a file tells, kind by kind, with no value of personal data in full."""
    try:
        with Image.open(io.BytesIO(view.data), formats=FORMATS) as image:
            # The base method reads the header only; PNG's own would decode the whole picture.
            exif = Image.Image.getexif(image)
            inner = exif.get_ifd(ExifTags.IFD.Exif)
            gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
            info = dict(image.info)
            small = exif.get_ifd(ExifTags.IFD.IFD1)
            iptc = _iptc(image)
    except (
        Exception
    ):  # hostile or broken metadata says nothing; whether the picture is broken, ``readable`` tells
        return
    every = {**exif, **inner}
    position = _position(gps)
    if position is not None:
        yield "position", f"it was taken near {position[0]:.1f}, {position[1]:.1f} (latitude, longitude)"
    yield from _words(every, info, iptc)
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    packet = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else bytes(xmp)
    if _XMP_GPS.search(packet):
        yield "position", "its XMP packet tells a position"
    if _XMP_CREATOR.search(packet):
        yield "person", "its XMP packet tells who made it"
    if _XMP_SERIAL.search(packet):
        yield "serial", "its XMP packet tells a camera's serial number"
    if _THUMB_AT in small and view.image is not None:
        other = _thumbnail(info.get("exif", b""), small)
        if other is not None and not _shows(other, view.image):
            yield (
                "thumbnail",
                "the small picture in its EXIF block shows something else: it was edited",
            )


def _words(
    every: Mapping[int, Any], info: Mapping[Any, Any], iptc: Mapping[tuple[int, int], Any]
) -> Iterator[tuple[str, str]]:
    for name, code in _NAMES.items():
        value = _text(every.get(code))
        if value:
            yield "person", f"{name} is {mask('name', value)!r}"
    for code, name in ((80, "byline"), (116, "copyright"), (110, "credit"), (118, "contact")):
        value = _text(iptc.get((2, code)))
        if value:
            yield "person", f"IPTC {name} is {mask('name', value)!r}"
    for key in ("Author", "author", "Artist", "Creator"):
        value = _text(info.get(key))
        if value:
            yield "person", f"the text chunk {key} is {mask('name', value)!r}"
    for name, code in _SERIALS.items():
        value = _text(every.get(code))
        if value:
            yield "serial", f"{name} is {mask('serial', value)!r}"
    for code in _DATES:
        value = _text(every.get(code))
        if _DATE.match(value) and not value.startswith("0000"):
            yield "date", f"it was taken or saved on {value[:10].replace(':', '-')}"
            break
    for name, code in _COMMENTS.items():
        value = _text(every.get(code)).removeprefix("ASCII").strip()
        if len(value) > 3:
            yield "comment", f"{name} has {len(value)} characters"
    comment = _text(info.get("comment"))
    if len(comment) > 3:
        yield "comment", f"a comment of {len(comment)} characters stands in it"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        value = value.decode("utf-16-le" if b"\0" in value[1:2] else "utf-8", "replace")
    return str(value or "").replace("\0", "").strip()


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; None where they are not told, or are 0, 0 as of no receiver."""
    try:
        sides = []
        for reference, value, negative in ((1, 2, "S"), (3, 4, "W")):
            degrees, minutes, seconds = (float(part) for part in gps[value])
            angle = degrees + minutes / 60 + seconds / 3600
            sides.append(-angle if str(gps.get(reference, "")).upper().startswith(negative) else angle)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (abs(sides[0]) <= 90 and abs(sides[1]) <= 180) or sides == [0.0, 0.0]:
        return None
    return sides[0], sides[1]


def _iptc(image: Image.Image) -> Mapping[tuple[int, int], Any]:
    if not isinstance(image, JpegImageFile | TiffImageFile):
        return {}
    return getiptcinfo(image) or {}


def _thumbnail(block: bytes, small: Mapping[int, Any]) -> Image.Image | None:
    """The small picture inside an EXIF block; None where there is none that can be read."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    try:
        at, length = int(small[_THUMB_AT]), int(small[_THUMB_LENGTH])
        return decode_small(block[start + at : start + at + length], "thumbnail", 64).image
    except (KeyError, TypeError, ValueError, ImageError):
        return None


def _shows(other: Image.Image, image: Image.Image) -> bool:
    """Whether a thumbnail shows what a picture shows, bars above and below or at the sides left out."""
    if min(other.size) < 8:
        return True
    box = Image.fromarray(np.asarray(other.convert("L")) > 16).getbbox()
    inner = other.crop(box) if box is not None and min(box[2] - box[0], box[3] - box[1]) > 16 else other
    for one in (other, inner):
        for turn in (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270):
            turned = one if turn is None else one.transpose(turn)
            pair = [hash_picture(picture)[1][None] for picture in (turned, image)]
            if likeness(pair[0], pair[1], np.zeros(1, np.int64)).correlation[0] >= ALIKE - 0.2:
                return True
    return False
