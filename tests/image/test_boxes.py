from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pumice.image.boxes import map_box
from pumice.image.process import ImageProcessor
from pumice.types import Box

HALF = (0.5, 0.5, 0.5)


def processor(mode: str, edge: int = 32) -> ImageProcessor:
    return ImageProcessor(image_size=32, mean=HALF, std=HALF, mode=mode, shortest_edge=edge)  # type: ignore[arg-type]


def test_worked_examples() -> None:
    box = (0.25, 0.0, 0.75, 0.5)
    assert map_box(box, (200, 100), processor("squash")) == box
    # A wide picture stands in the middle of its square: its height is half of it, from a quarter on.
    assert map_box(box, (200, 100), processor("pad")) == (0.25, 0.25, 0.75, 0.5)
    assert map_box(box, (100, 200), processor("pad")) == (0.375, 0.0, 0.625, 0.5)
    # Of a wide picture the middle half is cut out.
    assert map_box(box, (200, 100), processor("crop")) == (0.0, 0.0, 1.0, 0.5)
    assert map_box(box, (100, 100), processor("crop")) == box


def test_a_box_that_a_crop_cuts() -> None:
    # The left quarter of a picture twice as wide as high is lost.
    assert map_box((0.0, 0.0, 0.25, 1.0), (200, 100), processor("crop")) is None
    assert map_box((0.1, 0.0, 0.3, 1.0), (200, 100), processor("crop")) is None  # a quarter of it is left
    left = map_box((0.2, 0.0, 0.4, 1.0), (200, 100), processor("crop"))  # three quarters of it
    assert left == pytest.approx((0.0, 0.0, 0.3, 1.0))
    half = map_box((0.125, 0.0, 0.375, 1.0), (200, 100), processor("crop"))  # exactly half of it
    assert half == pytest.approx((0.0, 0.0, 0.25, 1.0))


def test_a_resize_beyond_the_crop() -> None:
    """The short side becomes 64, of which the middle 32 are kept: half of each side."""
    assert map_box((0.25, 0.25, 0.75, 0.75), (64, 64), processor("crop", 64)) == (0.0, 0.0, 1.0, 1.0)
    assert map_box((0.5, 0.5, 0.75, 0.75), (64, 64), processor("crop", 64)) == (0.5, 0.5, 1.0, 1.0)


def test_a_box_without_area_is_none_after_a_crop() -> None:
    assert map_box((0.5, 0.5, 0.5, 0.5), (64, 64), processor("crop")) is None


SIZES = st.tuples(st.integers(20, 400), st.integers(20, 400))


@given(SIZES, st.sampled_from(["pad", "crop", "squash"]))
def test_boxes_stay_inside_and_upright(size: tuple[int, int], mode: str) -> None:
    for box in ((0.0, 0.0, 1.0, 1.0), (0.3, 0.4, 0.6, 0.7), (0.9, 0.1, 1.0, 0.2)):
        moved = map_box(box, size, processor(mode))
        if moved is not None:
            x1, y1, x2, y2 = moved
            assert -1e-9 <= x1 < x2 <= 1 + 1e-9
            assert -1e-9 <= y1 < y2 <= 1 + 1e-9


@pytest.mark.parametrize("mode", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(96, 96), (160, 96), (96, 160)])
def test_the_box_is_where_the_pixels_go(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    """A white box on black, through the processor itself: its edges are those that are computed."""
    width, height = size
    box: Box = (0.4, 0.45, 0.6, 0.7)
    left, top, right, bottom = (round(v * n) for v, n in zip(box, (width, height) * 2, strict=True))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top:bottom, left:right] = 255
    chosen = processor(mode)
    pixels = chosen(Image.fromarray(picture))[0]
    assert pixels.shape == (32, 32)
    bright_rows, bright_columns = np.nonzero(pixels > 0.5)
    exact = (left / width, top / height, right / width, bottom / height)
    moved = map_box(exact, size, chosen)
    assert moved is not None
    found = (bright_columns.min(), bright_rows.min(), bright_columns.max() + 1, bright_rows.max() + 1)
    np.testing.assert_allclose(np.array(found) / 32, moved, atol=1.01 / 32)
