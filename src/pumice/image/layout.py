"""How many tokens a picture or a video fills, and how they come about, from its size alone.

The plan is made before any picture is decoded, so everything here follows from width and height (or
the number of frames) and the checkpoint's settings. ``pumice.image.anyres`` cuts pixels and
``pumice.model.arrange`` lays features by the same ``ImageLayout``, so the three cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

from pumice.errors import CheckpointError, suggest
from pumice.image.grid import Box, Size, best_pinpoint, shrunk, unpadded
from pumice.image.settings import LayoutSettings, VideoSettings

FEATURES = ("patch", "cls_patch")
"""``patch`` drops the class token, ``cls_patch`` keeps it (LLaVA's ``mm_vision_select_feature``)."""


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """One picture's, or one video's, way from tower inputs to tokens.

    Attributes:
        settings: what it was made with.
        size: the picture's width and height in pixels, upright; a video's frames are squares.
        tiles: how many inputs the tower gets: 1; or the base and ``columns * rows`` tiles; or the frames.
        grid: columns and rows of tiles; (1, 1) where nothing is cut.
        crop: the part of the map of all tiles' features that becomes tokens, in features.
        kept: columns and rows of the map after crop and ``anyres_max_N``; of a video, of a pooled frame.
        frames: how many frames, 0 for a picture.
    """

    settings: LayoutSettings
    size: Size
    tiles: int
    grid: Size
    crop: Box
    kept: Size
    frames: int = 0

    @property
    def is_video(self) -> bool:
        """Whether this is a video."""
        return self.frames > 0

    @property
    def writes_newline(self) -> bool:
        """Whether ``image_newline`` stands among these tokens."""
        return self.settings.writes_newline and (not self.is_video or self.video.newline != "none")

    @property
    def canvas(self) -> Size:
        """Width and height in pixels of what is cut into tiles."""
        return self.grid[0] * self.settings.side, self.grid[1] * self.settings.side

    @property
    def tile_features(self) -> int:
        """Features that the tower gives for one tile, class tokens that are kept included."""
        return self.settings.features**2 + self.settings.class_tokens

    @property
    def video(self) -> VideoSettings:
        """The settings of a video; only for a video."""
        assert self.settings.video is not None, "the layout is no video's"
        return self.settings.video

    @property
    def tokens(self) -> int:
        """The exact number of tokens."""
        columns, rows = self.kept
        newline = int(self.writes_newline)
        if self.is_video:
            mode = self.video.newline
            frame = rows * (columns + (mode == "grid")) + (mode == "frame")
            return self.frames * frame + (mode == "one_token")
        if self.tiles == 1:
            return self.tile_features + newline
        if self.settings.merge == "flat":
            return self.tiles * self.tile_features
        return self.tile_features + rows * (columns + newline)


@lru_cache(maxsize=1 << 16)  # a data set has few different sizes, and a grid is chosen among up to 36
def image_layout(size: Size, settings: LayoutSettings) -> ImageLayout:
    """The layout of a picture of this width and height (as ``decode.image_size`` tells them, upright).

    For a sample of several pictures, ask with ``settings.for_sample(count)``.
    """
    assert min(size) > 0, f"an image of {size} was not refused when its header was read"
    features = settings.features
    if settings.aspect != "anyres":
        return ImageLayout(settings, size, 1, (1, 1), (0, 0, features, features), (features, features))
    wide, high = best_pinpoint(size, settings.pinpoints)
    columns, rows = wide // settings.side, high // settings.side
    whole = (columns * features, rows * features)
    crop: Box = (0, 0, *whole)
    if settings.merge == "spatial_unpad":
        crop = unpadded(size, whole, settings.flavour)
    kept = (crop[2] - crop[0], crop[3] - crop[1])
    if settings.max_tiles is not None:
        kept = shrunk(kept, features, settings.max_tiles)
    return ImageLayout(settings, size, 1 + columns * rows, (columns, rows), crop, kept)


def video_layout(frames: int, settings: LayoutSettings) -> ImageLayout:
    """The layout of a video of so many sampled frames.

    Raises:
        CheckpointError: the settings know no video.
    """
    assert frames > 0, "a video without frames was not refused when its header was read"
    if settings.video is None:
        raise CheckpointError(
            "this checkpoint's settings say nothing about video",
            where="video",
            remedy="use a checkpoint that was trained on video, or show single pictures",
        )
    features, stride = settings.features, settings.video.stride
    side = -(-features // stride) if settings.video.pooling == "bilinear" else features // stride
    if side < 1:
        raise CheckpointError(
            f"pooling by {stride} leaves nothing of {features} features a side",
            where="video.stride",
            remedy="use a smaller stride",
        )
    square = (settings.side, settings.side)
    return ImageLayout(
        settings, square, frames, (1, 1), (0, 0, features, features), (side, side), frames=frames
    )


class LaidOut(Protocol):
    """Something that is shown to a tower in tiles."""

    @property
    def layout(self) -> ImageLayout:
        """How."""
        ...


Shown = TypeVar("Shown", bound=LaidOut)


def tile_groups(shown: Sequence[Shown], most: int) -> Iterator[list[Shown]]:
    """In order, as many together as have no more than ``most`` tiles; one of more stands alone."""
    group: list[Shown] = []
    tiles = 0
    for one in shown:
        if group and tiles + one.layout.tiles > most:
            yield group
            group, tiles = [], 0
        group.append(one)
        tiles += one.layout.tiles
    if group:
        yield group


def image_tokens(size: Size, settings: LayoutSettings) -> int:
    """The exact number of tokens for a picture of this width and height; nothing is decoded."""
    return image_layout(size, settings).tokens


def video_tokens(frames: int, settings: LayoutSettings) -> int:
    """The exact number of tokens for a video of so many sampled frames; CheckpointError as there."""
    return video_layout(frames, settings).tokens


def features_per_side(image_size: int, patch_size: int) -> int:
    """Features along one side that a vision transformer gives for a square input.

    It embeds patches by a convolution of stride ``patch_size`` without padding, so a rest of pixels is
    left out (transformers' CLIP does the same).

    Raises:
        CheckpointError: the input holds no patch.
    """
    if patch_size < 1 or image_size < patch_size:
        raise CheckpointError(
            f"a {image_size} pixel image holds no patch of {patch_size} pixels",
            remedy="check image_size and patch_size of the vision tower's config",
        )
    return image_size // patch_size


def kept_class_tokens(select_feature: str, class_tokens: int) -> int:
    """How many of a tower's class tokens stay: all with ``cls_patch``, none with ``patch``.

    Raises:
        CheckpointError: an unknown feature selection.
    """
    if select_feature not in FEATURES:
        raise CheckpointError(
            f"unknown feature selection {select_feature!r}", remedy=suggest(select_feature, FEATURES)
        )
    return class_tokens if select_feature == "cls_patch" else 0
