from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pumice.data.grounding import BACKGROUND, assign_regions
from pumice.types import Box

B = BACKGROUND


def test_a_worked_example() -> None:
    boxes = [(0.0, 0.0, 0.75, 0.75), (0.5, 0.5, 1.0, 1.0), (0.8, 0.05, 0.9, 0.1)]
    owner, center = assign_regions(boxes, 4)
    # The large box covers nine patch centres; the smaller one takes what both cover, bottom right.
    # The third covers no patch centre at all and still has the patch of its own centre.
    assert owner.reshape(4, 4).tolist() == [
        [0, 0, 0, 2],
        [0, 0, 0, B],
        [0, 0, 1, 1],
        [B, B, 1, 1],
    ]
    assert center.tolist() == [1 * 4 + 1, 3 * 4 + 3, 0 * 4 + 3]
    assert owner.dtype == center.dtype == np.int64


def test_equal_boxes_share_by_distance() -> None:
    owner, _ = assign_regions([(0.0, 0.0, 0.75, 1.0), (0.25, 0.0, 1.0, 1.0)], 4)
    for row in owner.reshape(4, 4).tolist():
        assert row[0] == 0
        assert row[3] == 1
        assert row[1] == 0
        assert row[2] == 1


def test_a_small_box_keeps_its_centre_from_a_large_one_on_the_same_centre() -> None:
    owner, center = assign_regions([(0.45, 0.45, 0.55, 0.55), (0.0, 0.0, 1.0, 1.0)], 3)
    assert center.tolist() == [4, 4]
    assert owner.tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_no_boxes_and_a_box_at_the_far_edge() -> None:
    owner, center = assign_regions([], 3)
    assert owner.tolist() == [B] * 9
    assert center.shape == (0,)
    owner, center = assign_regions([(0.999, 0.999, 1.0, 1.0)], 3)
    assert center.tolist() == [8]
    assert owner[8] == 0


def _boxes() -> st.SearchStrategy[list[Box]]:
    # Millimetre corners, as files carry them.
    side = st.integers(0, 1000).flatmap(lambda a: st.integers(0, 1000).map(lambda b: sorted((a, b))))
    pair = side.filter(lambda ends: ends[0] < ends[1])
    box = st.tuples(pair, pair).map(
        lambda xy: (xy[0][0] / 1000, xy[1][0] / 1000, xy[0][1] / 1000, xy[1][1] / 1000)
    )
    return st.lists(box, min_size=1, max_size=6)


@given(_boxes(), st.integers(2, 14))
def test_smallest_box_over_a_patch_owns_it(boxes: list[Box], grid: int) -> None:
    owner, center = assign_regions(boxes, grid)
    area = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    assert {int(owner[c]) for c in center} <= set(range(len(boxes)))
    for patch, index in enumerate(owner.tolist()):
        x, y = (patch % grid + 0.5) / grid, (patch // grid + 0.5) / grid
        over = [i for i, (x1, y1, x2, y2) in enumerate(boxes) if x1 <= x <= x2 and y1 <= y <= y2]
        if patch in center:
            smallest = min(area[i] for i in range(len(boxes)) if center[i] == patch)
            assert area[index] <= smallest + 1e-12
        elif index == BACKGROUND:
            assert not over
        else:
            assert index in over
            assert area[index] <= min(area[i] for i in over) + 1e-6
