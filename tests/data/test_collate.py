from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumice.data import collate
from pumice.errors import DataError
from pumice.model.attention import visibility_mask
from pumice.types import IGNORE_INDEX, Batch, Encoded, ImageSpan, PackedImage

from .parts import encoded, sample

A, B = Path("a.png"), Path("b.png")


def item(index: int, made: Encoded, images: tuple[Path, ...] = ()) -> tuple[int, Encoded, Any]:
    return index, made, sample(index, images)


def test_a_worked_example() -> None:
    batch = collate(
        [
            [item(7, encoded(3, first=10)), item(2, encoded(4, first=20, spans=[(1, 2)]), (A,))],
            [item(5, encoded(2, branches=[2, 3], learnt=0, first=30))],
        ],
        None,
        pad_id=9,
    )
    _ = IGNORE_INDEX
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 22, 23, 9], [30, 31, 32, 33, 34, 35, 36, 9]]
    assert batch.labels.tolist() == [[_, _, 12, _, _, _, 23, _], [_, _, _, 33, _, _, 36, _]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 2, 3, 4, 0]]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 1, 0]]
    assert batch.branch_ids.tolist() == [[0] * 8, [0, 0, 1, 1, 2, 2, 2, 0]]
    assert batch.images == (PackedImage(A, 0, 4, 2, 2),)
    assert batch.samples == (7, 2, 5)
    assert batch.supervised == 4
    assert all(array.dtype == np.int64 for array in (batch.input_ids, batch.labels, batch.position_ids))


def test_widths() -> None:
    row = [item(0, encoded(9))]
    assert collate([row], None, 0).input_ids.shape == (1, 16)
    assert collate([row], 11, 0).input_ids.shape == (1, 11)
    assert collate([row, [item(1, encoded(16))]], None, 0).input_ids.shape == (2, 16)
    with pytest.raises(DataError, match="row 1 has 9 tokens, a row holds 8") as caught:
        collate([[item(0, encoded(3))], row], 8, 0)
    assert caught.value.where == "s.json, row 0"


def test_images_come_by_row_and_place_whatever_order_their_spans_have() -> None:
    made = encoded(8, spans=[(4, 2), (1, 2)])
    made = replace(made, image_spans=(ImageSpan(0, 4, 2), ImageSpan(1, 1, 2)))
    batch = collate([[item(0, made, (A, B)), item(1, made, (A, B))], [item(2, made, (B, A))]], None, 0)
    assert [(image.path, image.row, image.start, image.sample) for image in batch.images] == [
        (B, 0, 1, 0),
        (A, 0, 4, 0),
        (B, 0, 9, 1),
        (A, 0, 12, 1),
        (A, 1, 1, 2),
        (B, 1, 4, 2),
    ]


def visibility(batch: Batch) -> np.ndarray:
    """Which token sees which, as the model computes it: bool [B, T, T], queries along the second axis."""
    return visibility_mask(torch.from_numpy(batch.segment_ids), torch.from_numpy(batch.branch_ids)).numpy()


def brute_force(batch: Batch) -> np.ndarray:
    """The rule of ``Batch``, pair by pair; a token of padding sees itself alone."""
    rows, width = batch.input_ids.shape
    seen = np.zeros((rows, width, width), bool)
    for b in range(rows):
        for q in range(width):
            for k in range(q + 1):
                own = batch.branch_ids[b, k] in (0, batch.branch_ids[b, q])
                together = batch.segment_ids[b, q] == batch.segment_ids[b, k] > 0
                seen[b, q, k] = (own and together) or q == k
    return seen


ITEMS = st.tuples(st.integers(2, 5), st.lists(st.integers(2, 3), max_size=3))


@given(st.lists(st.lists(ITEMS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_the_mask_is_the_rule_and_samples_come_back_whole(
    rows: list[list[tuple[int, list[int]]]],
) -> None:
    made = [[encoded(length, branches=branches) for length, branches in row] for row in rows]
    batch = collate([[item(i, one) for i, one in enumerate(row)] for row in made], None, 0)
    seen = visibility(batch)
    np.testing.assert_array_equal(seen, brute_force(batch))
    assert seen.diagonal(axis1=1, axis2=2).all()
    padding = batch.segment_ids == 0
    assert not (seen & (padding[:, None, :] != padding[:, :, None])).any()
    assert batch.supervised == sum(one.supervised for row in made for one in row)
    for b, row in enumerate(made):
        for segment, one in enumerate(row, start=1):
            here = batch.segment_ids[b] == segment
            np.testing.assert_array_equal(batch.input_ids[b, here], one.input_ids)
            np.testing.assert_array_equal(batch.labels[b, here], one.labels)
            np.testing.assert_array_equal(batch.position_ids[b, here], one.position_ids)
            np.testing.assert_array_equal(batch.branch_ids[b, here], one.branch_ids)


def test_branches_do_not_see_each_other() -> None:
    seen = visibility(collate([[item(0, encoded(2, branches=[2, 2]))]], 6, 0))[0]
    assert seen.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_samples_of_a_row_and_padding_do_not_see_each_other() -> None:
    seen = visibility(collate([[item(0, encoded(2)), item(1, encoded(1, learnt=0))]], 5, 0))[0]
    assert seen.astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


WHOLE = encoded(6, spans=[(1, 2)])


@pytest.mark.parametrize(
    ("made", "images", "message"),
    [
        (replace(WHOLE, labels=WHOLE.labels[1:]), (A,), "labels has shape"),
        (replace(WHOLE, position_ids=WHOLE.position_ids[:, None]), (A,), "position_ids has shape"),
        (replace(WHOLE, branch_ids=WHOLE.branch_ids[:3]), (A,), "branch_ids has shape"),
        (replace(WHOLE, labels=WHOLE.labels + (WHOLE.labels > 0)), (A,), "a label differs from its token"),
        (WHOLE, (), r"1 image spans .* for 0 images"),
        (WHOLE, (A, B), r"1 image spans .* for 2 images"),
        (replace(WHOLE, image_spans=()), (A,), r"0 image spans .* for 1 images"),
        (replace(WHOLE, image_spans=(ImageSpan(1, 1, 2),)), (A,), r"1 image spans \(\[1\]\) for 1 images"),
        (encoded(6, spans=[(1, 2), (2, 1)]), (A, B), "the span before it ends at 3"),
        (encoded(6, spans=[(5, 2)]), (A,), "fills 2 tokens from 5 of 6"),
        (encoded(6, spans=[(5, 1)]), (A,), "image 0 has supervised tokens"),
        (encoded(3, learnt=3), (), "token 0 is supervised but begins"),
        (encoded(0, branches=[2, 1]), (), "token 2 is supervised but begins"),
        (encoded(0, learnt=0), (), "has no tokens"),
    ],
)
def test_parts_that_do_not_agree_are_refused(made: Encoded, images: tuple[Path, ...], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        collate([[item(4, made, images)]], None, 0)
    assert caught.value.where == "s.json, row 4"
    assert caught.value.remedy


def test_a_branch_may_begin_with_its_answer() -> None:
    """The trunk's last token predicts it, whatever stands between."""
    """Its first token follows the trunk, which predicts it."""
    assert collate([[item(0, encoded(3, branches=[1]))]], None, 0).supervised == 2
    assert collate([[item(0, encoded(3, branches=[2, 1]))]], None, 0).supervised == 3
