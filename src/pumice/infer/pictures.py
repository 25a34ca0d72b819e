"""The pictures and videos of questions: laid out from their sizes, then embedded.

Legend: N tiles of one picture (frames of a video), M of several, P features of a tile, V width of the tower,
T tokens of a picture, D width of the language model, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.image.decode import image_size, open_image
from pumice.image.layout import ImageLayout, tile_groups
from pumice.image.process import ImageProcessor
from pumice.image.video import Extent, video_info
from pumice.model.geometry import model_geometry
from pumice.model.vlm import VisionLanguageModel
from pumice.types import Video

ImageSource = Path | PIL.Image.Image | Video
"""A picture's file, an RGB picture, or a video's file or folder of frames."""

TOWER_BATCH = 32
"""How many tiles the tower encodes at once."""


@dataclass(frozen=True)
class Shown:
    """What one request shows, laid out with all that it shows.

    One picture may be tiled in one request and a square in another, so embeddings are kept by source and
    layout.
    """

    source: ImageSource
    layout: ImageLayout

    @property
    def key(self) -> Hashable:
        """Equal for one file (or one picture object) under one layout. Requests keep the objects alive."""
        if isinstance(self.source, PIL.Image.Image):
            return id(self.source), self.layout
        return self.source, self.layout


class PictureEncoder:
    """Lays pictures and videos out, and embeds them.

    Args:
        model: whose tower and connector.
        processor: the model's image processor.
    """

    def __init__(self, model: VisionLanguageModel, processor: ImageProcessor) -> None:
        self.model = model
        self.geometry = model_geometry(model.config, model.tower, processor)

    def lay_out(self, sources: Sequence[ImageSource]) -> tuple[Shown, ...]:
        """All that one request shows; of files only headers are read.

        Raises:
            ImageError: a file that cannot be used.
            DataError: a video, and the model knows none.
        """
        layouts = self.geometry.layouts([self._extent(source) for source in sources])
        return tuple([Shown(source, layout) for source, layout in zip(sources, layouts, strict=True)])

    def tokens(self, shown: Shown) -> int:
        """The tokens that it fills in a prompt."""
        return self.geometry.tokens(shown.layout)

    @torch.inference_mode()
    def embed(self, shown: Iterable[Shown]) -> dict[Hashable, Tensor]:
        """Embeddings [T, D] of each distinct one, by its key.

        Raises:
            ImageError: a file that cannot be decoded.
        """
        distinct = {one.key: one for one in shown}
        embeds: dict[Hashable, Tensor] = {}
        for group in tile_groups(list(distinct.values()), TOWER_BATCH):
            laid = self.embed_tiles([self.tiles(one) for one in group], [one.layout for one in group])
            embeds.update({one.key: embeds_TD for one, embeds_TD in zip(group, laid, strict=True)})
        return embeds

    @torch.inference_mode()
    def embed_tiles(
        self, tiles: Sequence[NDArray[np.float32]], layouts: Sequence[ImageLayout]
    ) -> list[Tensor]:
        """Embeddings [T, D] of pictures by the tower's inputs for each (``tiles``)."""
        pixels_MCHW = torch.from_numpy(np.concatenate(list(tiles)))
        pieces = [
            self.model.encode_tower(piece.to(self.model.device))
            for piece in torch.split(pixels_MCHW, TOWER_BATCH)
        ]
        return self.model.lay_out(torch.cat(pieces), layouts)

    def _extent(self, source: ImageSource) -> Extent:
        if isinstance(source, Video):
            return video_info(source.path)
        if isinstance(source, PIL.Image.Image):
            return source.size
        if self.geometry.fixed:  # its size decides nothing
            return self.geometry.settings.side, self.geometry.settings.side
        return image_size(source)

    def tiles(self, shown: Shown) -> NDArray[np.float32]:
        """The tower's inputs for one, float32 [N, C, H, W].

        Raises:
            ImageError: a file that cannot be decoded.
        """
        source: Any = shown.source
        if isinstance(source, Video):
            return self.geometry.frames(source.path, shown.layout)
        image = open_image(source) if isinstance(source, Path) else source.convert("RGB")
        return self.geometry.tiles(image, shown.layout)
