"""Grounded alignment: image features that stand where the language model's words stand.

Where data has boxes with phrases, the projected feature of each patch inside a box is pulled towards
the sum of the language model's input embeddings of the phrase's tokens. Two optional additions make
such a cell say what a phrase alone cannot: a ``center_word`` is added in the patch that holds a box's
centre (so that objects can be counted), and ``position_words`` (left, right, top, bottom) are blended
in according to where the patch lies (so that places can be compared).

Shapes: N images, P patches of one, K token slots of a cell, D language model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pumice.data.grounding import BACKGROUND, assign_regions
from pumice.errors import DataError
from pumice.types import Region

NO_TOKEN = -1
CELL_SLOTS = 8

Encode = Callable[[str], Sequence[int]]


def cell_tokens(
    regions: Sequence[Region], grid: int, encode: Encode, center_word: str | None, slots: int = CELL_SLOTS
) -> NDArray[np.int32]:
    """The token ids of each patch's words: int32 [P, K], unused slots ``NO_TOKEN``.

    A region inside another one (a letter on a sign) is a part of it: its patches hold the words of both.
    Of several around it those are taken that fit, from the smallest outwards.

    Args:
        regions: boxes and phrases of one image.
        grid: patches per side.
        encode: text -> token ids, without special tokens. Phrases are encoded with a space before
            them, as they stand inside a sentence.
        center_word: the word added at centres, or None.
        slots: K.

    Raises:
        DataError: a phrase with the marks of its patch has more than K tokens; it is named.
    """
    owner, center = assign_regions([r.box for r in regions], grid)
    cells = np.full((grid * grid, slots), NO_TOKEN, dtype=np.int32)
    mark = list(encode(" " + center_word)) if center_word else []
    around = [_enclosing(index, regions) for index in range(len(regions))]
    # Parts (a letter on a sign) are not marked: only whole things are counted.
    marks = [int(center[index]) for index in range(len(regions)) if mark and not around[index]]
    for index, region in enumerate(regions):
        # Centres may share a patch, and each whole thing has a mark of its own there.
        mine = [patch for patch in marks if owner[patch] == index]
        most = max(map(mine.count, mine), default=0)
        room = slots - len(mark) * max(most, 1)
        ids = list(encode(" " + region.phrase))
        if len(ids) > room:
            shared = f" beside the marks of {most} objects with one centre" if most > 1 else ""
            raise DataError(
                f"the phrase {region.phrase!r} has {len(ids)} tokens; a cell holds {max(room, 0)}{shared}",
                remedy="use shorter phrases for regions, or leave center_word out"
                if most > 1
                else "use shorter phrases for regions",
            )
        for outer in around[index]:
            more = encode(" " + regions[outer].phrase)
            if len(ids) + len(more) > room:
                break
            ids += more
        cells[owner == index, : len(ids)] = ids
    for patch in marks:
        free = int((cells[patch] != NO_TOKEN).sum())
        cells[patch, free : free + len(mark)] = mark
    assert (owner != BACKGROUND).sum() == (cells[:, 0] != NO_TOKEN).sum()
    return cells


def _enclosing(index: int, regions: Sequence[Region]) -> list[int]:
    """The regions whose box contains that of region ``index``, the smallest first."""
    x1, y1, x2, y2 = regions[index].box
    outer = []
    for other, region in enumerate(regions):
        a1, b1, a2, b2 = region.box
        inside = a1 <= x1 and b1 <= y1 and a2 >= x2 and b2 >= y2
        if other != index and inside and region.box != regions[index].box:
            outer.append(other)
    return sorted(outer, key=lambda other: _area(regions[other]))


def _area(region: Region) -> float:
    x1, y1, x2, y2 = region.box
    return (x2 - x1) * (y2 - y1)


def position_weights(grid: int) -> Tensor:
    """How much of left, right, top and bottom each patch holds: float32 [P, 4], in 0..1."""
    middle = (torch.arange(grid, dtype=torch.float32) + 0.5) / grid
    x, y = middle.repeat(grid), middle.repeat_interleave(grid)
    return torch.stack((1 - x, x, 1 - y, y), dim=1)


def cell_embeddings(table_VD: Tensor, cells_NPK: Tensor, position_ids_4: Tensor | None, grid: int) -> Tensor:
    """The wanted feature of each patch: float32 [N, P, D].

    Args:
        table_VD: the language model's input embeddings.
        cells_NPK: token ids of ``cell_tokens``.
        position_ids_4: token ids of the words for left, right, top and bottom, or None.
        grid: patches per side.
    """
    known = cells_NPK != NO_TOKEN
    words_NPKD = F.embedding(cells_NPK.clamp(min=0).long(), table_VD.float())
    cells_NPD = (words_NPKD * known[..., None]).sum(dim=2)
    if position_ids_4 is not None:
        places_4D = F.embedding(position_ids_4, table_VD.float())
        cells_NPD = cells_NPD + position_weights(grid).to(places_4D) @ places_4D
    return cells_NPD


def grounding_loss(image_NPD: Tensor, wanted_NPD: Tensor, spread: Tensor | None = None) -> Tensor:
    """Squared distance to the wanted features as a share of their own variance (0 is exact).

    Every patch counts alike, with words or without. Computed in float32. ``spread`` is the variance
    to use instead: that of a whole step (``joint_variance``), where these are only a part of one.
    """
    image_NPD, wanted_NPD = image_NPD.float(), wanted_NPD.float()
    spread = wanted_NPD.var() if spread is None else spread
    return (image_NPD - wanted_NPD).square().mean() / spread.clamp(min=1e-8)


def joint_variance(parts: Iterable[Tensor]) -> Tensor:
    """The variance of all values of some tensors together, as if they were one: a float32 scalar."""
    sums = [
        (part.numel(), part.double().sum(), part.double().square().sum()) for part in parts if part.numel()
    ]
    number = sum(count for count, _, _ in sums)
    total = torch.stack([value for _, value, _ in sums]).sum()
    squares = torch.stack([value for _, _, value in sums]).sum()
    return ((squares - total.square() / number) / (number - 1)).float()


def nearest_words(
    image_MD: Tensor, table_VD: Tensor, choices: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """For each attribute the choice nearest to each feature: int64 [M], an index into its choices.

    Words of one attribute share much of their embedding; what they share is taken off first.
    """
    nearest = {}
    for name, ids in choices.items():
        words_CD = table_VD[torch.tensor(list(ids))].float()
        words_CD = F.normalize(words_CD - words_CD.mean(dim=0), dim=-1)
        nearest[name] = (image_MD.float() @ words_CD.T).argmax(dim=-1)
    return nearest
