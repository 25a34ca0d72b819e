"""How a checkpoint lays pictures and videos out as tokens: settings, and the ways they are written.

Two families of checkpoints write the same facts differently; ``pumice.image.families`` reads both into
one frozen ``LayoutSettings``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pumice.errors import CheckpointError, suggest
from pumice.image.grid import Flavour, Size

Aspect = Literal["crop", "pad", "squash", "anyres"]
"""What becomes of a picture that is no square; the first three are ``ImageProcessor`` modes of one tile."""

Merge = Literal["flat", "spatial", "spatial_unpad"]
"""LLaVA's ``mm_patch_merge_type``. ``flat``: tile after tile. ``spatial``: the base, then the tiles' features
row by row over the whole picture. ``spatial_unpad``: the same without the padding, and ``image_newline``
after each row; of a picture that is one tile, after all of it."""

Pooling = Literal["average", "max", "bilinear"]
FrameNewline = Literal["grid", "frame", "one_token", "none"]
"""Where ``image_newline`` stands in a video: after each row, each frame, once at the end, or nowhere."""

MultiImage = Literal["pad", "same"]
"""Samples of several pictures under ``anyres``: each padded to one square, or tiled like a single one."""

NEXT_PINPOINTS: tuple[Size, ...] = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""LLaVA-NeXT's five canvases as its own config lists them, (width, height)."""


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """How the frames of a video become tokens.

    Attributes:
        frames: how many are sampled; with ``fps`` the most that are.
        fps: frames a second to sample; None takes ``frames`` of them evenly over the whole video.
        aspect: what makes one square of a frame; frames are never tiled.
        stride: the pooling over a frame's features, 1 for none.
        pooling: ``average`` and ``max`` drop an odd last row, ``bilinear`` keeps one (rounded up).
        newline: where ``image_newline`` stands.
        before_connector: pooling acts on the tower's features (LLaVA-NeXT-Video) and not on the
            connector's output (LLaVA-NeXT's later code, LLaVA-OneVision).
    """

    frames: int = 32
    fps: float | None = None
    aspect: Literal["crop", "pad", "squash"] = "squash"
    stride: int = 2
    pooling: Pooling = "bilinear"
    newline: FrameNewline = "one_token"
    before_connector: bool = False

    def __post_init__(self) -> None:
        _choice(self.aspect, ("crop", "pad", "squash"), "aspect of video frames")
        _choice(self.pooling, get_args(Pooling), "pooling of video frames")
        _choice(self.newline, get_args(FrameNewline), "place of image_newline in a video")
        if self.frames < 1 or self.stride < 1 or (self.fps is not None and not self.fps > 0):
            raise CheckpointError(
                f"a video of {self.frames} frames at {self.fps} a second, pooled by {self.stride}",
                remedy="frames, frames a second and the pooling's stride are positive",
            )


@dataclass(frozen=True, slots=True)
class LayoutSettings:
    """What decides how many tokens a picture fills, for one checkpoint.

    Attributes:
        side: the side of the tower's square input, pixels.
        features: features along one side of what the tower gives, without class tokens.
        aspect: what becomes of a picture that is no square.
        merge: how the features of several tiles become one sequence.
        flavour: whose rounding, see ``grid.unpadded``.
        pinpoints: the canvases of ``anyres``, (width, height) in pixels, in the checkpoint's order.
        max_tiles: N of ``anyres_max_N``, or None.
        class_tokens: how many class tokens stay before a tile's features (``cls_patch``).
        newline: whether ``spatial_unpad`` writes ``image_newline``; it means nothing to other merges.
        multi_image: what ``anyres`` does with samples of several pictures.
        video: None where the checkpoint knows no video.

    Raises:
        CheckpointError: settings that contradict each other.
    """

    side: int
    features: int
    aspect: Aspect = "crop"
    merge: Merge = "flat"
    flavour: Flavour = "original"
    pinpoints: tuple[Size, ...] = ()
    max_tiles: int | None = None
    class_tokens: int = 0
    newline: bool = True
    multi_image: MultiImage = "pad"
    video: VideoSettings | None = None

    def __post_init__(self) -> None:
        _choice(self.aspect, get_args(Aspect), "image aspect")
        _choice(self.merge, get_args(Merge), "patch merge type")
        _choice(self.flavour, get_args(Flavour), "flavour")
        _choice(self.multi_image, get_args(MultiImage), "way with several images")
        if not 1 <= self.features <= self.side:
            raise CheckpointError(
                f"a tower's input of {self.side} pixels gives no {self.features} features a side",
                remedy="check image_size and patch_size of the vision tower's config",
            )
        _check_tiles(self)
        _check_class_tokens(self)
        if self.video is not None and self.video.newline != "none" and not self.writes_newline:
            raise CheckpointError(
                f"a video has image_newline by {self.video.newline}, the merge type {self.merge} has none",
                remedy="set the video's newline to none, or use spatial_unpad with image_newline",
            )

    @property
    def writes_newline(self) -> bool:
        """Whether the model needs an ``image_newline`` parameter."""
        return self.newline and self.merge == "spatial_unpad"

    def for_sample(self, images: int) -> LayoutSettings:
        """The settings for a sample of so many pictures: with several, ``anyres`` may become ``pad``."""
        if images > 1 and self.aspect == "anyres" and self.multi_image == "pad":
            return replace(self, aspect="pad", pinpoints=(), max_tiles=None)
        return self


