"""What is written into the pixels themselves: kinds of files known for it, masks, and a finder that warns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pumice.errors import ImageError, UsageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the file."""
REGIONS = "us-regions"
_MODALITIES = {
    **{"US": "ultrasound", "IVUS": "ultrasound", "OT": "of modality OT", "SC": "a secondary capture"},
    **{"ES": "an endoscopy", "XC": "a photograph", "GM": "a microscope's picture", "DOC": "a document"},
    **{"XA": "an angiography", "RF": "a fluoroscopy", "EPS": "of electrophysiology", "HC": "a hard copy"},
}
_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": "a secondary capture",
    "1.2.840.10008.5.1.4.1.1.6": "ultrasound",
    "1.2.840.10008.5.1.4.1.1.3": "ultrasound",
    "1.2.840.10008.5.1.4.1.1.12.77": "a photograph",
    "1.2.840.10008.5.1.4.1.1.77.1": "a photograph",
}
"""Beginnings of SOP classes; a dot or the end follows."""
_TYPES = (
    "SCREEN SAVE",
    "SCREENSAVE",
    "SCREENSHOT",
    "SCREEN",
    "CAPTURE",
    "REPORT",
    "DOSE",
    "RESULT",
    "PROT",
    "TEXT",
)
_CONVERSIONS = {
    **{"DF": "digitised film", "DI": "from a digital interface", "DRW": "a drawing", "DV": "digitised video"},
    **{"SD": "a scanned document", "SI": "a scanned image", "SYN": "a synthetic image"},
    **{"WSD": "from a workstation"},
}


@dataclass(frozen=True)
class Masks:
    """Which parts of pictures are blackened.

    Attributes:
        everywhere: rectangles of every picture.
        regions: whether all beyond the regions that an ultrasound machine declares is blackened.
        by_file: patterns of input names or of ``MODALITY WIDTHxHEIGHT``, with their own rectangles; none of
            them says that a person looked and there is nothing to blacken.
    """

    everywhere: tuple[Box, ...] = ()
    regions: bool = False
    by_file: tuple[tuple[str, tuple[Box, ...]], ...] = ()

    def of(self, name: str, dataset: Dataset) -> tuple[Box, ...] | None:
        """The rectangles for a file; None where nobody said anything about it."""
        kind = f"{dataset.get('Modality') or ''} {dataset.get('Columns')}x{dataset.get('Rows')}"
        for pattern, boxes in self.by_file:
            if pattern in (name, kind, Path(name).name):
                return (*self.everywhere, *boxes)
        return self.everywhere or None


def read_masks(given: Sequence[str], file: Path | None) -> Masks:
    """The masks of ``--mask`` and ``--masks``.

    Raises:
        UsageError: a mask is not x,y,width,height; the file is no mapping of names to lists of such.
    """
    boxes = tuple(_box(text, "--mask") for text in given if text != REGIONS)
    by_file: list[tuple[str, tuple[Box, ...]]] = []
    if file is not None:
        where = f"--masks {file}"
        try:
            content = yaml.safe_load(file.read_text("utf-8"))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise UsageError(
                f"the masks cannot be read ({type(error).__name__})",
                where=where,
                remedy="write YAML, in UTF-8",
            ) from error
        if not isinstance(content, Mapping):
            raise UsageError(
                "the masks are no mapping",
                where=where,
                remedy="write NAME: [[x, y, width, height], ...] a line",
            )
        for name, listed in content.items():
            by_file.append((str(name), tuple(_box(one, f"{where}, {name}") for one in listed or [])))
    return Masks(boxes, REGIONS in given, tuple(by_file))


_KIND = re.compile(r"[A-Z0-9]* \d+x\d+")
"""What ``Masks.of`` calls a modality and size."""


