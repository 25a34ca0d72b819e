"""Queries of packed rows in tiles of like size, each with the keys that its queries see.

A tile is a stretch of one row, of one block or of several: short blocks (branches, short samples) share one,
with a mask over what they do not see of each other, where that costs less than a tile for each.

Legend: N tokens of all rows, one row after another, and behind them one empty place; G tiles of a group,
Q queries and K keys of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pumice.model.packing import Block, Packing

CALL_COST = 2048
"""What a tile costs besides its scores, in scores."""

MOST_QUERIES = 256
"""A tile has no more queries, however little its scores cost."""

MULTIPLE = 16
"""Queries and keys of a group are padded to a multiple of this."""

GROUP_SCORES = 1 << 15
"""Scores of a head that a group holds at once, unless a single tile has more: larger groups leave the
processor's cache, smaller ones pay for their calls."""

FILL = 0.75
"""The least share of a group's scores that belongs to its tiles; the rest pads them to one size."""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """Queries ``start`` to ``stop`` of a row, and ranges of its tokens that hold all keys they see."""

    row: int
    start: int
    stop: int
    keys: tuple[Range, ...]

    @property
    def queries(self) -> int:
        """How many queries."""
        return self.stop - self.start

    @property
    def width(self) -> int:
        """How many keys."""
        return sum(b - a for a, b in self.keys)

    @property
    def cost(self) -> int:
        """What it takes, in scores."""
        return self.queries * self.width + CALL_COST


@dataclass(frozen=True, slots=True)
class Group:
    """Tiles that are computed at once.

    Attributes:
        query_GQ: int64 [G, Q], the place of each query; N where a tile has fewer.
        key_GK: int64 [G, K], likewise.
        hidden_GQk: bool [G, Q, k], what a query does not see of the last k keys; of all before these every
            query sees all. So a long sample's masks grow with its tokens alone.
        ranges: for each tile its keys, as places.
    """

    query_GQ: Tensor
    key_GK: Tensor
    hidden_GQk: Tensor
    ranges: tuple[tuple[Range, ...], ...]


def tiles_of(packing: Packing, window: int | None) -> list[Tile]:
    """The tiles of packed rows, row by row."""
    tiles: list[Tile] = []
    for piece in _pieces(packing, window):
        if tiles:
            joint = _joined(tiles[-1], piece)
            if joint is not None and joint.cost <= tiles[-1].cost + piece.cost:
                tiles[-1] = joint
                continue
        tiles.append(piece)
    return tiles


