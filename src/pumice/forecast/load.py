"""From a plan and what was counted to what is computed on (``cost.shape.Load``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pumice.cost.shape import DENSE, Load
from pumice.data.plan import Plan
from pumice.data.preflight import Preflight
from pumice.data.samples import Samples, images_at
from pumice.image.layout import ImageLayout
from pumice.image.video import Extent
from pumice.model.geometry import Geometry
from pumice.types import IntArray, Picture


def tiles_of(samples: Samples, extents: Mapping[Picture, Extent], geometry: Geometry) -> IntArray:
    """How many inputs the tower gets of each sample, int64 [samples]."""
    uses = [np.diff(table.columns.use_start)[rows] for table, rows in samples.parts]
    counts = np.concatenate(uses).astype(np.int64) if uses else np.zeros(0, np.int64)
    if geometry.fixed and geometry.settings.video is None:
        return counts
    for index in np.flatnonzero(counts).tolist():
        shown = [extents[picture] for picture in images_at(samples, index)]
        counts[index] = sum(layout.tiles for layout in geometry.layouts(shown))
    return counts


def views_of(
    shown: Sequence[tuple[Samples, Mapping[Picture, Extent]]], geometry: Geometry
) -> tuple[int, int]:
    """How many different views some samples show all together, and the tower's inputs of them.

    Args:
        shown: samples to train on and samples to validate on, each with the sizes of their pictures.
        geometry: how they are laid out.
    """
    if geometry.fixed and geometry.settings.video is None:
        count = len(set().union(*[_pictures(samples) for samples, _ in shown]))
        return count, count
    views: set[tuple[Picture, ImageLayout]] = set()
    for samples, extents in shown:
        for index in range(len(samples)):
            pictures = images_at(samples, index)
            layouts = geometry.layouts([extents[picture] for picture in pictures])
            views.update(zip(pictures, layouts, strict=True))
    return len(views), sum(layout.tiles for _, layout in views)


def _pictures(samples: Samples) -> set[tuple[str, str, int]]:
    """What tells the pictures of samples apart; no path is made of any, which would take its time."""
    found: set[tuple[str, str, int]] = set()
    for table, rows in samples.parts:
        columns, root = table.columns, str(table.root)
        chosen = np.zeros(len(table), np.bool_)
        chosen[rows] = True
        for number in np.unique(columns.uses[np.repeat(chosen, np.diff(columns.use_start))]).tolist():
            file = int(columns.picture_file[number])
            if file < 0:
                found.add((root, table.picture_name(number), -1))
            else:
                found.add((table.head.files[file], "", int(columns.picture_start[number])))
    return found


def used_samples(samples: Samples, plan: Plan) -> Samples:
    """The samples that a plan shows."""
    unused = np.ones(len(samples), np.bool_)
    for step in range(len(plan)):
        unused[list(plan.samples(step))] = False
    return samples.without(np.flatnonzero(unused))


def plan_load(
    plan: Plan, checked: Preflight, tiles: IntArray, *, kept: bool, dense: bool = False, flat: bool = False
) -> Load:
    """What a stage computes on.

    Args:
        plan: its steps.
        checked: what was counted of its samples.
        tiles: the tower's inputs of each sample, int64 [samples].
        kept: a frozen tower's features are kept: each picture goes through it once.
        dense: attention computes whole rows, and what nobody sees of them, too.
        flat: samples are laid end to end, so that nothing pads them (``lays_flat``). A row is then counted as
            long as it would be padded, which is a little more than it takes.
    """
    members = [np.array(plan.samples(step), np.int64) for step in range(len(plan))]
    everything = np.concatenate(members)
    rows = np.array([len(step) for step in plan.steps], np.int64)
    slots = np.array(plan.slots, np.int64)
    widths = slots // rows
    seen = np.unique(everything) if kept else everything
    counts = np.array([len(row) for step in plan.steps for row in step], np.int64)
    per_row = np.add.reduceat(checked.supervised[everything], np.cumsum(counts) - counts).max()
    # What samples of a row do not see of each other is not computed (branches see even less).
    squares = (checked.lengths[everything].astype(np.float64) ** 2).sum()
    if dense:
        squares = (rows * DENSE * widths.astype(np.float64) ** 2).sum()
    return Load(
        steps=len(plan),
        tokens=float(sum(plan.tokens) if flat else slots.sum()),
        squares=float(squares),
        logits=float(sum(plan.supervised)),
        images=float(tiles[seen].sum()),
        image_tokens=float(checked.image_tokens[everything].sum()),
        row=int(widths.max()),
        rows=int(rows.max()),
        images_per_step=float(max(int(tiles[part].sum()) for part in members)),
        logits_per_row=float(per_row),
    )


def histogram(lengths: IntArray, row: int, bins: int = 16) -> tuple[list[int], list[int]]:
    """Edges and counts of lengths up to a row's; the last bin ends with the row."""
    width = max(1, _round_up(row / bins))
    edges = [*range(0, row, width), row]
    counts, _ = np.histogram(lengths, [*edges[:-1], max(row, int(lengths.max(initial=0))) + 1])
    return edges, [int(count) for count in counts]


def _round_up(number: float) -> int:
    """The next of 1, 2, 4, 8, ... (as rows are)."""
    size = 1
    while size < number:
        size *= 2
    return size


def quantiles(lengths: IntArray) -> dict[str, float]:
    """The shortest, some between, the longest, and the mean."""
    points: Sequence[tuple[str, float]] = (("min", 0), ("p10", 10), ("median", 50), ("p90", 90), ("p99", 99))
    found = {name: float(np.percentile(lengths, share)) for name, share in points}
    return {**found, "max": float(lengths.max()), "mean": float(lengths.mean())}
