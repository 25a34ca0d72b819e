"""Pictures to the tower's inputs, one or several a picture.

The steps of ``anyres`` are those of LLaVA-NeXT and of transformers' ``LlavaNextImageProcessorPil``: the
best canvas, the picture resized into its middle on black, tiles row by row, and before them the whole
picture squashed to one square. Equal to both, pixel by pixel.
Shape legend: N = tiles, H, W = pixels of a tile; channel first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.image.grid import Size, best_pinpoint, fitted
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings

BLACK = (0, 0, 0)
"""Around a picture on its canvas. (Only ``pad`` fills up with the mean colour.)"""


def image_tiles(image: Image.Image, processor: ImageProcessor) -> NDArray[np.float32]:
    """The tower's inputs for one RGB image in any mode: float32 [N, 3, H, W].

    N is ``image_layout(image.size, settings).tiles``: 1 but for ``anyres``, whose first tile is the base.
    """
    if processor.mode != "anyres":
        return processor(image)[None]
    return np.stack([processor.normalised(tile) for tile in cut_tiles(image, processor)])


def sample_tiles(
    images: Sequence[Image.Image], processor: ImageProcessor, settings: LayoutSettings
) -> list[NDArray[np.float32]]:
    """The tower's inputs for all images of one sample, float32 [N, 3, H, W] each.

    With several images ``anyres`` becomes ``pad`` where the settings say so (``for_sample``).
    """
    own = processor_for(processor, settings.for_sample(len(images)))
    return [image_tiles(image, own) for image in images]


def processor_for(processor: ImageProcessor, settings: LayoutSettings) -> ImageProcessor:
    """The processor that makes the tiles which these settings count."""
    assert processor.image_size == settings.side, "the processor's and the settings' squares differ"
    if processor.mode == settings.aspect and processor.pinpoints == settings.pinpoints:
        return processor
    return processor.with_mode(settings.aspect, settings.pinpoints)


def cut_tiles(image: Image.Image, processor: ImageProcessor) -> list[Image.Image]:
    """The base and the tiles of an RGB image as images of ``image_size`` pixels square, before rescaling."""
    assert image.mode == "RGB", f"open_image gives RGB, this is {image.mode}"
    side, resample = processor.image_size, Image.Resampling(processor.resample)
    canvas = on_canvas(image, best_pinpoint(image.size, processor.pinpoints), resample)
    tiles = [image.resize((side, side), resample)]
    for top in range(0, canvas.height, side):
        for left in range(0, canvas.width, side):
            tiles.append(canvas.crop((left, top, left + side, top + side)))
    return tiles


def on_canvas(image: Image.Image, size: Size, resample: Image.Resampling) -> Image.Image:
    """The image resized into the middle of a black canvas; an odd rest of padding lies right and below."""
    wide, high = fitted(image.size, size)
    canvas = Image.new("RGB", size, BLACK)
    canvas.paste(image.resize((wide, high), resample), ((size[0] - wide) // 2, (size[1] - high) // 2))
    return canvas
