"""Whether two pictures are one picture: perceptual hashes to find pairs, and their pixels to be sure.

A picture is hashed whole and with strips cut off its sides (``CUTS``). A copy that was cropped is then near,
as a whole, to the original with about that strip cut off; one that was scaled, compressed or made lighter is
near to it as a whole. What is near is compared pixel by pixel at 32 x 32, after one of the two was moved and
scaled by fractions of a pixel to lie on the other.

Legend: n pictures, V = ``len(CUTS)`` hashes of each, S = ``SIDE`` pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
LOW = 8
"""Frequencies in each direction that a hash holds."""
CUTS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.0, 0.0, 0.0),
    *((cut, cut, cut, cut) for cut in (0.025, 0.05, 0.08, 0.12)),
    *((0.08, 0.0, 0.0, 0.0), (0.0, 0.08, 0.0, 0.0), (0.0, 0.0, 0.08, 0.0), (0.0, 0.0, 0.0, 0.08)),
)
"""Shares of width and height cut off left, above, right and below, for each hash of a picture."""
NEAR = 12
"""Bits of 64 by which hashes may differ that are compared further."""
BANDS, WIDTH = 4, 16
"""Parts of a hash and their bits. Where at most 11 bits differ, one part differs by at most two."""
FLIPS = (0, *(1 << a for a in range(WIDTH)), *(1 << a | 1 << b for a in range(WIDTH) for b in range(a)))
"""Every way in which up to two bits of a part differ: 137."""

Hashes = NDArray[np.uint64]
Thumb = NDArray[np.uint8]


def _cosines() -> NDArray[np.float32]:
    """The first ``LOW`` + 1 rows of the discrete cosine transform of ``SIDE`` numbers."""
    place = np.arange(SIDE)
    return np.cos(np.pi * (2 * place[None] + 1) * np.arange(LOW + 1)[:, None] / (2 * SIDE)).astype(np.float32)


_COSINES = _cosines()


def hash_picture(image: Image.Image) -> tuple[Hashes, Thumb]:
    """The hashes of a picture, uint64 [V], and its thumbnail, uint8 [S, S, 3].

    The hash (pHash, after Zauner 2010) is of the 8 x 8 lowest frequencies of the greys, without the constant
    ones: a bit each, whether it is over their median.
    """
    thumb = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    grey = image.convert("L")
    width, height = grey.size
    greys = []
    for left, top, right, bottom in CUTS:
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        greys.append(np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=box), np.float32))
    stacked = np.stack(greys)
    low = _COSINES @ stacked @ _COSINES.T
    chosen = low[:, 1:, 1:].reshape(len(CUTS), -1)
    bits = chosen > np.median(chosen, axis=1, keepdims=True)
    packed = np.packbits(bits, axis=1)
    return np.ascontiguousarray(packed).view(">u8").astype(np.uint64).ravel(), thumb


def near_pairs(
    asked: Hashes, known: Hashes, most: int = NEAR
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of a hash that is asked for and a known one that differ in at most ``most`` bits.

    Known hashes are sorted by each part of 16 bits; each asked one is looked up with up to two of its bits
    turned (multi-index hashing, Norouzi and others 2012). So nothing is compared with all.

    Args:
        asked: uint64 [a].
        known: uint64 [k].

    Returns:
        Places in ``asked`` and in ``known``, int64, and the bits that differ; a pair may come several times.
    """
    for band in range(BANDS):
        shift = np.uint64(WIDTH * band)
        keys = ((known >> shift) & np.uint64(0xFFFF)).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        bounds = np.searchsorted(keys[order], np.arange(1 << WIDTH), side="left")
        bounds = np.append(bounds, len(keys))
        own = ((asked >> shift) & np.uint64(0xFFFF)).astype(np.int64)
        for flip in FLIPS:
            first, last = bounds[own ^ flip], bounds[(own ^ flip) + 1]
            for part in _pieces(last - first):
                counts = (last - first)[part]
                left = np.repeat(part, counts)
                steps = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
                right = order[np.repeat(first[part], counts) + steps]
                bits = np.bitwise_count(asked[left] ^ known[right]).astype(np.int64)
                keep = bits <= most
                if keep.any():
                    yield left[keep], right[keep], bits[keep]


