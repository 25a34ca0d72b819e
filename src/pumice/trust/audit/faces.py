"""The check ``faces``: pictures that show a face, as OpenCV's cascade of Haar features sees it.

It looks for faces from the front, which the cascade that comes with OpenCV knows (Viola and Jones 2001).
OpenCV is no part of Pumice: where it is not installed, the audit says that the check did not run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pumice.trust.audit.check import PIXELS, Check, Finding, Need, View
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

CASCADE = "haarcascade_frontalface_default.xml"
NEIGHBOURS = 6
"""Windows that must agree on a face; fewer find more, and more that is none."""
SMALLEST = 0.06
"""The side of the smallest face, as a share of the picture's shorter side."""


@dataclass(frozen=True)
class Faces(Check):
    """Faces."""

    name: ClassVar[str] = "faces"
    reads: ClassVar[frozenset[Need]] = frozenset({PIXELS})
    side: ClassVar[int] = 320

    def picture(self, view: View) -> Any:
        assert view.image is not None
        grey_HW = np.asarray(view.image.convert("L"))
        least = max(20, round(min(grey_HW.shape) * SMALLEST))
        found = _detector().detectMultiScale(grey_HW, 1.1, NEIGHBOURS, minSize=(least, least))
        height, width = grey_HW.shape
        boxes = [
            [round(float(x) / width, 3), round(float(y) / height, 3), round(float(w) / width, 3),
             round(float(h) / height, 3)]
            for x, y, w, h in found
        ]  # fmt: skip
        return boxes or None

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        for number, boxes in seen.said(self, "pictures"):
            yield Finding(
                self.name,
                "face",
                "warning",
                f"it shows {counted(len(boxes), 'face')}",
                picture=number,
                score=float(len(boxes)),
                details={"boxes": boxes},
            )


def made_faces() -> Faces | str:
    """The check, or why it does not run."""
    if find_spec("cv2") is None:
        return "it needs OpenCV: pip install opencv-python-headless"
    if not (_folder() / CASCADE).is_file():
        return "this OpenCV comes without its cascades: install opencv-python-headless 4"
    return Faces()


def _folder() -> Path:
    cv2 = import_module("cv2")
    return Path(getattr(getattr(cv2, "data", None), "haarcascades", ""))


@lru_cache(maxsize=1)
def _detector() -> Any:
    cv2: Any = import_module("cv2")
    return cv2.CascadeClassifier(str(_folder() / CASCADE))