def check_masks(masks: Masks, names: Sequence[str]) -> None:
    """Hold the files that masks name against the inputs.

    Args:
        masks: what is blackened.
        names: of all inputs, below what was named.

    Raises:
        UsageError: a mask is for no input, so a file that it was meant for would stay as it is; or for
            several of one name, of which a person may have looked at one.
    """
    for pattern, _ in masks.by_file:
        found = [name for name in names if pattern in (name, Path(name).name)]
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} inputs are called {pattern!r}",
                where="--masks",
                remedy="write the path below IN; folders with the same paths take a run each",
            )
        if not found and not _KIND.fullmatch(pattern):
            raise UsageError(
                f"no input is called {pattern!r}",
                where="--masks",
                remedy="write a path below IN, or a kind, such as US 800x600",
            )


def _box(given: Any, where: str) -> Box:
    parts = given.split(",") if isinstance(given, str) else given
    try:
        x, y, width, height = (int(one) for one in parts)
    except (TypeError, ValueError):
        x = y = width = height = -1
    if x < 0 or y < 0 or width < 1 or height < 1:
        raise UsageError(
            f"{given!r} is no mask", where=where, remedy="write x,y,width,height in pixels, or us-regions"
        )
    return x, y, width, height


def risk_of(dataset: Dataset) -> str | None:
    """Why a file may have words in its pixels; None where its kind is not known for it."""
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if said == "YES":
        return "the file says that there are words in its pixels (BurnedInAnnotation is YES)"
    if said == "NO":
        return None
    modality, uid = str(dataset.get("Modality") or ""), str(dataset.get("SOPClassUID") or "")
    kind = _MODALITIES.get(modality)
    for begins, name in _CLASSES.items():
        if uid == begins or uid.startswith(f"{begins}."):
            kind = kind or name
    types = dataset.get("ImageType") or []
    listed = [types] if isinstance(types, str) else list(types)
    if any(re.search(rf"\b{word}\b", str(one).upper()) for one in listed[2:] for word in _TYPES):
        kind = kind or "a picture of a screen"
    kind = kind or _CONVERSIONS.get(str(dataset.get("ConversionType") or ""))
    return (
        None if kind is None else f"it is {kind}, and the file does not say that its pixels are free of words"
    )


def mask_pixels(
    frame: NDArray[Any], boxes: Sequence[Box], outside: Sequence[Box], *, inverted: bool
) -> NDArray[Any]:
    """A frame with rectangles blackened, in a copy.

    Args:
        frame: stored values. [H, W] or [H, W, 3]
        boxes: what is blackened.
        outside: where there are any, all beyond them is blackened, too.
        inverted: whether the largest value is black (MONOCHROME1).

    Raises:
        ImageError: a rectangle is not inside the picture.
    """
    out = frame.copy()
    black = frame.max() if inverted else 0 if frame.ndim == 3 else frame.min()
    height, width = frame.shape[:2]
    for x, y, w, h in (*boxes, *outside):
        if x >= width or y >= height:
            raise ImageError(
                f"the mask {x},{y},{w},{h} is not inside the picture of {width} x {height}",
                remedy="give this size its own mask: --masks FILE",
            )
    if outside:
        free = np.zeros((height, width), np.bool_)
        for x, y, w, h in outside:
            free[y : y + h, x : x + w] = True
        out[~free] = black
    for x, y, w, h in boxes:
        out[y : y + h, x : x + w] = black
    return out


