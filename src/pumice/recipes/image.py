"""What a recipe may say of pictures and videos."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pumice.recipes.values import Count, Grids, Problem, Strict

NEXT_GRIDS = ("1x2", "2x1", "2x2", "3x1", "1x3")
"""LLaVA-NeXT's five canvases in its order, (336, 672) first, in tiles."""


class ImageOptions(Strict):
    """How a picture becomes the tower's square, or several."""

    aspect: Literal["crop", "pad", "squash", "anyres"] = Field(
        default="pad",
        description="crop: resize the short side, cut the centre out; pad: fill up to a square with the mean "
        "colour, as LLaVA 1.5 instructs; squash: resize both sides, changing the shape of things; anyres: "
        "the whole picture squashed, and tiles of it at a higher resolution, as LLaVA-NeXT.",
    )
    grids: Grids = Field(
        default=NEXT_GRIDS,
        min_length=1,
        description="anyres only: the canvases a picture may fill, in tiles, columns x rows; of equally good "
        "ones the first is taken.",
    )
    max_tiles: Count | None = Field(
        default=None,
        description="anyres only: shrink the map of a picture's features to about so many tiles' worth "
        "(anyres_max_N); null: never.",
    )
    merge: Literal["flat", "spatial", "spatial_unpad"] = Field(
        default="spatial_unpad",
        description="anyres only: how tiles become tokens. flat: tile after tile; spatial: row by row over "
        "the whole picture; spatial_unpad: that without the padding, and a learnt newline after each row.",
    )
    flavour: Literal["original", "transformers"] = Field(
        default="transformers",
        description="anyres only: whose rounding; a few pictures in 100,000 differ. What transformers is to "
        "load takes transformers.",
    )
    multi_image: Literal["pad", "same"] = Field(
        default="pad",
        description="anyres only: the pictures of a sample that has several. pad: one padded square each; "
        "same: tiles, like a single one.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.aspect != "anyres":
            for name in ("grids", "max_tiles", "merge", "flavour", "multi_image"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise Problem(
                        f"{name} belongs to the aspect anyres, and this is {self.aspect}",
                        f"remove {name}, or set aspect to anyres",
                        (name,),
                    )
        if self.max_tiles is not None and self.merge != "spatial_unpad":
            raise Problem(
                f"max_tiles needs the merge spatial_unpad, and this is {self.merge}",
                "remove max_tiles, or set merge to spatial_unpad",
                ("max_tiles",),
            )
        return self


class VideoOptions(Strict):
    """How the frames of a video become tokens (docs/images.md)."""

    frames: Count = Field(default=32, description="How many frames are sampled; with fps the most that are.")
    fps: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Frames a second to sample; null: evenly over the whole video."
    )
    aspect: Literal["crop", "pad", "squash"] = Field(
        default="squash", description="What makes one square of a frame; frames are never tiled."
    )
    stride: Count = Field(default=2, description="The pooling over a frame's features; 1 is none.")
    pooling: Literal["average", "max", "bilinear"] = Field(
        default="average", description="average and max drop an odd last row, bilinear rounds up."
    )
    newline: Literal["grid", "frame", "one_token", "none"] = Field(
        default="none",
        description="Where the learnt newline stands: after each row, each frame, once at the end, or "
        "nowhere. Only models with anyres and spatial_unpad have one.",
    )
    before_connector: bool = Field(
        default=True,
        description="true pools the tower's features, as LLaVA-NeXT-Video; false the connector's output.",
    )
