"""How a model takes pictures and videos: the inputs its tower gets, and the tokens they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import DataError
from pumice.image.anyres import image_tiles, processor_for
from pumice.image.layout import ImageLayout, image_layout, video_layout
from pumice.image.process import ImageProcessor, Mode
from pumice.image.settings import LayoutSettings, Merge, parse_aspect
from pumice.image.video import Extent, VideoInfo, frame_indices, video_pixels
from pumice.model.config import VLMConfig
from pumice.model.tower import Tower
from pumice.recipes.schema import ImageOptions


@dataclass(frozen=True, slots=True)
class Geometry:
    """What makes pixels, and what counts tokens; the two belong together.

    Attributes:
        processor: makes the tower's inputs (``pumice.image.sample_tiles``, ``video_pixels``).
        settings: lays them out (``pumice.image.image_layout``, ``video_layout``).
        marks: tokens beside those of the layout: 2 where ``<im_start>`` and ``<im_end>`` stand around a
            picture.
    """

    processor: ImageProcessor
    settings: LayoutSettings
    marks: int = 0

    def tokens(self, layout: ImageLayout) -> int:
        """The tokens that a picture or video fills in a row."""
        return layout.tokens + self.marks

    @property
    def fixed(self) -> bool:
        """Whether every picture fills the same number of tokens (videos aside)."""
        return self.settings.aspect != "anyres"

    @property
    def most_tiles(self) -> int:
        """The most tiles that one picture becomes (a video has as many as it has frames)."""
        side = self.settings.side
        grids = [wide * high // side**2 for wide, high in self.settings.pinpoints]
        return 1 + max(grids, default=0)

    def layouts(self, extents: Sequence[Extent]) -> tuple[ImageLayout, ...]:
        """How the pictures and videos of one sample are laid out, all of them together.

        Args:
            extents: width and height of each picture, ``video_info`` of each video, in order.

        Raises:
            DataError: a video, and the model knows none.
            ImageError: a video whose frames cannot be chosen (``frame_indices``).
        """
        return tuple([self._layout(extent, len(extents) > 1) for extent in extents])

    def _layout(self, extent: Extent, several: bool) -> ImageLayout:
        if isinstance(extent, VideoInfo):
            if self.settings.video is None:
                raise DataError(
                    f"the model knows no video, and {extent.path} is one",
                    remedy="use a model that was trained on video (a recipe's model.video), or leave it out",
                )
            return video_layout(len(frame_indices(extent, self.settings.video)), self.settings)
        settings = _for_sample(self.settings, several)
        # Of a picture that becomes one square the size decides nothing.
        size = extent if settings.aspect == "anyres" else (settings.side, settings.side)
        return image_layout(size, settings)

    def tiles(self, image: Image.Image, layout: ImageLayout) -> NDArray[np.float32]:
        """The tower's inputs for an RGB picture, float32 [N, 3, H, W], N = ``layout.tiles``."""
        return image_tiles(image, processor_for(self.processor, layout.settings))

    def frames(self, path: Path, layout: ImageLayout, where: str | None = None) -> NDArray[np.float32]:
        """The same for a video; ImageError as ``video_pixels``."""
        return video_pixels(path, self.processor, layout.settings, where=where)


@lru_cache(maxsize=64)
def _for_sample(settings: LayoutSettings, several: bool) -> LayoutSettings:
    return settings.for_sample(2 if several else 1)


def model_geometry(
    config: VLMConfig, tower: Tower, processor: ImageProcessor, aspect: Mode | None = None
) -> Geometry:
    """The geometry of a model.

    Args:
        config: the model's.
        tower: its tower.
        processor: its image processor; of a model that makes tiles, in whatever mode.
        aspect: one square a picture in this way, without tiles and ``image_newline``, as LLaVA aligns; None
            for the model's own.

    Raises:
        CheckpointError: settings that contradict each other.
    """
    side = processor.image_size
    settings = LayoutSettings(
        side=side,
        features=tower.grid,
        class_tokens=tower.length - tower.grid**2,
        flavour=config.flavour,
        multi_image=config.multi_image,
        newline=config.newline,
    )
    if config.tiled and aspect is None:
        processor = processor.with_mode("anyres", config.pinpoints)
        merge = cast(Merge, config.merge_type)  # settings refuse any other word
        settings = replace(
            settings,
            aspect="anyres",
            merge=merge,
            pinpoints=config.pinpoints,
            max_tiles=parse_aspect(config.aspect)[1],
            video=config.video,
        )
    else:
        processor = processor if aspect is None else processor.with_mode(aspect)
        settings = replace(settings, aspect=processor.mode)
        if config.video is not None:
            # Single squares are laid out flat; a video's own newlines need the merge that has them.
            video = config.video if config.video.newline == "none" else replace(config.video, newline="none")
            settings = replace(settings, video=video)
    return Geometry(processor, settings, 0 if config.image_marks is None else 2)


def tile_facts(image: ImageOptions, side: int) -> dict[str, Any]:
    """The fields of ``VLMConfig`` that say how a recipe cuts pictures into tiles, or that it does not.

    Args:
        image: the recipe's.
        side: pixels of the sides of one tile, the tower's input.
    """
    if image.aspect != "anyres":
        return {"aspect": "square", "pinpoints": (), "merge_type": "flat", "newline": False}
    grids = [tuple(map(int, grid.split("x"))) for grid in image.grids]
    return {
        "aspect": "anyres" if image.max_tiles is None else f"anyres_max_{image.max_tiles}",
        "pinpoints": tuple((columns * side, rows * side) for columns, rows in grids),
        "flavour": image.flavour,
        "merge_type": image.merge,
        "multi_image": image.multi_image,
        "newline": image.merge == "spatial_unpad",
    }
