"""What one vision-language model is, beside the configurations of its parts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pumice.errors import CheckpointError, suggest
from pumice.image.settings import MultiImage, VideoSettings

Flavour = Literal["original", "transformers"]
"""Whose arithmetic cuts a picture into tiles; the two differ for small and for some odd shapes."""

ASPECTS = ("square", "pad", "anyres", "anyres_max_N")
_ASPECT = re.compile(r"square|pad|anyres|anyres_max_[1-9]\d*")
_TUPLES = ("pinpoints", "scales", "towers", "image_marks")


@dataclass(frozen=True, slots=True)
class VLMConfig:
    """What the parts' own configurations do not say.

    Attributes:
        connector: ``linear``, ``identity``, ``mlp2x_gelu``, ``mlp3x_gelu``, ...
        select_layer: the tower's hidden state that is read; several are joined along the channels.
        select_feature: ``patch`` or ``cls_patch``.
        image_token_id: the id of ``<image>``.
        image_seq_length: how many tokens one square input of the tower fills, marks included.
        template: the conversation template the model was trained with.
        aspect: LLaVA's ``image_aspect_ratio``: ``square`` and ``pad`` make one input of a picture (the image
            processor says how), ``anyres`` and ``anyres_max_N`` cut it into tiles.
        pinpoints: the (width, height) in pixels that tiles may fill together; empty where there are none.
        flavour: whose arithmetic lays the tiles out: ``original`` or ``transformers``.
        merge_type: LLaVA's ``mm_patch_merge_type``: ``flat``, ``spatial`` or ``spatial_unpad``.
        newline: whether the model has an embedding that ends each line of patches (``image_newline``).
        image_marks: ids of ``<im_start>`` and ``<im_end>``, which stand around every picture's features
            and count as its tokens; None where they are not used.
        max_length: the longest sample of training in tokens (``tokenizer_model_max_length``), if known.
        scales: pixels of the sides at which the tower reads a picture (S2); empty for one scale.
        towers: the model types of several towers that are read at once; empty for one.
        multi_image: what becomes of the pictures of a sample that has several, where one is cut into tiles.
        video: how the frames of a video become tokens; None where the model knows no video.
    """

    connector: str
    select_layer: int | tuple[int, ...]
    select_feature: str
    image_token_id: int
    image_seq_length: int
    template: str
    aspect: str = "square"
    pinpoints: tuple[tuple[int, int], ...] = ()
    flavour: Flavour = "transformers"
    merge_type: str = "flat"
    newline: bool = False
    image_marks: tuple[int, int] | None = None
    max_length: int | None = None
    scales: tuple[int, ...] = ()
    towers: tuple[str, ...] = ()
    multi_image: MultiImage = "pad"
    video: VideoSettings | None = None

    def __post_init__(self) -> None:
        if _ASPECT.fullmatch(self.aspect) is None:
            raise CheckpointError(
                f"there is no image aspect {self.aspect!r}",
                where="image_aspect_ratio",
                remedy=suggest(self.aspect, ASPECTS),
            )
        if self.tiled and not self.pinpoints:
            raise CheckpointError(
                f"pictures are cut into tiles ({self.aspect}), but no grids are named",
                where="image_grid_pinpoints",
                remedy="use the config.json that was saved with these weights",
            )

    @property
    def tiled(self) -> bool:
        """Whether one picture becomes several inputs of the tower."""
        return self.aspect.startswith("anyres")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values of JSON."""
        fields = dataclasses.asdict(self)
        fields["pinpoints"] = [list(pair) for pair in self.pinpoints]
        if isinstance(self.select_layer, tuple):
            fields["select_layer"] = list(self.select_layer)
        for name in ("scales", "towers", "image_marks"):
            fields[name] = None if fields[name] is None else list(fields[name])
        return fields


def image_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of ``VLMConfig`` that a saved record (``to_dict``) has and the parts do not tell."""
    names = ("aspect", "flavour", "merge_type", "newline", "max_length", "multi_image", "video", *_TUPLES)
    facts = {name: record[name] for name in names if record.get(name) is not None}
    for name in _TUPLES:
        if name in facts:
            facts[name] = tuple(tuple(item) if isinstance(item, list) else item for item in facts[name])
    if "video" in facts:
        facts["video"] = VideoSettings(**facts["video"])
    return facts
