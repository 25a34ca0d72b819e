"""The check ``readable``: rows and pictures that cannot be read, and pictures that show next to nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pumice.trust.audit.check import PIXELS, Check, Finding, Need, View
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

KINDS = ("row", "missing", "unreadable", "one-colour", "tiny", "odd-shape", "videos")
"""The kinds of its findings; the first three are serious."""
TINY = 32
"""Pixels of the shorter side below which a picture is told: less than three patches of any tower."""
ASPECT = 8.0
"""Longer side over shorter side from which a picture is told: crops and squares lose most of it."""
PLAIN = 2
"""Levels of 255 between the darkest and the lightest pixel, of all channels, of a picture of one colour."""


@dataclass(frozen=True)
class Readable(Check):
    """Rows that are no rows; pictures that are missing, damaged, tiny, of one colour or an odd shape."""

    name: ClassVar[str] = "readable"
    reads: ClassVar[frozenset[Need]] = frozenset({PIXELS})
    side: ClassVar[int] = 64
    faulty: ClassVar[bool] = True

    def picture(self, view: View) -> Any:
        if view.fault:
            return {"kind": "unreadable" if view.data else "missing", "what": view.fault}
        assert view.size is not None
        assert view.image is not None
        found: dict[str, Any] = {}
        width, height = view.size
        pixels = np.asarray(view.image)
        if int((pixels.max(axis=(0, 1)).astype(int) - pixels.min(axis=(0, 1))).max()) <= PLAIN:
            colour = ", ".join(str(int(value)) for value in np.median(pixels, axis=(0, 1)))
            return {"kind": "one-colour", "what": f"every pixel is ({colour})"}
        if min(width, height) < TINY:
            found = {"kind": "tiny", "what": f"it is {width} x {height} pixels"}
        elif max(width, height) >= ASPECT * min(width, height):
            found = {"kind": "odd-shape", "what": f"it is {width} x {height} pixels"}
        return found or None

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        for lost in seen.material.refused:
            what = lost.reason + (f" ({lost.detail})" if lost.detail else "")
            yield Finding(self.name, "row", "serious", what, place=lost)
        nowhere: dict[str, list[int]] = {}
        for number, said in seen.said(self, "pictures"):
            table, _ = seen.material.find(int(seen.material.showing(number)[0]))
            if said["kind"] == "missing" and table.root is None:
                nowhere.setdefault(table.source, []).append(number)
                continue
            bad = said["kind"] in ("unreadable", "missing")
            yield Finding(self.name, said["kind"], "serious" if bad else "note", said["what"], picture=number)
        for source, numbers in nowhere.items():
            rows = sorted({row for number in numbers for row in seen.material.showing(number).tolist()})
            yield Finding(
                self.name,
                "missing",
                "serious",
                f"{counted(len(numbers), 'picture')} of {source} cannot be found, and no folder of "
                "pictures is given (--images)",
                row=rows[0],
                also=tuple(rows[1:]),
            )
        if seen.material.videos:
            yield Finding(
                self.name,
                "videos",
                "note",
                f"{counted(seen.material.videos, 'video')}: no check looks at their frames",
            )
