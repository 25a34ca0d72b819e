"""A run's pictures and videos: how each is laid out, decoded, and as features of a frozen tower.

Shapes: M tiles of several pictures, N of one (frames of a video), P features of a tile, V tower width,
H = W the tower's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
from pumice.recipes.features import Features
from pumice.train.codec import Packed, deviation, joined, pack, rounded, tile_bytes, unpack
from pumice.types import Origin, Picture, Sample, Video

CHUNK = 64
"""Tiles that go through a frozen tower together, at most."""

CPU_TILES = 16
"""A CPU takes so many of them at once: what lies between its products then stays in its cache (48 pictures of
144 patches on one core: 0.32 s, all at once 0.47)."""

MULTIPLE = 4
"""Chunks are padded to a multiple of this. On one to three threads of a CPU a tile's features then have
the same bits in chunks of any size (docs/LOG.md), so that keeping them changes nothing there at all."""

FEATURE_BYTES = 2 * 1024**3
"""Features of a frozen tower are kept in memory while those of all pictures fit into this, where a recipe
sets no budget."""

KEPT = Features()
"""How features are kept where nothing is said."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class View:
    """A picture or video as a sample shows it: the same one may be tiled in one and a square in another."""

    picture: Picture
    layout: ImageLayout


class OnDisk(Protocol):
    """Gives features that are kept on disk, or makes them as they were made for it."""

    def read(self, model: VisionLanguageModel, views: Sequence[View]) -> Packed:
        """The features of some views, in order, on the CPU."""

    def close(self) -> None:
        """Nothing is read any more."""


