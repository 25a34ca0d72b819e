from __future__ import annotations

import numpy as np
import pytest
import torch

from pumice.errors import DataError
from pumice.train.grounding import (
    NO_TOKEN,
    cell_embeddings,
    grounding_loss,
    lay_out,
    nearest_words,
    position_weights,
)
from pumice.types import Region

WORDS = {"red": 1, "star": 2, "sign": 3, "A": 4, "7": 5, "there": 6}


def encode(text: str) -> list[int]:
    assert text.startswith(" "), "phrases are encoded as they stand inside a sentence"
    return [WORDS[word] for word in text.split()]


def words(cells: np.ndarray, patch: int) -> list[int]:
    return [int(token) for token in cells[patch] if token != NO_TOKEN]


# A star in the top left quarter and, along the bottom, a sign of two characters.
REGIONS = [
    Region((0.0, 0.0, 0.5, 0.5), "red star"),
    Region((0.0, 0.7, 1.0, 1.0), "sign"),
    Region((0.1, 0.75, 0.45, 0.95), "A"),
    Region((0.55, 0.75, 0.9, 0.95), "7"),
]


def test_a_worked_example() -> None:
    cells = lay_out(REGIONS, 4, encode, "there").words
    assert cells.shape == (16, 8)
    assert cells.dtype == np.int32
    wanted = [
        [[1, 2], [1, 2], [], []],
        [[1, 2], [1, 2, 6], [], []],
        [[], [], [], []],
        # A character also says what it stands on; the sign, not its characters, is a thing to count.
        [[4, 3], [4, 3], [3, 6], [5, 3]],
    ]
    found = [[words(cells, 4 * row + column) for column in range(4)] for row in range(4)]
    # The patch of a box's centre is its own: 0.725 of 4 patches is column 2, which the sign's centre takes.
    assert found[:3] == wanted[:3]
    assert found[3][0] == [4, 3]
    assert found[3][2] in ([3, 6], [5, 3, 6])
    assert sum(6 in cell for row in found for cell in row) == 2


def test_without_a_centre_word_nothing_is_marked() -> None:
    cells = lay_out(REGIONS, 4, encode, None).words
    assert not (cells == WORDS["there"]).any()


def test_no_regions_no_words() -> None:
    assert (lay_out([], 3, encode, "there").words == NO_TOKEN).all()


def test_a_phrase_that_does_not_fit_is_named() -> None:
    long = Region((0.0, 0.0, 1.0, 1.0), "red red red star")
    assert words(lay_out([long], 1, encode, "there", slots=5).words, 0) == [1, 1, 1, 2, 6]
    with pytest.raises(DataError, match="'red red red star' has 4 tokens; a cell holds 3"):
        lay_out([long], 1, encode, "there", slots=4)


def test_equal_boxes_are_not_parts_of_each_other() -> None:
    twins = [Region((0.0, 0.0, 1.0, 1.0), "red"), Region((0.0, 0.0, 1.0, 1.0), "star")]
    cells = lay_out(twins, 1, encode, None).words
    assert words(cells, 0) in ([1], [2])


def test_boxes_around_a_box_never_overflow_its_cells() -> None:
    """The nearest ones are kept, whatever the order of the rows."""
    nested = [Region((0.1 * i, 0.1 * i, 1 - 0.1 * i, 1 - 0.1 * i), "red star") for i in range(4)]
    nested[1] = Region(nested[1].box, "sign A")
    nested[3] = Region(nested[3].box, "7")
    for regions in (nested, nested[::-1]):
        cells = lay_out(regions, 8, encode, "there", slots=6).words
        inner = next(patch for patch in range(64) if 5 in cells[patch])
        # "7", then "red star" around it and "sign A" around that; the outermost has no room.
        assert sorted(words(cells, inner)) in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
    assert sum(6 in words(cells, patch) for patch in range(64)) == 1


