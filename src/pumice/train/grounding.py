"""Grounded alignment: image features that stand where the language model's words stand.

Where data has boxes with phrases, the projected feature of each patch inside a box is pulled towards
the sum of the language model's input embeddings of the phrase's tokens. Two optional additions make
such a cell say what a phrase alone cannot: a ``center_word`` is added in the patch that holds a box's
centre (so that objects can be counted), and ``position_words`` (left, right, top, bottom) are blended
in according to where what the patch shows lies (so that places can be read and compared).

Shapes: N images, P patches of one, M patches, K token slots of a cell, D language model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pumice.data.grounding import BACKGROUND, assign_regions, patch_places
from pumice.errors import DataError
from pumice.types import Region

NO_TOKEN = -1
CELL_SLOTS = 8
TARGETS = 2
"""Version of what a grounded patch is pulled towards; a run that began with another is not resumed."""

Encode = Callable[[str], Sequence[int]]


class Cells(NamedTuple):
    """What the patches of one picture should say."""

    words: NDArray[np.int32]
    """Token ids of each patch's words: [P, K], unused slots ``NO_TOKEN``."""
    places: NDArray[np.float32]
    """x and y of what each patch shows, fractions of the picture: [P, 2] (``patch_places``)."""


def lay_out(
    regions: Sequence[Region], grid: int, encode: Encode, center_word: str | None, slots: int = CELL_SLOTS
) -> Cells:
    """The words and the place of each patch.

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
    boxes = [region.box for region in regions]
    owner, center = assign_regions(boxes, grid)
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
    return Cells(cells, patch_places(boxes, owner, grid))


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


def position_weights(places: Tensor) -> Tensor:
    """How much of left, right, top and bottom places [..., 2] hold: [..., 4], in 0..1."""
    x, y = places.unbind(dim=-1)
    return torch.stack((1 - x, x, 1 - y, y), dim=-1)


def cell_embeddings(
    table_VD: Tensor, words_MK: Tensor, places_M2: Tensor, position_ids_4: Tensor | None
) -> Tensor:
    """The wanted feature of each of M patches: float32 [M, D]; more leading axes than M's are fine.

    Args:
        table_VD: the language model's input embeddings.
        words_MK: token ids, ``Cells.words``.
        places_M2: x and y in 0..1, ``Cells.places``.
        position_ids_4: token ids of the words for left, right, top and bottom, or None.
    """
    known = words_MK != NO_TOKEN
    words_MKD = F.embedding(words_MK.clamp(min=0).long(), table_VD.float())
    cells_MD = (words_MKD * known[..., None]).sum(dim=-2)
    if position_ids_4 is not None:
        words_4D = F.embedding(position_ids_4, table_VD.float())
        cells_MD = cells_MD + position_weights(places_M2).to(words_4D) @ words_4D
    return cells_MD


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
        shared_D = words_CD.mean(dim=0)
        words_CD = F.normalize(words_CD - shared_D, dim=-1)
        nearest[name] = ((image_MD.float() - shared_D) @ words_CD.T).argmax(dim=-1)
    return nearest