class Pictures:
    """Pictures and videos: laid out, decoded and preprocessed, and as features of a frozen tower.

    A matrix product may round differently for other sizes of a chunk, and for another place in it. So which
    tiles share a chunk, and where each stands, must not depend on where a run was interrupted. Features
    that are not kept are computed with those of their batch, which the plan decides. Those that are kept are
    computed in the chunks of ``expect``, which all stages of a run share. A chunk holds whole views, in
    order, while their tiles are no more than ``CHUNK``; a view of more is a chunk alone, taken in pieces.
    Those on disk have places of their own (``train.seats``).
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._way = KEPT
        self.half = False
        self._features: dict[View, Packed] = {}
        self._deviations: dict[View, tuple[float, float]] = {}
        self._disk: OnDisk | None = None
        self._known: dict[Picture, tuple[Origin, Extent]] = {}
        self._same: dict[Extent, Extent] = {}
        self._chunks: list[list[View]] = []
        self._chunk_of: dict[View, int] = {}

    def know(self, samples: Sequence[Sample], extents: Mapping[Picture, Extent]) -> None:
        """Remember the first row that shows each picture, for errors, and what decides its layout."""
        for picture, origin in pictures_of(samples).items():
            extent = extents.get(picture)  # none of one that cannot be used, whose row is left out
            if picture not in self._known and extent is not None:
                # Few sizes are different: one object for all pictures of a size.
                self._known[picture] = origin, self._same.setdefault(extent, extent)

    def extent(self, picture: Picture) -> Extent:
        """Size of a picture or frames of a video: what ``know`` was told, else from the file."""
        known = self._known.get(picture)
        if known is not None:
            return known[1]
        if isinstance(picture, Video):
            return video_info(picture.path, where=self.where(picture))
        if self.geometry.fixed:
            return self.geometry.settings.side, self.geometry.settings.side
        return image_size(picture, where=self.where(picture))

    def views(self, pictures: Sequence[Picture]) -> tuple[View, ...]:
        """All that one sample shows, laid out.

        Raises:
            DataError: a video, and the model knows none.
        """
        layouts = self.geometry.layouts([self.extent(picture) for picture in pictures])
        return tuple([View(picture, layout) for picture, layout in zip(pictures, layouts, strict=True)])

    def pixels(self, views: Sequence[View]) -> Tensor:
        """float32 [M, 3, H, W] of all tiles; ImageError (with the row, if known) for what does not decode."""
        return torch.from_numpy(np.concatenate([self.tiles(view) for view in views]))

    def tiles(self, view: View) -> NDArray[np.float32]:
        """float32 [N, 3, H, W] of the tiles of one view; ImageError as ``pixels``."""
        picture, where = view.picture, self.where(view.picture)
        if isinstance(picture, Video):
            tiles = self.geometry.frames(picture.path, view.layout, where)
        else:
            tiles = self.geometry.tiles(open_image(picture, where=where), view.layout)
        assert len(tiles) == view.layout.tiles, f"{picture}: {len(tiles)} tiles of {view.layout.tiles}"
        return tiles

    def where(self, picture: Picture) -> str | None:
        """The first row that shows a picture, where one is known."""
        known = self._known.get(picture)
        return None if known is None else str(known[0])

    def keeps(self, model: VisionLanguageModel, tiles: int, way: Features = KEPT) -> bool:
        """Whether the features of so many tiles are kept in memory: a frozen tower, and they fit."""
        return bool(model.tower.frozen) and self.fits(model, tiles, way)

    def fits(self, model: VisionLanguageModel, tiles: int, way: Features = KEPT) -> bool:
        """Whether the features of so many tiles would be kept in memory, were the tower frozen."""
        budget = FEATURE_BYTES if way.budget is None else way.budget
        size = tiles * tile_bytes(model.tower.length, model.tower.dim, way.dtype)
        return way.keep == "memory" and size <= budget

    def keep_as(self, way: Features, half: bool) -> None:
        """From now on features are those that this way of keeping gives, kept or not; ``half`` says whether a
        frozen tower multiplies in bfloat16."""
        if (way.dtype, half) != (self._way.dtype, self.half):
            self.forget()
        self._way, self.half = way, half

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
    def prepare(self, model: VisionLanguageModel, views: Sequence[View], progress: Progress) -> int:
        """Keep the features of these views and no others; those not known yet are computed.

        Returns:
            How many were computed.
        """
        self.expect(views)
        self._features = {view: self._features[view] for view in views if view in self._features}
        wanted = set(views) - self._features.keys()
        total = len(wanted)
        for number in sorted({self._chunk_of[view] for view in wanted}):
            chunk = self._chunks[number]
            features = torch.split(self._encode(model, chunk), [view.layout.tiles for view in chunk])
            for view, feature_NPV in zip(chunk, features, strict=True):
                if view in wanted:
                    packed = pack(feature_NPV, self._way.dtype).clone()
                    self._features[view] = packed
                    self._deviations[view] = deviation(feature_NPV, packed)
                    wanted.remove(view)
            progress("reading pictures", total - len(wanted), total)
        return total

    @property
    def deviation(self) -> tuple[float, float]:
        """Over the features in memory: what keeping moved, and all there was, as sums of squares."""
        pairs = [self._deviations[view] for view in self._features]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def _encode(self, model: VisionLanguageModel, views: Sequence[View]) -> Tensor:
        """Features [M, P, V] of a chunk's tiles, on the CPU; more than ``CHUNK`` of them in pieces."""
        pixels = self.pixels(views)
        return torch.cat([encode_piece(model, piece, self.half) for piece in torch.split(pixels, CHUNK)])

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
        if not model.tower.frozen:
            trained: Tensor = model.encode_tower(self.pixels(views).to(model.device))
            return trained
        if views and self._disk is not None:
            return unpack(self._disk.read(model, views).to(model.device))
        if views and all(view in self._features for view in views):
            return unpack(joined([self._features[view] for view in views]).to(model.device))
        made = torch.cat([self._encode(model, chunk) for chunk in tile_groups(views, CHUNK)])
        return rounded(made, self._way.dtype).to(model.device)

    def read_from(self, disk: OnDisk) -> None:
        """From now on features are on disk."""
        self.forget()
        self._disk = disk

    def forget(self) -> None:
        """Drop kept features (the tower changes, or a stage keeps none), and let go of those on disk."""
        self._features.clear()
        self._deviations.clear()
        self.let_go()

    def let_go(self) -> None:
        """Read nothing from disk any more."""
        if self._disk is not None:
            self._disk.close()
            self._disk = None


def encode_piece(model: VisionLanguageModel, pixels: Tensor, half: bool) -> Tensor:
    """Features [M, P, V] of tiles [M, 3, H, W] in float32 on the CPU, read together by a frozen tower that
    multiplies in bfloat16 where ``half``."""
    padded = torch.zeros(-(-len(pixels) // MULTIPLE) * MULTIPLE, *pixels.shape[1:])
    padded[: len(pixels)] = pixels
    # Not as the caller happens to compute: what is kept must be what would be made again.
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=half):
        size = CPU_TILES if model.device.type == "cpu" else len(padded)
        features = torch.cat(
            [model.encode_tower(part.to(model.device)) for part in torch.split(padded, size)]
        )
    return features[: len(pixels)].float().cpu()