def _check_tiles(settings: LayoutSettings) -> None:
    if (settings.aspect == "anyres") != bool(settings.pinpoints):
        raise CheckpointError(
            f"the aspect is {settings.aspect}, with {len(settings.pinpoints)} grid pinpoints",
            where="image_grid_pinpoints",
            remedy="anyres needs pinpoints, and nothing else has any",
        )
    check_pinpoints(settings.pinpoints, settings.side)
    if settings.max_tiles is None:
        return
    if settings.max_tiles < 1 or settings.aspect != "anyres" or settings.merge != "spatial_unpad":
        raise CheckpointError(
            f"anyres_max_{settings.max_tiles} with the aspect {settings.aspect} and {settings.merge} merging",
            where="image_aspect_ratio",
            remedy="a largest number of tiles is at least 1 and needs anyres and spatial_unpad",
        )


def _check_class_tokens(settings: LayoutSettings) -> None:
    spatial = settings.aspect == "anyres" and settings.merge != "flat"
    if settings.class_tokens < 0 or (settings.class_tokens and (spatial or settings.video is not None)):
        raise CheckpointError(
            f"{settings.class_tokens} class tokens a tile have no place in a map of features",
            where="select_feature",
            remedy="select the feature 'patch', or use the merge type flat and no video",
        )


def parse_aspect(word: str) -> tuple[Literal["square", "pad", "anyres"], int | None]:
    """LLaVA's ``image_aspect_ratio``: the way, and N of ``anyres_max_N``.

    ``square`` leaves it to the tower's own image processor.

    Raises:
        CheckpointError: another word.
    """
    tiles = re.fullmatch(r"anyres(?:_max_([1-9]\d*))?", word)
    if tiles:
        return "anyres", int(tiles[1]) if tiles[1] else None
    if word == "square":
        return "square", None
    if word == "pad":
        return "pad", None
    raise CheckpointError(
        f"there is no image_aspect_ratio {word!r}",
        where="image_aspect_ratio",
        remedy=suggest(word, ("square", "pad", "anyres", "anyres_max_9")),
    )


def check_pinpoints(pinpoints: Sequence[Size], side: int, where: str = "image_grid_pinpoints") -> None:
    """Refuse canvases that no whole tiles of ``side`` pixels cover, with a CheckpointError."""
    for pinpoint in pinpoints:
        if min(pinpoint) < 1 or pinpoint[0] % side or pinpoint[1] % side:
            raise CheckpointError(
                f"the grid pinpoint {pinpoint[0]} x {pinpoint[1]} is no whole number of {side} pixel tiles",
                where=where,
                remedy=f"use multiples of {side} above 0",
            )


def parse_pinpoints(
    value: object, side: int, flavour: Flavour, where: str = "image_grid_pinpoints"
) -> tuple[Size, ...]:
    """Grid pinpoints as configs write them, as (width, height) pairs in their order.

    Args:
        value: a list of pairs; the same as text; or LLaVA-NeXT's range in tiles, "(1x1),...,(6x6)":
            every grid from the first to the last, width first.
        side: the tower's input side in pixels, the unit of a range.
        flavour: the original writes (width, height), transformers (height, width). A range is the
            original's.
        where: the file and key, for the error.

    Raises:
        CheckpointError: none of these, or a list in tiles that its first and last would not give.
    """
    if isinstance(value, str) and "x" in value:
        return _tile_range(value, side, where)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise _no_pinpoints(value, where) from error
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise _no_pinpoints(value, where)
    pairs: list[Size] = []
    for pair in value:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(type(item) is int for item in pair):
            raise _no_pinpoints(value, where)
        first, second = pair
        pairs.append((first, second) if flavour == "original" else (second, first))
    check_pinpoints(pairs, side, where)
    return tuple(pairs)


def _tile_range(value: str, side: int, where: str) -> tuple[Size, ...]:
    found = [(int(wide), int(high)) for wide, high in re.findall(r"\(\s*(\d+)\s*x\s*(\d+)\s*\)", value)]
    if not found:
        raise _no_pinpoints(value, where)
    (wide_from, high_from), (wide_to, high_to) = found[0], found[-1]
    grids = [(wide, high) for wide in range(wide_from, wide_to + 1) for high in range(high_from, high_to + 1)]
    if not grids or ("..." not in value and sorted(set(found)) != grids):
        raise CheckpointError(
            f"{value!r} lists other grids than the range from its first to its last",
            where=where,
            remedy="write the range as (1x1),...,(6x6), or the canvases in pixels as a list of pairs",
        )
    pinpoints = tuple((wide * side, high * side) for wide, high in grids)
    check_pinpoints(pinpoints, side, where)
    return pinpoints


def _no_pinpoints(value: object, where: str) -> CheckpointError:
    return CheckpointError(
        f"{value!r} are no grid pinpoints",
        where=where,
        remedy="give a list of pairs in pixels, [[336, 672], [672, 336]], or a range, (1x1),...,(6x6)",
    )


def _choice(value: object, choices: Sequence[str], what: str) -> None:
    if value not in choices:
        raise CheckpointError(f"there is no {what} {value!r}", remedy=suggest(str(value), choices))
