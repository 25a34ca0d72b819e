"""What a tower sees, as a picture again."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pumice.image.anyres import image_tiles, processor_for
from pumice.image.config import CLIP_MEAN, CLIP_STD
from pumice.image.layout import image_layout, video_layout
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.image.view import GAP, plain, seen

PROCESSOR = ImageProcessor(28, CLIP_MEAN, CLIP_STD, mode="pad")


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_normalisation_is_taken_back_to_the_last_digit() -> None:
    image = picture(40, 30)
    assert np.array_equal(plain(PROCESSOR(image), PROCESSOR), PROCESSOR.squared(image))


def test_tiles_stand_as_a_grid_beside_the_whole() -> None:
    settings = LayoutSettings(
        side=28, features=2, aspect="anyres", merge="spatial_unpad", pinpoints=((56, 28), (28, 56))
    )
    image = picture(80, 30)
    layout = image_layout(image.size, settings)
    cutter = processor_for(PROCESSOR, settings)
    tiles = image_tiles(image, cutter)
    shown = seen(tiles, layout, cutter)
    assert layout.grid == (2, 1)
    assert shown.size == (28 + 2 * GAP + 28 + GAP + 28, 28)
    last = shown.crop((shown.width - 28, 0, shown.width, 28))
    assert np.array_equal(last, plain(tiles[2], cutter))


def test_frames_stand_side_by_side() -> None:
    settings = LayoutSettings(side=28, features=2, video=VideoSettings(newline="none", stride=1))
    frames = np.stack([PROCESSOR(picture(30, 30))] * 3)
    assert seen(frames, video_layout(3, settings), PROCESSOR).size == (3 * 28 + 2 * GAP, 28)
