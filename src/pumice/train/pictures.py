"""A run's pictures and videos: how each is laid out, decoded, and as features of a frozen tower.

Shapes: M tiles of several pictures, N of one (frames of a video), P features of a tile, V tower width,
H = W the tower's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.data.samples import pictures_of
from pumice.image.decode import image_size, open_image
from pumice.image.layout import ImageLayout, tile_groups
from pumice.image.video import Extent, video_info
from pumice.model import VisionLanguageModel
from pumice.model.geometry import Geometry
from pumice.types import Origin, Picture, Sample, Video

CHUNK = 64
"""Tiles that go through a frozen tower together, at most."""

MULTIPLE = 4
"""Chunks are padded to a multiple of this. On one to three threads of a CPU a tile's features then have
the same bits in chunks of any size (docs/LOG.md), so that keeping them changes nothing there at all."""

FEATURE_BYTES = 2 * 1024**3
"""Features of a frozen tower are kept in memory while those of all pictures fit into this."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class View:
    """A picture or video as a sample shows it: the same one may be tiled in one and a square in another."""

    picture: Picture
    layout: ImageLayout


class Pictures:
    """Pictures and videos: laid out, decoded and preprocessed, and as features of a frozen tower.

    A matrix product may round differently for other sizes of a chunk, and for another place in it. So which
    tiles share a chunk, and where each stands, must not depend on where a run was interrupted. Features
    that are not kept are computed with those of their batch, which the plan decides. Those that are kept are
    computed in the chunks of ``expect``, which all stages of a run share. A chunk holds whole views, in
    order, while their tiles are no more than ``CHUNK``; a view of more is a chunk alone, taken in pieces.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._features: dict[View, Tensor] = {}
        self._known: dict[Picture, tuple[Origin, Extent]] = {}
        self._same: dict[Extent, Extent] = {}
        self._chunks: list[list[View]] = []
        self._chunk_of: dict[View, int] = {}

    def know(self, samples: Sequence[Sample], extents: Mapping[Picture, Extent]) -> None:
        """Remember the first row that shows each picture, for errors, and what decides its layout."""
        for picture, origin in pictures_of(samples).items():
            if picture not in self._known:
                extent = extents[picture]
                # Few sizes are different: one object for all pictures of a size.
                self._known[picture] = origin, self._same.setdefault(extent, extent)

    def extent(self, picture: Picture) -> Extent:
        """Size of a picture or frames of a video: what ``know`` was told, else from the file."""
        known = self._known.get(picture)
        if known is not None:
            return known[1]
        if isinstance(picture, Video):
            return video_info(picture.path, where=self._where(picture))
        if self.geometry.fixed:
            return self.geometry.settings.side, self.geometry.settings.side
        return image_size(picture, where=self._where(picture))

    def views(self, pictures: Sequence[Picture]) -> tuple[View, ...]:
        """All that one sample shows, laid out.

        Raises:
            DataError: a video, and the model knows none.
        """
        layouts = self.geometry.layouts([self.extent(picture) for picture in pictures])
        return tuple([View(picture, layout) for picture, layout in zip(pictures, layouts, strict=True)])

    def pixels(self, views: Sequence[View]) -> Tensor:
        """float32 [M, 3, H, W] of all tiles; ImageError (with the row, if known) for what does not decode."""
        return torch.from_numpy(np.concatenate([self._tiles(view) for view in views]))

    def _tiles(self, view: View) -> NDArray[np.float32]:
        picture, where = view.picture, self._where(view.picture)
        if isinstance(picture, Video):
            tiles = self.geometry.frames(picture.path, view.layout, where)
        else:
            tiles = self.geometry.tiles(open_image(picture, where=where), view.layout)
        assert len(tiles) == view.layout.tiles, f"{picture}: {len(tiles)} tiles of {view.layout.tiles}"
        return tiles

    def _where(self, picture: Picture) -> str | None:
        known = self._known.get(picture)
        return None if known is None else str(known[0])

    def keeps(self, model: VisionLanguageModel, tiles: int) -> bool:
        """Whether the features of so many tiles are kept: a frozen tower, and they fit."""
        return bool(model.tower.frozen) and self.fits(model, tiles)

    def fits(self, model: VisionLanguageModel, tiles: int) -> bool:
        """Whether the features of so many tiles fit into memory, were the tower frozen."""
        return bool(tiles * model.tower.length * model.tower.dim * 4 <= FEATURE_BYTES)

    def expect(self, views: Iterable[View]) -> None:
        """Put views that are in no chunk yet into new ones, in this order.

        A run calls it for every stage whose features are kept, in order, finished ones too: a chunk is then
        the same whether an earlier stage computed it or a resumed run does.
        """
        new = [view for view in dict.fromkeys(views) if view not in self._chunk_of]
        for chunk in tile_groups(new, CHUNK):
            self._chunk_of.update(dict.fromkeys(chunk, len(self._chunks)))
            self._chunks.append(chunk)

    @torch.no_grad()
    def prepare(self, model: VisionLanguageModel, views: Sequence[View], progress: Progress) -> None:
        """Keep the features of these views and no others; those not known yet are computed."""
        self.expect(views)
        self._features = {view: self._features[view] for view in views if view in self._features}
        wanted = set(views) - self._features.keys()
        total = len(wanted)
        for number in sorted({self._chunk_of[view] for view in wanted}):
            chunk = self._chunks[number]
            features = torch.split(self._encode(model, chunk), [view.layout.tiles for view in chunk])
            for view, feature_NPV in zip(chunk, features, strict=True):
                if view in wanted:
                    self._features[view] = feature_NPV.clone()
                    wanted.remove(view)
            progress("reading pictures", total - len(wanted), total)

    def _encode(self, model: VisionLanguageModel, views: Sequence[View]) -> Tensor:
        """Features [M, P, V] of a chunk's tiles, on the CPU; more than ``CHUNK`` of them in pieces."""
        pixels = self.pixels(views)
        return torch.cat([self._encode_piece(model, piece) for piece in torch.split(pixels, CHUNK)])

    def _encode_piece(self, model: VisionLanguageModel, pixels: Tensor) -> Tensor:
        padded = torch.zeros(-(-len(pixels) // MULTIPLE) * MULTIPLE, *pixels.shape[1:])
        padded[: len(pixels)] = pixels
        # Without autocast: a stage's precision must not decide what features are, or keeping them would.
        with torch.autocast(model.device.type, enabled=False):
            features: Tensor = model.encode_tower(padded.to(model.device))
        return features[: len(pixels)].float().cpu()

    def inputs(self, model: VisionLanguageModel, views: Sequence[View]) -> tuple[Tensor, bool]:
        """What a training pass takes of a batch's views, in order, and whether these are features already.

        Pixels [M, 3, H, W] where the tower trains, else its features [M, P, V]. Without views one blank tile.
        """
        side = self.geometry.settings.side
        if not model.tower.frozen:
            pixels = self.pixels(views) if views else torch.zeros(1, 3, side, side)
            return pixels.to(model.device), False
        if not views:
            return torch.zeros(1, model.tower.length, model.tower.dim, device=model.device), True
        return self.features(model, views), True

    def features(self, model: VisionLanguageModel, views: Sequence[View]) -> Tensor:
        """Features [M, P, V] of a batch's views, in order; with a graph if the tower trains."""
        if views and all(view in self._features for view in views) and model.tower.frozen:
            return torch.cat([self._features[view] for view in views]).to(model.device)
        if not model.tower.frozen:
            trained: Tensor = model.encode_tower(self.pixels(views).to(model.device))
            return trained
        return torch.cat([self._encode(model, chunk) for chunk in tile_groups(views, CHUNK)]).to(model.device)

    def forget(self) -> None:
        """Drop kept features (the tower changes, or a stage keeps none)."""
        self._features.clear()
