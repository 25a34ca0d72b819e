"""From stored values to greys: Modality LUT or rescale, then VOI LUT or window (PS3.3 C.11.1, C.11.2)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pumice.errors import ImageError, UsageError, suggest
from pumice.image.dicom.files import library

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
FUNCTIONS: tuple[Function, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (40, 400),
    "angio": (300, 600),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft": (50, 400),
    "spine": (50, 250),
    "stroke": (32, 8),
    "subdural": (75, 215),
    "temporal": (600, 2800),
}
"""Centre and width in Hounsfield units, as radiology departments commonly set them; there is no standard."""
AUTO, FILE, FULL = "auto", "file", "full"
_FAR = 1e300
"""Values beyond it are no measurements, and their differences are not finite."""
PERCENTILES = (0.5, 99.5)
_CT_BY_PART = (
    (("CHEST", "THORAX", "LUNG"), "mediastinum"),
    (("HEAD", "BRAIN", "SKULL"), "brain"),
    (("SPINE",), "spine"),
    (("EXTREMITY", "KNEE", "HAND", "FOOT", "ANKLE", "WRIST", "SHOULDER", "HIP", "ELBOW"), "bone"),
)


@dataclass(frozen=True)
class Window:
    """Which values become which greys.

    Attributes:
        name: how it was chosen, for reports: a preset, ``file:1``, ``percentiles``.
        center: the value of middle grey; NaN where a table of the file decides.
        width: how many values lie between black and white.
        function: how they do (PS3.3 C.11.2.1.2, C.11.2.1.3).
        table: the item of the VOI LUT Sequence, from 0; None for a window.
    """

    name: str
    center: float
    width: float
    function: Function = "LINEAR"
    table: int | None = None

    def greys(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Eight bits of values that the Modality LUT gave, any shape."""
        x = values.astype(np.float64)
        c, w = self.center, self.width
        if self.function == "SIGMOID":
            share = 1 / (1 + np.exp(np.clip(-4 * (x - c) / w, -700, 700)))
        elif self.function == "LINEAR_EXACT":
            share = (x - c) / w + 0.5
        elif w > 1:
            share = (x - (c - 0.5)) / (w - 1) + 0.5
        else:  # C.11.2.1.2.1: a width of 1 is a threshold
            share = (x > c - 0.5).astype(np.float64)
        return np.floor(np.clip(np.nan_to_num(share), 0, 1) * 255 + 0.5).astype(np.uint8)


def parse_window(text: str) -> str | tuple[float, float]:
    """What ``--window`` says: auto, full, file, file:N, file:NAME, a preset, or C,W.

    Raises:
        UsageError: it is none of these, or the width is no width.
    """
    if re.fullmatch(r"\s*[-+\d.eE]+\s*,\s*[-+\d.eE]+\s*", text):
        try:
            center, width = (float(one) for one in text.split(","))
        except ValueError:
            center, width = math.nan, math.nan
        if not math.isfinite(center) or not 0 < width < math.inf:
            raise UsageError(
                f"{text} is no centre and width", where="--window", remedy="such as --window 40,400"
            )
        return center, width
    if text in (AUTO, FILE, FULL) or text in PRESETS or text.startswith(f"{FILE}:"):
        return text
    raise UsageError(
        f"there is no window {text!r}",
        where="--window",
        remedy=suggest(text, [AUTO, FILE, FULL, *PRESETS]) + "; or centre and width, such as 40,400",
    )


def listed_windows(view: Dataset) -> list[tuple[str, Window]]:
    """The windows of a file with their explanations, its VOI LUTs before them, in its own order."""
    found: list[tuple[str, Window]] = []
    for number, item in enumerate(view.get("VOILUTSequence") or []):
        words = str(item.get("LUTExplanation") or "")
        found.append((words, Window(f"file:{len(found) + 1}", math.nan, math.nan, table=number)))
    centers, widths = _numbers(view.get("WindowCenter")), _numbers(view.get("WindowWidth"))
    names = view.get("WindowCenterWidthExplanation") or []
    names = [names] if isinstance(names, str) else list(names)
    said = str(view.get("VOILUTFunction") or "LINEAR").upper()
    function: Function = next((one for one in FUNCTIONS if one == said), "LINEAR")
    for number, (center, width) in enumerate(zip(centers, widths, strict=False)):
        if not math.isfinite(center) or not math.isfinite(width) or width <= 0:
            continue
        words = str(names[number]) if number < len(names) else ""
        found.append((words, Window(f"file:{len(found) + 1}", center, width, function)))
    return found


