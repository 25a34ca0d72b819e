"""Several vision towers at once, and one tower at several scales; both widen the features.

Legend: N images, C channels, H height, W width, P features kept per image, V width of a feature,
g grid (patches beside each other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumice.errors import CheckpointError
from pumice.model.tower import Tower, VisionTower


@dataclass(frozen=True, slots=True)
class Normal:
    """The mean and standard deviation, a channel each, that a tower's pixels are normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class JoinedTowers(Tower):
    """Several towers that look at one picture; their features stand side by side along the channels.

    The picture comes once, as the largest tower takes it and normalised for the first one. It is shrunk and
    normalised for each. Features are brought to the first tower's grid (bilinear, in float32): so every
    tower says something about every patch, and the number of tokens is that of the first.

    Args:
        towers: at least two, each with ``select_feature`` ``patch``.
        normals: how each tower's pixels are normalised.
    """

    def __init__(self, towers: Sequence[VisionTower], normals: Sequence[Normal]) -> None:
        super().__init__()
        assert len(towers) == len(normals) > 1
        self.towers = nn.ModuleList(towers)
        self.normals = tuple(normals)
        _need_patches(towers, "several towers")

    @property
    def members(self) -> tuple[VisionTower, ...]:
        """The towers in their order."""
        return tuple(tower for tower in self.towers if isinstance(tower, VisionTower))

    @property
    def dim(self) -> int:
        """The widths of all together."""
        return sum(tower.dim for tower in self.members)

    @property
    def image_size(self) -> int:
        """Pixels of the sides that the largest tower takes."""
        return max(tower.image_size for tower in self.members)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Features [N, P, V] of float pixels [N, C, H, W], normalised for the first tower."""
        self.check_pixels(pixels_NCHW)
        features = []
        for tower, normal in zip(self.members, self.normals, strict=True):
            own_NCHW = _renormalised(pixels_NCHW, self.normals[0], normal)
            side = tower.image_size
            if side != self.image_size:
                own_NCHW = F.interpolate(
                    own_NCHW, size=(side, side), mode="bicubic", antialias=True, align_corners=False
                )
            grid_NVgg = _grid(tower(own_NCHW), tower.grid)
            if tower.grid != self.grid:
                grid_NVgg = F.interpolate(
                    grid_NVgg.float(), size=(self.grid, self.grid), mode="bilinear", align_corners=False
                ).to(grid_NVgg.dtype)
            features.append(grid_NVgg)
        return torch.cat(features, dim=1).flatten(2).transpose(1, 2)


class MultiScaleTower(Tower):
    """One tower that reads a picture at several scales (S2, Shi et al. 2024, as in LLaVA's ``s2_scales``).

    A scale that is k times the smallest becomes k x k tiles, each read alone. Its features are laid
    together, averaged down to the smallest scale's grid, and stand beside those of the other scales along
    the channels: the number of tokens stays, a feature is as many times wider as there are scales.

    Args:
        tower: has the size of the smallest scale, and ``select_feature`` ``patch``.
        scales: pixels of the sides, in order.
    """

    def __init__(self, tower: VisionTower, scales: Sequence[int]) -> None:
        super().__init__()
        self.inner = tower
        self.scales = tuple(scales)
        _need_patches([tower], "several scales")
        if len(self.scales) < 2 or list(self.scales) != sorted(set(self.scales)):
            raise CheckpointError(
                f"scales {list(self.scales)} are not two or more growing sizes", where="scales"
            )
        if self.scales[0] != tower.image_size:
            raise CheckpointError(
                f"the smallest scale is {self.scales[0]} pixels, but the tower takes {tower.image_size}",
                where="scales",
                remedy=f"begin with {tower.image_size}",
            )
        odd = [scale for scale in self.scales if scale % self.scales[0]]
        if odd:
            raise CheckpointError(
                f"scale {odd[0]} is no multiple of the tower's {self.scales[0]} pixels",
                where="scales",
                remedy=f"choose multiples of {self.scales[0]}",
            )

    @property
    def members(self) -> tuple[VisionTower, ...]:
        """The one tower."""
        return (self.inner,)

    @property
    def dim(self) -> int:
        """The tower's width times the number of scales."""
        return self.inner.dim * len(self.scales)

    @property
    def image_size(self) -> int:
        """Pixels of the sides of the largest scale."""
        return self.scales[-1]

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Features [N, P, V] of float pixels [N, C, H, W] at the largest scale."""
        self.check_pixels(pixels_NCHW)
        features = [self._at(pixels_NCHW, scale) for scale in self.scales]
        return torch.cat(features, dim=1).flatten(2).transpose(1, 2)

    def _at(self, pixels_NCHW: Tensor, scale: int) -> Tensor:
        """Features [N, V, g, g] read at one scale."""
        if scale != pixels_NCHW.shape[2]:
            # Without antialiasing, as the published models were trained.
            pixels_NCHW = F.interpolate(
                pixels_NCHW.float(), size=(scale, scale), mode="bicubic", align_corners=False
            ).to(pixels_NCHW.dtype)
        count, side = scale // self.scales[0], self.scales[0]
        images, channels = pixels_NCHW.shape[:2]
        tiles = pixels_NCHW.reshape(images, channels, count, side, count, side).permute(0, 2, 4, 1, 3, 5)
        found_NPV = self.inner(tiles.reshape(images * count * count, channels, side, side))
        grid = self.inner.grid
        tiles_NkkVgg = _grid(found_NPV, grid).reshape(images, count, count, -1, grid, grid)
        map_NVgg = tiles_NkkVgg.permute(0, 3, 1, 4, 2, 5).reshape(images, -1, count * grid, count * grid)
        if count == 1:
            return map_NVgg
        return F.avg_pool2d(map_NVgg.float(), count).to(map_NVgg.dtype)


def _need_patches(towers: Sequence[VisionTower], what: str) -> None:
    if any(tower.select_feature != "patch" for tower in towers):
        raise CheckpointError(
            f"the class token has no place where {what} are read",
            where="select_feature",
            remedy="choose select_feature patch",
        )


def _grid(features_NPV: Tensor, side: int) -> Tensor:
    """Features as a map [N, V, g, g]."""
    images, _, width = features_NPV.shape
    return features_NPV.transpose(1, 2).reshape(images, width, side, side)


def _renormalised(pixels_NCHW: Tensor, old: Normal, new: Normal) -> Tensor:
    if old == new:
        return pixels_NCHW

    def channels(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=pixels_NCHW.dtype, device=pixels_NCHW.device)[:, None, None]

    return (pixels_NCHW * channels(old.std) + channels(old.mean) - channels(new.mean)) / channels(new.std)
