"""From a plan to what is computed on."""

from __future__ import annotations

import numpy as np
import pytest

from pumice.data.plan import build_plan
from pumice.data.preflight import Preflight
from pumice.forecast.load import histogram, plan_load, quantiles


def checked(lengths: list[int]) -> Preflight:
    tokens = np.array(lengths)
    return Preflight({}, tokens, np.full_like(tokens, 2), np.full_like(tokens, 4), 0, np.zeros(0, np.int64))


def test_a_load_is_the_sum_over_the_plans_rows() -> None:
    found = checked([10, 20, 30, 40, 50, 60])
    plan = build_plan(found.lengths, found.supervised, seed=0, rows_per_step=2, row_length=64, epochs=2)
    load = plan_load(plan, found, np.array([1, 1, 1, 1, 0, 0]), kept=False)
    assert load.steps == len(plan)
    assert load.tokens == sum(plan.slots)
    flat = plan_load(plan, found, np.array([1, 1, 1, 1, 0, 0]), kept=False, flat=True)
    assert flat.tokens == 2 * sum((10, 20, 30, 40, 50, 60)) < load.tokens, "nothing pads it"
    widths = [slots // len(step) for slots, step in zip(plan.slots, plan.steps, strict=True)]
    assert load.squares == 2 * sum(length**2 for length in (10, 20, 30, 40, 50, 60))
    assert load.logits == sum(plan.supervised) == 2 * 6 * 2
    assert (load.images, load.image_tokens) == (2 * 4, 2 * 6 * 4)
    assert (load.row, load.rows) == (max(widths), 2)
    assert load.logits_per_row == 2 * max(len(row) for step in plan.steps for row in step)
    kept = plan_load(plan, found, np.array([1, 1, 1, 1, 0, 0]), kept=True)
    assert kept.images == 4, "a frozen tower whose features are kept reads each picture once"


def test_lengths_fall_into_bins_up_to_a_row() -> None:
    edges, counts = histogram(np.array([1, 5, 64, 127, 128]), 128, bins=4)
    assert edges == [0, 32, 64, 96, 128]
    assert counts == [2, 0, 1, 2]
    edges, counts = histogram(np.array([3, 700]), 700, bins=16)
    assert edges[-2:] == [640, 700]
    assert sum(counts) == 2
    assert quantiles(np.array([1, 2, 3, 10]))["max"] == 10


@pytest.mark.parametrize("row", [1, 7, 2048])
def test_edges_rise_to_the_row(row: int) -> None:
    edges, counts = histogram(np.array([1]), row)
    assert edges == sorted(set(edges))
    assert (edges[0], edges[-1]) == (0, row)
    assert len(counts) == len(edges) - 1