def test_marks_that_share_a_patch_are_all_there_or_refused() -> None:
    twins = [Region((0.0, 0.0, 1.0, 1.0), "red star"), Region((0.0, 0.0, 1.0, 1.0), "red star")]
    assert words(lay_out(twins, 1, encode, "there", slots=4).words, 0) == [1, 2, 6, 6]
    with pytest.raises(DataError, match="marks of 2 objects"):
        lay_out(twins, 1, encode, "there", slots=3)


def test_a_thing_has_one_place_in_all_its_patches() -> None:
    """Its box's centre, not the patch's; background has its patch's own."""
    places = lay_out([Region((0.0, 0.1, 0.6, 0.5), "red star")], 4, encode, None).places
    assert places.dtype == np.float32
    star = [0, 1, 4, 5]
    np.testing.assert_allclose(places[star], [[0.3, 0.3]] * 4, atol=1e-6)
    np.testing.assert_allclose(places[[2, 15]], [[0.625, 0.125], [0.875, 0.875]])


def test_positions_are_blends_of_left_right_top_bottom() -> None:
    weights = position_weights(torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 1.0]]))
    assert weights.tolist() == [[0.75, 0.25, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25], [0.5, 0.5, 0.0, 1.0]]


def test_the_wanted_feature_is_a_sum_of_embeddings() -> None:
    table = torch.randn(8, 5)
    cells = torch.tensor([[[1, 2, NO_TOKEN], [NO_TOKEN] * 3, [3, 3, 6], [NO_TOKEN] * 3]], dtype=torch.int32)
    places = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]])
    plain = cell_embeddings(table, cells, places, None)
    assert plain.shape == (1, 4, 5)
    torch.testing.assert_close(plain[0, 0], table[1] + table[2])
    torch.testing.assert_close(plain[0, 2], 2 * table[3] + table[6])
    assert (plain[0, 1] == 0).all()
    placed = cell_embeddings(table, cells, places, torch.tensor([4, 5, 6, 7]))
    left, right, top, bottom = table[4:8]
    torch.testing.assert_close(placed[0, 1], 0.25 * left + 0.75 * right + 0.75 * top + 0.25 * bottom)
    torch.testing.assert_close(
        placed[0, 0] - plain[0, 0], 0.75 * left + 0.25 * right + 0.75 * top + 0.25 * bottom
    )


def test_the_loss_is_a_share_of_the_variance() -> None:
    wanted = torch.randn(2, 9, 6)
    assert grounding_loss(wanted, wanted).item() == 0
    mean = wanted.mean().expand_as(wanted)
    assert grounding_loss(mean, wanted).item() == pytest.approx(1.0, rel=0.02)
    assert grounding_loss(10 * mean, 10 * wanted).item() == pytest.approx(1.0, rel=0.02)
    halves = grounding_loss(wanted.bfloat16(), wanted)
    assert halves.dtype == torch.float32
    assert halves.item() < 1e-4


def test_the_nearest_word_is_found_under_what_words_share() -> None:
    table = torch.eye(9, 12)
    table[:6] *= torch.tensor(
        [[1.0], [1.0], [1.0], [1.0], [1.0], [5.0]]
    )  # one word is louder than the others
    table[:6, 9] = 20.0  # what six colours have in common drowns what tells them apart
    table[6:, 10] = 20.0
    choices = {"color": [0, 1, 2, 3, 4, 5], "shape": [6, 7, 8]}
    image = table[[4, 1]] + table[[8, 6]]
    nearest = nearest_words(image, table, choices)
    assert nearest["color"].tolist() == [4, 1]
    assert nearest["shape"].tolist() == [2, 0]


def test_what_words_share_is_taken_off_the_feature_too() -> None:
    """What three words share leans towards one of them: the feature of another is still its own."""
    table = torch.tensor([[4.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    assert nearest_words(table[[1, 2]], table, {"color": [0, 1, 2]})["color"].tolist() == [1, 2]