def _pieces(packing: Packing, window: int | None) -> Iterator[Tile]:
    """Every block in equal stretches, so long that scores above the diagonal cost what calls would."""
    best = (2 * CALL_COST) ** 0.5
    for block in packing.blocks:
        length = block.stop - block.start
        parts = max(1, round(length / best), -(-length // MOST_QUERIES))
        edges = [block.start + length * part // parts for part in range(parts + 1)]
        for start, stop in pairwise(edges):
            yield Tile(block.row, start, stop, tuple(seen_ranges(block, start, stop, window)))


def seen_ranges(block: Block, start: int, stop: int, window: int | None) -> list[Range]:
    """The keys that some query of a stretch of a block sees, as ranges of the row; its own come last."""
    ranges = [*block.before, (block.start, stop)]
    if window is None:
        return ranges
    # The first query sees the last `window` of the keys up to itself.
    surplus = sum(b - a for a, b in block.before) + (start + 1 - block.start) - window
    kept: list[Range] = []
    for first, last in ranges:
        drop = min(max(surplus, 0), last - first)
        surplus -= drop
        if first + drop < last:
            kept.append((first + drop, last))
    return kept


def _joined(one: Tile, other: Tile) -> Tile | None:
    """A tile of the queries of two; None where they do not stand side by side or are too many."""
    if one.row != other.row or one.stop != other.start or other.stop - one.start > MOST_QUERIES:
        return None
    return Tile(one.row, one.start, other.stop, _union([*one.keys, *other.keys]))


def _union(ranges: Sequence[Range]) -> tuple[Range, ...]:
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return tuple(found)


def groups_of(packing: Packing, window: int | None) -> list[Group]:
    """The groups of packed rows, on the device of their ids."""
    tokens = packing.shape[1]
    ids = _Ids(packing, window)
    tiles = sorted(tiles_of(packing, window), key=lambda tile: (-tile.width, -tile.queries))
    groups: list[Group] = []
    chosen: list[Tile] = []
    for tile in tiles:
        if chosen and not _fits([*chosen, tile]):
            groups.append(ids.group(chosen, tokens))
            chosen = []
        chosen.append(tile)
    if chosen:
        groups.append(ids.group(chosen, tokens))
    return groups


def _fits(tiles: Sequence[Tile]) -> bool:
    most = len(tiles) * max(tile.queries for tile in tiles) * max(tile.width for tile in tiles)
    own = sum(tile.queries * tile.width for tile in tiles)
    return most <= GROUP_SCORES and own >= FILL * most


class _Ids:
    """Segments and branches by place, and what they hide."""

    def __init__(self, packing: Packing, window: int | None) -> None:
        self.window, self.device = window, packing.segment_ids_BT.device
        # The empty place behind all rows is of no segment, as padding is.
        self.segment_n, self.branch_n = (
            torch.cat([ids_BT.flatten(), ids_BT.new_zeros(1)]).to(torch.int32)
            for ids_BT in (packing.segment_ids_BT, packing.branch_ids_BT)
        )

    def group(self, tiles: Sequence[Tile], tokens: int) -> Group:
        """One group; ``tokens`` are those of a row."""
        empty = len(self.segment_n) - 1
        queries = _up(max(tile.queries for tile in tiles))
        keys = _up(max(tile.width for tile in tiles))
        query_GQ = torch.full((len(tiles), queries), empty)
        key_GK = torch.full((len(tiles), keys), empty)
        ranges = []
        for number, tile in enumerate(tiles):
            base = tile.row * tokens
            query_GQ[number, : tile.queries] = torch.arange(base + tile.start, base + tile.stop)
            own = tuple((base + a, base + b) for a, b in tile.keys)
            key_GK[number, : tile.width] = torch.cat([torch.arange(a, b) for a, b in own])
            ranges.append(own)
        query_GQ, key_GK = query_GQ.to(self.device), key_GK.to(self.device)
        hidden_GQK = self._hidden(query_GQ, key_GK, empty)
        columns_n = hidden_GQK.any(dim=0).any(dim=0).nonzero()
        first = int(columns_n[0]) if len(columns_n) else keys - 1
        return Group(query_GQ, key_GK, hidden_GQK[:, :, first:].clone(), tuple(ranges))

    def _hidden(self, query_GQ: Tensor, key_GK: Tensor, empty: int) -> Tensor:
        query_GQ1, key_G1K = query_GQ[:, :, None], key_GK[:, None]
        branch_G1K = self.branch_n[key_G1K]
        seen_GQK = self.segment_n[query_GQ1] == self.segment_n[key_G1K]
        seen_GQK &= key_G1K <= query_GQ1
        seen_GQK &= (branch_G1K == 0) | (branch_G1K == self.branch_n[query_GQ1])
        seen_GQK &= key_G1K < empty
        if self.window is not None and key_GK.shape[1] > self.window:
            # Keys stand in their order, and all that a query sees in its window are among them.
            behind_GQK = seen_GQK.flip(2).cumsum(2, dtype=torch.int32).flip(2)
            seen_GQK &= behind_GQK <= self.window
        # A query of the empty place sees all: no softmax runs over nothing, and nobody reads it.
        return ~seen_GQK & (query_GQ1 < empty)


def _up(count: int) -> int:
    return -(-count // MULTIPLE) * MULTIPLE