def ultrasound_regions(dataset: Dataset) -> tuple[Box, ...]:
    """The regions that an ultrasound machine declares as scanned (PS3.3 C.8.5.5)."""
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or []:
        corners = [item.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if all(isinstance(one, int) for one in corners):
            x, y, right, bottom = corners
            if 0 <= x <= right and 0 <= y <= bottom:
                found.append((x, y, right - x + 1, bottom - y + 1))
    return tuple(found)


def leave_something(regions: Sequence[Box], dataset: Dataset) -> bool:
    """Whether there is anything of the picture beyond its regions; one that is all of it hides no words."""
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    return not any(x == y == 0 and w >= columns and h >= rows for x, y, w, h in regions)


CELL_WIDTH, CELL_HEIGHT, STEP = 32, 12, 4


def text_regions(greys: NDArray[np.uint8], *, faint: bool = False) -> list[Box]:
    """Where a picture looks as if words were written into it.

    Words that machines write are of one value on a ground that is even, with many edges close to each other
    along a line and fewer above and below it. It is a hint: it misses words on busy ground, and takes rulers
    and grids for words.

    Args:
        greys: [H, W]
        faint: whether grey words count, too; what has noise is then taken for words.
    """
    edge, bright, dark = (44, 100, 36) if faint else (72, 200, 56)
    height, width = greys.shape
    if height < CELL_HEIGHT or width < CELL_WIDTH:
        return []
    values = greys.astype(np.int16)
    strong = np.zeros((height, width), np.bool_)
    strong[:, 1:] = np.abs(np.diff(values, axis=1)) >= edge
    upright = np.zeros((height, width), np.bool_)
    upright[1:, :] = np.abs(np.diff(values, axis=0)) >= edge
    across, down = _sums(strong), _sums(upright)
    area = CELL_WIDTH * CELL_HEIGHT
    high, low = _sums(values >= bright), _sums(values <= dark)
    dense = (across >= 0.08 * area) & (across <= 0.5 * area) & (down >= 0.05 * area) & (down <= 0.5 * area)
    two_valued = (high + low >= 0.72 * area) & (high >= 0.08 * area) & (low >= 0.08 * area)
    # Where most rows of the cell change often, it is letters; a slanted edge changes each row once.
    changing = _sums_wide(strong)
    marked = dense & two_valued & (changing >= 0.5 * CELL_HEIGHT)
    return _joined(marked)


def _sums(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many are true in each cell, at each step. [h, w]"""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    total[1:, 1:] = mask.cumsum(0).cumsum(1)
    ys = np.arange(0, mask.shape[0] - CELL_HEIGHT + 1, STEP)[:, None]
    xs = np.arange(0, mask.shape[1] - CELL_WIDTH + 1, STEP)[None, :]
    bottom, right = ys + CELL_HEIGHT, xs + CELL_WIDTH
    out: NDArray[np.int64] = total[bottom, right] - total[ys, right] - total[bottom, xs] + total[ys, xs]
    return out


def _sums_wide(strong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """In how many rows of each cell there are at least four strong edges. [h, w]"""
    along = np.zeros((strong.shape[0], strong.shape[1] + 1), np.int64)
    along[:, 1:] = strong.cumsum(1)
    xs = np.arange(0, strong.shape[1] - CELL_WIDTH + 1, STEP)
    busy = (along[:, xs + CELL_WIDTH] - along[:, xs]) >= 4
    down = np.zeros((strong.shape[0] + 1, len(xs)), np.int64)
    down[1:] = busy.cumsum(0)
    ys = np.arange(0, strong.shape[0] - CELL_HEIGHT + 1, STEP)
    out: NDArray[np.int64] = down[ys + CELL_HEIGHT] - down[ys]
    return out


def _joined(marked: NDArray[np.bool_]) -> list[Box]:
    """Marked cells that touch or overlap, as rectangles."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(marked), strict=True)}
    reach_y, reach_x = CELL_HEIGHT // STEP, CELL_WIDTH // STEP
    boxes: list[Box] = []
    while left:
        group, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            group.append((y, x))
            near = [
                (y + dy, x + dx)
                for dy in range(-reach_y, reach_y + 1)
                for dx in range(-reach_x, reach_x + 1)
                if (y + dy, x + dx) in left
            ]
            left.difference_update(near)
            edge.extend(near)
        ys, xs = [y for y, _ in group], [x for _, x in group]
        x, y = min(xs) * STEP, min(ys) * STEP
        boxes.append((x, y, max(xs) * STEP + CELL_WIDTH - x, max(ys) * STEP + CELL_HEIGHT - y))
    return sorted(boxes, key=lambda box: (box[1], box[0]))