def choose_window(
    wanted: str | tuple[float, float], view: Dataset, values: NDArray[Any], real: NDArray[np.bool_]
) -> Window:
    """The window of a frame.

    Args:
        wanted: as ``parse_window`` gave it.
        view: the frame's attributes (``frames.view_of``).
        values: after the Modality LUT. [H, W]
        real: which of them are no padding. [H, W]

    ``auto`` takes the file's first window or VOI LUT, then for a CT the preset of its body part, then the
    values between the 0.5th and the 99.5th percentile.

    Raises:
        ImageError: the file has no such window, or its values are no Hounsfield units and a preset was asked
            for.
    """
    ours = listed_windows(view)
    if isinstance(wanted, tuple):
        return Window(f"{wanted[0]:g},{wanted[1]:g}", *wanted)
    if wanted.startswith(FILE):
        return _of_file(wanted, ours)
    if wanted in PRESETS:
        if view.get("Modality") != "CT":
            raise ImageError(
                f"the window {wanted!r} is in Hounsfield units, and this is no CT",
                where="--window",
                remedy="take auto, file, full, or a centre and width",
            )
        return Window(wanted, *PRESETS[wanted])
    if wanted == AUTO and ours:
        return ours[0][1]
    if wanted == AUTO and view.get("Modality") == "CT":
        part = str(view.get("BodyPartExamined") or "").upper()
        name = next((name for parts, name in _CT_BY_PART if any(one in part for one in parts)), "abdomen")
        return Window(name, *PRESETS[name])
    shown = values[real] if real.any() else values
    if shown.dtype.kind == "f":  # frames of floating point keep NaN where nothing was measured
        shown = shown[np.abs(shown) < _FAR]
        shown = shown if shown.size else np.zeros(1)
    low, high = (
        (float(shown.min()), float(shown.max()))
        if wanted == FULL
        else (float(one) for one in np.percentile(shown, PERCENTILES))
    )
    name = "full" if wanted == FULL else "percentiles"
    return Window(name, (low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")


def _of_file(wanted: str, ours: Sequence[tuple[str, Window]]) -> Window:
    which = wanted.partition(":")[2].strip()
    if not which and ours:
        return ours[0][1]
    if which.isdigit() and 1 <= int(which) <= len(ours):
        return ours[int(which) - 1][1]
    for words, window in ours:
        if which and words.strip().lower() == which.lower():
            return window
    have = f"its windows are numbered 1 to {len(ours)}" if ours else "it has none"
    raise ImageError(
        f"the file has no window {which!r}: {have}" if which else "the file has no window",
        where="--window",
        remedy="take auto, a preset, or a centre and width",
    )


def modality_values(stored: NDArray[Any], view: Dataset) -> NDArray[Any]:
    """Values after the Modality LUT, or after slope and intercept where there is none. [H, W]"""
    if view.get("ModalityLUTSequence"):
        lookup: NDArray[Any] = library().pixels.apply_modality_lut(stored, view)
        return lookup
    slope, intercept = _first(view.get("RescaleSlope"), 1.0), _first(view.get("RescaleIntercept"), 0.0)
    if (
        (slope, intercept) == (1.0, 0.0)
        or not math.isfinite(slope)
        or not math.isfinite(intercept)
        or not slope
    ):
        return stored
    return stored.astype(np.float64) * slope + intercept


def greys_of(values: NDArray[Any], view: Dataset, window: Window) -> NDArray[np.uint8]:
    """Eight bits, before MONOCHROME1 is turned round. [H, W]

    Raises:
        ImageError: the file's VOI LUT is not as PS3.3 C.11.2.1.1 has it.
    """
    if window.table is None:
        return window.greys(values)
    item = view.VOILUTSequence[window.table]
    count, first, bits = (int(one) for one in item.LUTDescriptor)
    count = count or 2**16
    if first >= 2**15 and _may_be_negative(view):  # a signed number that was written as one without a sign
        first -= 2**16
    data = item.LUTData
    order = ">" if view.original_encoding[1] is False else "<"
    raw = np.frombuffer(data, f"{order}u2") if isinstance(data, bytes) else np.asarray(data).astype(np.uint16)
    if len(raw) * 2 in (count, count + 1) and bits <= 8:  # two entries in each word
        raw = raw.astype("<u2").view(np.uint8)
    if len(raw) < count or not 1 <= bits <= 16:
        raise ImageError(
            f"the file's VOI LUT holds {len(raw):,} entries of {count:,}",
            where="VOILUTSequence",
            remedy="choose a window: --window auto takes it first, a preset or centre and width do not",
        )
    places = np.clip(np.floor(values) - first, 0, count - 1).astype(np.int64)
    shares = raw[places].astype(np.float64) / (2**bits - 1)
    eight: NDArray[np.uint8] = np.floor(np.clip(shares, 0, 1) * 255 + 0.5).astype(np.uint8)
    return eight


def _may_be_negative(view: Dataset) -> bool:
    """Whether values after the Modality LUT have a sign, be it in another frame (PS3.3 C.11.2.1.1)."""
    if view.get("ModalityLUTSequence"):
        return False
    slope, intercept = _first(view.get("RescaleSlope"), 1.0), _first(view.get("RescaleIntercept"), 0.0)
    most = 2.0 ** int(view.get("BitsStored") or 16) - 1
    return bool(view.get("PixelRepresentation")) or min(0.0, slope * most) + intercept < 0


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    listed = value if isinstance(value, list | tuple) or hasattr(value, "__iter__") else [value]
    out = []
    for one in [listed] if isinstance(listed, str) else listed:
        try:
            out.append(float(one))
        except (TypeError, ValueError):
            out.append(math.nan)
    return out


def _first(value: Any, otherwise: float) -> float:
    found = _numbers(value)
    return found[0] if found else otherwise
