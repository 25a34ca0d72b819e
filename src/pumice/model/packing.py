"""Which stretches of packed rows see which: what a mask says, without the places that nobody sees.

Legend: B rows, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from pumice.types import IntArray


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of one row that attends alike.

    Attributes:
        row: which row.
        start, stop: its tokens; each sees those of the stretch up to itself.
        before: earlier stretches (start, stop) of the row that all its tokens see whole: the trunk of a
            branch.
    """

    row: int
    start: int
    stop: int
    before: tuple[tuple[int, int], ...] = ()

    @property
    def keys(self) -> int:
        """How many keys its last token sees."""
        return sum(stop - start for start, stop in self.before) + self.stop - self.start


@dataclass(frozen=True, slots=True)
class Packing:
    """The blocks of a batch of rows, row by row and in the order of their tokens; padding is in none.

    ``segment_ids_BT`` and ``branch_ids_BT`` are what they were made of, where it lies.
    """

    segment_ids_BT: Tensor
    branch_ids_BT: Tensor
    blocks: tuple[Block, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tokens of a row."""
        rows, tokens = self.segment_ids_BT.shape
        return int(rows), int(tokens)

    @property
    def plain(self) -> bool:
        """Whether every block sees itself alone: samples without branches."""
        return all(not block.before for block in self.blocks)

    def edges(self) -> tuple[list[int], int]:
        """Where sequences begin when all rows lie one behind the other, the end at last; and the longest.

        Only of a ``plain`` packing. A stretch of padding is a sequence, too: its result is never read.
        """
        rows, tokens = self.shape
        edges = {0, rows * tokens, *(row * tokens for row in range(rows))}
        for block in self.blocks:
            edges |= {block.row * tokens + block.start, block.row * tokens + block.stop}
        ordered = sorted(edges)
        return ordered, max(b - a for a, b in pairwise(ordered))


def packing_of(segment_ids_BT: Tensor, branch_ids_BT: Tensor) -> Packing:
    """The blocks of packed rows, by the rule of ``attention.visibility_mask``.

    Args:
        segment_ids_BT: int64 [B, T], samples of a row from 1, 0 is padding.
        branch_ids_BT: int64 [B, T], 0 is the trunk.
    """
    segments, branches = segment_ids_BT.cpu().numpy(), branch_ids_BT.cpu().numpy()
    blocks: list[Block] = []
    for row in range(segments.shape[0]):
        changes = (np.diff(segments[row]) != 0) | (np.diff(branches[row]) != 0)
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), segments.shape[1]]
        blocks += _blocks_of_row(row, edges, segments[row], branches[row])
    return Packing(segment_ids_BT, branch_ids_BT, tuple(blocks))


def _blocks_of_row(row: int, edges: Sequence[int], segments_T: IntArray, branches_T: IntArray) -> list[Block]:
    blocks: list[Block] = []
    earlier: dict[int, list[tuple[int, int, int]]] = {}
    for start, stop in pairwise(edges):
        segment, branch = int(segments_T[start]), int(branches_T[start])
        if segment == 0 or start == stop:
            continue
        same = earlier.setdefault(segment, [])
        before = tuple((a, b) for a, b, of in same if of in (0, branch))
        blocks.append(Block(row, start, stop, before))
        same.append((start, stop, branch))
    return blocks
