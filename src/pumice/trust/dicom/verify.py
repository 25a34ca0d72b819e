"""What was written, read back and looked through for what named somebody."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice.image.dicom import library, quiet
from pumice.trust.dicom.identify import TEXT, Identifiers, place_of
from pumice.trust.dicom.profile import MEANINGS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
"""All that a PNG of ours is made of; texts, times and profiles have chunks of other names."""
_NUMERIC = frozenset({"DS", "IS"})
_OURS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})
"""What says how a file was de-identified, in words of ours; a person may be called like one of them."""
_OWN_WORDS = frozenset(
    re.findall(r"\w+", " ".join([*MEANINGS.values(), "dicom pumice removed annex"]).lower())
)


def leaks(
    identifiers: Identifiers, written: Iterable[str], files: Iterable[Path], lines: Iterable[str]
) -> list[str]:
    """Where a value that should be gone still stands, without the value.

    Args:
        identifiers: of the input.
        written: dates and UIDs that were made; one that equals an old one by chance is no leak.
        files: PNG and DICOM files of the output.
        lines: what the records beside them hold of the file's values.
    """
    made = {one.lower() for one in written}
    left = Identifiers({words: origin for words, origin in identifiers.found.items() if words not in made})
    found = []
    for line in lines:
        found += [f"a record holds a value of {origin}" for origin in left.origins(line)]
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".png":
            found += [f"the PNG has a chunk {name!r}" for name in chunks_of(data) if name not in _CHUNKS]
            found += _bytes(left, data, frozenset(), path.suffix)
        else:
            dataset = _read(path)
            numbers: set[str] = set()
            found += _elements(left, dataset, numbers)
            found += _bytes(left, data, frozenset(numbers), path.suffix)
    return sorted(set(found))


def chunks_of(png: bytes) -> list[bytes]:
    """The names of a PNG's chunks; what stands behind the last one is called ``more``."""
    names, at = [], 8
    while at + 8 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        names.append(png[at + 4 : at + 8])
        at += 12 + length
        if names[-1] == b"IEND":
            break
    return [*names, *([b"more"] if at != len(png) else [])]


def _read(path: Path) -> Dataset:
    with quiet():
        dataset: Dataset = library().dcmread(path)
        return dataset


def _elements(identifiers: Identifiers, dataset: Dataset, numbers: set[str], path: str = "") -> list[str]:
    """Values of texts, whatever their length; numbers that are written as text are gathered."""
    found = []
    for element in [*dataset.file_meta, *dataset] if not path else dataset:
        place = f"{path}{place_of(element.tag)}"
        if not path and element.tag in _OURS:
            continue
        if element.VR == "SQ":
            for item in element.value or []:
                found += _elements(identifiers, item, numbers, f"{place}>")
        elif element.VR in TEXT or element.VR in ("AS", "DA", "DT", "TM", "UI"):
            for origin in identifiers.origins(_text(element.value)):
                found.append(f"{place} holds a value of {origin}")
        elif element.VR in _NUMERIC:
            numbers.update(re.findall(r"\d+", _text(element.value)))
    return found


def _bytes(identifiers: Identifiers, data: bytes, numbers: frozenset[str], kind: str) -> list[str]:
    """Values among all bytes; a number that a measurement holds by chance is none."""
    lowered = data.lower()
    return [
        f"the bytes of the {kind[1:]} hold a value of {one.origin}"
        for one in identifiers.raw()
        if one.words not in numbers and one.words not in _OWN_WORDS and one.stands_in(lowered)
    ]


def _text(value: Any) -> str:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return "" if value is None else str(value)
    return "\n".join(map(str, value))
