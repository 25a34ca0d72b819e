from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.image.anyres import cut_tiles, image_tiles, on_canvas, processor_for, sample_tiles
from pumice.image.boxes import map_box
from pumice.image.decode import image_size, open_image
from pumice.image.layout import image_layout
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, parse_pinpoints

from .parts import next_hf_settings, noise, random_sizes

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NEXT = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
GRIDS = [[32 * high, 32 * wide] for high in range(1, 5) for wide in range(1, 5)]
SIZES = [*random_sizes(40, 400), (1, 1), (1, 150), (200, 1), (32, 32), (64, 32), (32, 96), (333, 2)]


def tiler(numbers: list[list[int]], flavour: Any = "transformers") -> ImageProcessor:
    pinpoints = parse_pinpoints(numbers, 32, flavour)
    return ImageProcessor(32, MEAN, STD, "anyres", pinpoints=pinpoints)


def settings(numbers: list[list[int]], flavour: Any = "transformers", **changes: Any) -> LayoutSettings:
    return LayoutSettings(
        side=32,
        features=4,
        aspect="anyres",
        merge="spatial_unpad",
        flavour=flavour,
        pinpoints=parse_pinpoints(numbers, 32, flavour),
        **changes,
    )


def original_tiles(image: Image.Image, pinpoints: list[list[int]], side: int) -> list[Image.Image]:
    """LLaVA-NeXT's steps, told again: canvas, ceiling, black, row by row, the squashed base first."""
    w, h = image.size
    best: tuple[int, int] | None = None
    kept, lost = -1, 0
    for a, b in pinpoints:
        s = min(a / w, b / h)
        use = min(int(w * s) * int(h * s), w * h)
        if use > kept or (use == kept and a * b - use < lost):
            best, kept, lost = (a, b), use, a * b - use
    assert best is not None
    a, b = best
    scale = min(a / w, b / h)
    new = (min(math.ceil(w * scale), a), min(math.ceil(h * scale), b))
    new = (a, new[1]) if a / w < b / h else (new[0], b)
    pixels = np.zeros((b, a, 3), np.uint8)
    x, y = (a - new[0]) // 2, (b - new[1]) // 2
    pixels[y : y + new[1], x : x + new[0]] = np.asarray(image.resize(new, Image.Resampling.BICUBIC))
    tiles = [
        pixels[top : top + side, left : left + side]
        for top in range(0, b, side)
        for left in range(0, a, side)
    ]
    base = image.resize((side, side), Image.Resampling.BICUBIC)
    return [base, *(Image.fromarray(np.ascontiguousarray(tile)) for tile in tiles)]