def index_work(asked: Hashes, known: Hashes) -> int:
    """How many pairs ``near_pairs`` compares."""
    work = 0
    for band in range(BANDS):
        own, theirs = (
            np.bincount(
                ((one >> np.uint64(WIDTH * band)) & np.uint64(0xFFFF)).astype(np.int64), minlength=1 << WIDTH
            )
            for one in (asked, known)
        )
        places = np.flatnonzero(own)
        work += sum(int((own[places] * theirs[places ^ flip]).sum()) for flip in FLIPS)
    return work


def nearest(
    asked: Hashes, known: Hashes, count: int, *, within: bool, most: int = NEAR
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Of each hash that is asked for the ``count`` nearest known pictures, by comparing all with all: quicker
    than ``near_pairs`` where many are near.

    Args:
        asked: uint64 [a].
        known: uint64 [k, V].
        count: known pictures for each.
        within: whether both are the same pictures, so that none is compared with itself.
        most: bits by which they may differ.

    Returns:
        Places in ``asked``, places in ``known``, which cut of it is the nearest, and the bits that differ.
    """
    columns = np.ascontiguousarray(known.T)
    block = max(1, PIECE // max(1, len(known)))
    for start in range(0, len(asked), block):
        own = asked[start : start + block, None]
        best = np.full((len(own), len(known)), 255, np.uint8)
        cut = np.zeros(best.shape, np.uint8)
        for number, column in enumerate(columns):
            bits = np.bitwise_count(own ^ column)
            closer = bits < best
            best[closer], cut[closer] = bits[closer], number
        if within:
            best[np.arange(len(own)), np.arange(start, start + len(own))] = 255
        some = np.argpartition(best, min(count, len(known)) - 1, axis=1)[:, :count]
        row, seat = np.nonzero(np.take_along_axis(best, some, 1) <= most)
        other = some[row, seat]
        yield row + start, other, cut[row, other].astype(np.int64), best[row, other].astype(np.int64)


PIECE = 1 << 21
"""Pairs that are compared at once."""


def _pieces(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places whose counts are not 0, as many at a time as make ``PIECE``."""
    places = np.flatnonzero(counts)
    sums = np.cumsum(counts[places])
    start, base = 0, 0
    while start < len(places):
        end = max(int(np.searchsorted(sums, base + PIECE, side="right")), start + 1)
        yield places[start:end]
        base, start = int(sums[end - 1]), end


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike pairs are after one was laid on the other, each [pairs].

    Attributes:
        correlation: of their pixels, -1 to 1.
        worst: the largest difference of a part of 4 x 4 pixels that one level of brightness for all does not
            explain, in units of the picture's own contrast.
    """

    correlation: NDArray[np.float64]
    worst: NDArray[np.float64]

    @property
    def copies(self) -> NDArray[np.bool_]:
        """Which of the pairs are one picture, [pairs]."""
        return (self.correlation >= ALIKE) & (self.worst <= APART)


ALIKE, APART = 0.8, 0.9
"""Least correlation and greatest ``worst`` of copies."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Greys as Pillow and JPEG make them."""
STEPS = 8
"""Steps of the alignment."""
EDGE = 0.06
"""Of each side that is not compared: scaling mixes what stands there with nothing."""


def likeness(whole: Thumb, other: Thumb, cut: NDArray[np.int64]) -> Likeness:
    """Lay pictures over each other and compare them.

    Args:
        whole: thumbnails, uint8 [P, S, S, 3].
        other: thumbnails of what they may be copies of, uint8 [P, S, S, 3].
        cut: which of ``CUTS`` of the other looked like the whole, int64 [P].
    """
    mine, yours = whole.astype(np.float64), other.astype(np.float64)
    left, top, right, bottom = np.array(CUTS)[cut].T
    place = np.stack([left, 1 - left - right, top, 1 - top - bottom], axis=1)
    place = _aligned(mine @ LUMA, yours @ LUMA, place)
    laid, inside = _laid(yours, place)
    grey = (np.ptp(mine, axis=-1).max(axis=(1, 2)) < GREY) | (np.ptp(yours, axis=-1).max(axis=(1, 2)) < GREY)
    mine[grey] = (mine[grey] @ LUMA)[..., None]
    laid[grey] = (laid[grey] @ LUMA)[..., None]
    clipped = (mine.max(axis=-1) >= WHITE) | (laid.max(axis=-1) >= WHITE)
    clear = inside * ~clipped
    enough = clear.sum(axis=(1, 2)) >= ENOUGH * inside.sum(axis=(1, 2))
    inside = np.where(enough[:, None, None], clear, inside)
    weight = inside[..., None] * np.ones(3)
    total = np.maximum(weight.sum(axis=(1, 2, 3)), 1.0)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((values * weight).sum(axis=(1, 2, 3)) / total)

    a = mine - mean(mine)[:, None, None, None]
    b = laid - mean(laid)[:, None, None, None]
    aa, bb, ab = mean(a * a), mean(b * b), mean(a * b)
    correlation = ab / np.sqrt(np.maximum(aa * bb, 1e-9))
    rest = (a - (ab / np.maximum(bb, 1e-9))[:, None, None, None] * b) * weight
    blocks = np.abs(rest.reshape(len(rest), SIDE // 4, 4, SIDE // 4, 4, 3).mean(axis=(2, 4)))
    return Likeness(correlation, blocks.max(axis=(1, 2, 3)) / np.sqrt(np.maximum(aa, 1.0)))


WHITE, ENOUGH = 250, 0.4
"""Levels from which a pixel may have been cut off when a picture was made lighter. Such pixels say nothing,
as long as so large a share of others is left."""
GREY = 12
"""Levels by which channels differ at most in a picture without colour, with what JPEG adds."""


def _aligned(
    mine: NDArray[np.float64], yours: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move and scale until the greys [P, S, S] agree best (Lucas and Kanade 1981, with gain and offset).

    ``place`` [P, 4] is where the left edge of mine lies in yours and how wide it is, then the same for the
    top and the height, as shares of yours.
    """
    axis = (np.arange(SIDE) + 0.5) / SIDE
    for _ in range(STEPS):
        laid, inside = _laid(yours[..., None], place)
        laid = laid[..., 0]
        down, across = np.gradient(laid, axis=(1, 2))
        down, across = down * SIDE / place[:, 3, None, None], across * SIDE / place[:, 1, None, None]
        columns = [across, across * axis[None, None, :], down, down * axis[None, :, None], laid]
        design = np.stack([*columns, np.ones_like(laid)], axis=-1) * inside[..., None]
        flat = design.reshape(len(mine), -1, design.shape[-1])
        wanted = ((mine - laid) * inside).reshape(len(mine), -1, 1)
        turned = flat.transpose(0, 2, 1)
        square = turned @ flat
        damping = 1e-3 * np.trace(square, axis1=1, axis2=2)[:, None, None] / square.shape[-1]
        step = np.linalg.solve(square + damping * np.eye(square.shape[-1]), turned @ wanted)[:, :4, 0]
        place = place + np.clip(step, -0.03, 0.03)
        place[:, 1::2] = np.clip(place[:, 1::2], 0.6, 1.4)
    return place


def _laid(
    pictures: NDArray[np.float64], place: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pictures [P, S, S, C] read where ``place`` says, and which pixels lie inside them, [P, S, S]."""
    axis = (np.arange(SIDE) + 0.5) / SIDE
    x = (place[:, 0, None] + place[:, 1, None] * axis) * SIDE - 0.5
    y = (place[:, 2, None] + place[:, 3, None] * axis) * SIDE - 0.5
    low_x, low_y = (np.clip(np.floor(one), 0, SIDE - 2).astype(np.int64) for one in (x, y))
    part_x = np.clip(x - low_x, 0, 1)[:, None, :, None]
    part_y = np.clip(y - low_y, 0, 1)[:, :, None, None]
    rows = np.arange(len(pictures))[:, None, None]
    corners = [
        pictures[rows, (low_y + dy)[:, :, None], (low_x + dx)[:, None, :]] for dy in (0, 1) for dx in (0, 1)
    ]
    above = corners[0] * (1 - part_x) + corners[1] * part_x
    below = corners[2] * (1 - part_x) + corners[3] * part_x
    margin = EDGE * SIDE
    in_x = (x > -0.5) & (x < SIDE - 0.5) & (axis * SIDE > margin) & (axis * SIDE < SIDE - margin)
    in_y = (y > -0.5) & (y < SIDE - 0.5) & (axis * SIDE > margin) & (axis * SIDE < SIDE - margin)
    inside = (in_y[:, :, None] & in_x[:, None, :]).astype(np.float64)
    return above * (1 - part_y) + below * part_y, inside
