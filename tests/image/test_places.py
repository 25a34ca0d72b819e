"""Where tokens stand, against pixels that say where they are from: red is their x, green is their y."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumice.image.anyres import image_tiles, processor_for
from pumice.image.heat import heated
from pumice.image.layout import image_layout, video_layout
from pumice.image.places import Places, token_places
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.model.arrange import arrange

SIDE, FEATURES = 32, 4
GRIDS = ((32, 64), (64, 32), (64, 64), (96, 32), (32, 96))
SIZES = ((64, 64), (120, 50), (40, 110), (33, 31))
PLAIN = ImageProcessor(
    SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "squash", resample=int(Image.Resampling.BILINEAR)
)
TILED = LayoutSettings(SIDE, FEATURES, "anyres", "spatial_unpad", pinpoints=GRIDS)


def ramp(size: tuple[int, int]) -> Image.Image:
    wide, high = size
    x, y = np.meshgrid((np.arange(wide) + 0.5) / wide, (np.arange(high) + 0.5) / high)
    return Image.fromarray(np.rint(np.stack([x, y, np.ones_like(x)], -1) * 255).astype(np.uint8))


def means(tiles_N3HW: Any, features: int = FEATURES) -> torch.Tensor:
    """A tower that says of each patch its mean color: [N, P, 3]."""
    patch = SIDE // features
    pooled = torch.nn.functional.avg_pool2d(
        torch.from_numpy(tiles_N3HW)[..., : patch * features, : patch * features], patch
    )
    return pooled.flatten(2).transpose(1, 2)


def check(places: Places, tokens_T3: torch.Tensor, size: tuple[int, int]) -> None:
    """Each token that shows a part of the picture alone has its box where its pixels are from."""
    assert len(places.boxes_T4) == len(tokens_T3)
    boxes, seen = places.boxes_T4, tokens_T3.numpy()
    # Padding is black: it dims a patch, and what is left of its color is that of the picture's part in it.
    seen_T = places.shown_T & (seen[:, 2] > 0.3)
    assert seen_T.sum() >= 6
    centers = (boxes[seen_T, :2] + boxes[seen_T, 2:]) / 2
    assert np.abs(centers - seen[seen_T, :2] / seen[seen_T, 2:]).max() < 0.03 + 1.0 / min(size)
    assert not (places.shown_T & (seen[:, 2] < 0.02)).any(), "padding has a place"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["squash", "pad", "crop"])
def test_a_square(mode: Any, size: tuple[int, int]) -> None:
    processor = replace(PLAIN, mode=mode, mean=(0.0, 0.0, 0.0))
    layout = image_layout((SIDE, SIDE), LayoutSettings(SIDE, FEATURES, mode))
    tokens = arrange(means(image_tiles(ramp(size), processor)), layout)
    check(token_places(layout, processor, size), tokens, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"merge": "spatial"},
        {"merge": "flat"},
        {"max_tiles": 1},
        {"flavour": "transformers"},
        {"newline": False},
    ],
)
def test_tiles(changes: dict[str, Any], size: tuple[int, int]) -> None:
    settings = replace(TILED, **changes)
    processor = processor_for(PLAIN.with_mode("anyres", GRIDS), settings)
    layout = image_layout(size, settings)
    newline = torch.full((3,), -1.0)
    tokens = arrange(means(image_tiles(ramp(size), processor)), layout, newline)
    places = token_places(layout, processor, size)
    check(places, tokens, size)
    assert (~places.features_T == (tokens[:, 0].numpy() < 0)).all(), "newlines are where newlines are"


def test_class_tokens_and_marks_of_lines_have_no_place() -> None:
    settings = replace(TILED, merge="flat", class_tokens=1)
    layout = image_layout((64, 64), settings)
    places = token_places(layout, PLAIN.with_mode("anyres", GRIDS), (64, 64))
    blank = np.flatnonzero(~places.shown_T)
    assert blank.tolist() == [tile * 17 for tile in range(layout.tiles)]
    assert places.features_T.all()
    one = image_layout((64, 64), TILED.for_sample(2))
    assert token_places(one, PLAIN, (64, 64)).features_T.tolist() == [True] * 16 + [False]


@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "none"])
@pytest.mark.parametrize("pooling", ["average", "bilinear"])
def test_a_video(newline: Any, pooling: Any) -> None:
    video = VideoSettings(frames=3, aspect="squash", stride=2, pooling=pooling, newline=newline)
    settings = replace(TILED, video=video)
    layout = video_layout(3, settings)
    frame = image_tiles(ramp((50, 40)), PLAIN)
    tokens = arrange(means(np.repeat(frame, 3, 0)), layout, torch.full((3,), -1.0))
    places = token_places(layout, PLAIN.with_mode("anyres", GRIDS), (50, 40))
    assert places.frames == 3
    check(places, tokens, (50, 40))
    assert places.spread(np.ones(len(tokens))).sum((1, 2)) == pytest.approx([4, 4, 4])


def test_a_map_keeps_what_is_spread_and_where() -> None:
    settings = replace(TILED, merge="spatial")
    layout = image_layout((120, 50), settings)
    places = token_places(layout, PLAIN.with_mode("anyres", GRIDS), (120, 50))
    values = np.random.default_rng(0).random(len(places.boxes_T4))
    heat = places.spread(values)
    assert heat.shape[0] == 1
    assert heat.sum() == pytest.approx(values[places.shown_T].sum())
    corner = np.zeros_like(values)
    corner[0] = 1.0  # the base's first patch: the top left sixteenth
    rows, columns = heat.shape[1:]
    assert places.spread(corner)[0, : -(-rows // 4), : -(-columns // 4)].sum() == pytest.approx(1)


def test_hot_places_keep_their_colors_and_cold_ones_fade() -> None:
    image = Image.new("RGB", (40, 20), (0, 0, 255))
    shown = np.asarray(heated(image, np.array([[1.0, 0.0]])), np.int64)
    assert shown.shape == (20, 40, 3)
    assert shown[10, 4, 0] > shown[10, 4, 1] + 60, "hot is tinted"
    assert np.ptp(shown[10, 36]) < 90, "cold is nearly grey"
    assert np.asarray(heated(image, np.zeros((2, 2)))).std() > 0  # no heat at all is drawn, too