@pytest.mark.parametrize(("kind", "numbers"), [("llava_next", NEXT), ("llava_onevision", GRIDS)])
def test_equal_to_transformers(kind: str, numbers: list[list[int]]) -> None:
    module = pytest.importorskip(f"transformers.models.{kind}.image_processing_pil_{kind}")
    name = {"llava_next": "LlavaNext", "llava_onevision": "LlavaOnevision"}[kind] + "ImageProcessorPil"
    square = {"height": 32, "width": 32}
    sizes: dict[str, Any] = {"size": square}
    if kind == "llava_next":
        sizes = {"size": {"shortest_edge": 32}, "crop_size": square}
    theirs = getattr(module, name)(image_grid_pinpoints=numbers, **sizes)
    ours = ImageProcessor.from_dict(theirs.to_dict())
    assert ours == tiler(numbers)
    for seed, size in enumerate(SIZES):
        image = noise(size, seed)
        expected = theirs(image, return_tensors="np")["pixel_values"][0]
        found = image_tiles(image, ours)
        assert found.dtype == np.float32
        assert found.shape == expected.shape, size
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("numbers", [NEXT, GRIDS])
def test_equal_to_the_original_s_steps(numbers: list[list[int]]) -> None:
    ours = tiler(numbers, "original")
    for seed, size in enumerate(SIZES):
        image = noise(size, seed)
        found, expected = cut_tiles(image, ours), original_tiles(image, numbers, 32)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_the_original_s_canvases_saved_for_transformers_make_the_same_tiles() -> None:
    module = pytest.importorskip("transformers.models.llava_next.image_processing_pil_llava_next")
    ours = tiler(NEXT, "original")
    assert ImageProcessor.from_dict(ours.to_dict()) == ours
    config = {key: value for key, value in ours.to_dict().items() if key != "image_processor_type"}
    theirs = module.LlavaNextImageProcessorPil(**config)
    for size in SIZES[:20]:
        expected = theirs(noise(size), return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(image_tiles(noise(size), ours), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("flavour", ["original", "transformers"])
def test_as_many_tiles_as_the_layout_counts(flavour: Any) -> None:
    for size in SIZES:
        layout = image_layout(size, settings(GRIDS, flavour))
        assert image_tiles(noise(size), tiler(GRIDS, flavour)).shape == (layout.tiles, 3, 32, 32)


def test_tiles_lie_row_by_row_on_black() -> None:
    image = Image.new("RGB", (64, 40), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 40))
    base, *tiles = (np.asarray(tile, int) for tile in cut_tiles(image, tiler(NEXT)))
    assert len(tiles) == 4
    assert base[16, 4].tolist() == [255, 0, 0]
    assert base[0, 30].tolist() == [0, 0, 255]  # the base is squashed and has no padding
    assert tiles[0][0].max() == tiles[1][0].max() == tiles[2][31].max() == tiles[3][31].max() == 0
    assert tiles[0][31, 10].tolist() == tiles[2][0, 10].tolist() == [255, 0, 0]
    assert tiles[1][31, 20].tolist() == tiles[3][0, 20].tolist() == [0, 0, 255]


def test_an_odd_rest_of_padding_lies_right_and_below() -> None:
    canvas = np.asarray(on_canvas(Image.new("RGB", (31, 64), (9, 9, 9)), (64, 64), Image.Resampling.BICUBIC))
    lit = np.flatnonzero(canvas[0, :, 0])
    assert (lit[0], lit[-1]) == (16, 46)


def test_squares_are_one_tile() -> None:
    for mode in ("crop", "pad", "squash"):
        processor = ImageProcessor(32, MEAN, STD, mode)
        image = noise((50, 31))
        np.testing.assert_array_equal(image_tiles(image, processor), processor(image)[None])


def test_several_pictures_of_a_sample_are_padded() -> None:
    images = [noise((90, 40)), noise((40, 90), 1)]
    found = sample_tiles(images, tiler(NEXT), settings(NEXT))
    padded = ImageProcessor(32, MEAN, STD, "pad")
    for image, tiles in zip(images, found, strict=True):
        np.testing.assert_array_equal(tiles, padded(image)[None])
    alone = sample_tiles(images[:1], tiler(NEXT), settings(NEXT))
    np.testing.assert_array_equal(alone[0], image_tiles(images[0], tiler(NEXT)))
    each = sample_tiles(images, tiler(NEXT), settings(NEXT, multi_image="same"))
    assert [len(tiles) for tiles in each] == [4, 4]  # the base and three along the long side


def test_several_pictures_as_transformers_onevision_pads_them() -> None:
    module = pytest.importorskip("transformers.models.llava_onevision.image_processing_pil_llava_onevision")
    theirs = module.LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=GRIDS
    )
    images = [noise((90, 41)), noise((40, 90), 1), noise((5, 5), 2)]
    expected = theirs([images], return_tensors="np")["pixel_values"]
    for tiles, other in zip(sample_tiles(images, tiler(GRIDS), settings(GRIDS)), expected, strict=True):
        np.testing.assert_allclose(tiles, other, rtol=0, atol=1e-6)


def test_the_settings_choose_the_processor() -> None:
    clip = ImageProcessor(32, MEAN, STD)
    assert processor_for(clip, settings(NEXT)) == tiler(NEXT)
    assert processor_for(tiler(NEXT), settings(NEXT)) == tiler(NEXT)
    with pytest.raises(AssertionError, match="differ"):
        processor_for(ImageProcessor(48, MEAN, STD), settings(NEXT))


def test_real_photographs_as_transformers_tiles_them() -> None:
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    module = pytest.importorskip("transformers.models.llava_next.image_processing_pil_llava_next")
    theirs = module.LlavaNextImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    ours = ImageProcessor.from_dict(theirs.to_dict())
    photos = sorted(Path(folder, "photos").glob("*.jpg"))
    assert photos
    for path in photos:
        image = open_image(path)
        layout = image_layout(image_size(path), next_hf_settings())
        with Image.open(path) as file:
            expected = theirs(file, return_tensors="np")["pixel_values"][0]
        assert layout.tiles == len(expected)
        np.testing.assert_allclose(image_tiles(image, ours), expected, rtol=0, atol=1e-6)


def test_a_box_lies_in_the_base_as_in_the_picture() -> None:
    box = (0.1, 0.2, 0.3, 0.4)
    assert map_box(box, (640, 480), tiler(NEXT)) == box
