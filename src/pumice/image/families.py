"""What a checkpoint's config says about pictures and videos, for both families of configs.

``read_original`` reads LLaVA's and LLaVA-NeXT's own ``config.json`` (``mm_patch_merge_type`` and its like),
``read_transformers`` that of transformers' llava, llava_next, llava_next_video and llava_onevision. Both
take the tower's own image processor and give the one to use, with the settings that count its tokens.
Where a key is missing, the default is that of the code the config was written for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pumice.errors import CheckpointError, suggest
from pumice.image.layout import kept_class_tokens
from pumice.image.process import ImageProcessor
from pumice.image.settings import (
    FrameNewline,
    LayoutSettings,
    Merge,
    Pooling,
    VideoSettings,
    parse_aspect,
    parse_pinpoints,
)

_NEWLINES: dict[str, FrameNewline] = {
    "grid": "grid",
    "frame": "frame",
    "one_token": "one_token",
    "no_token": "none",
}
_MERGES: dict[str, Merge] = {"flat": "flat", "spatial": "spatial", "spatial_unpad": "spatial_unpad"}
_POOLINGS: dict[str, Pooling] = {"average": "average", "max": "max", "bilinear": "bilinear"}
_VIDEO_KEYS = ("mm_spatial_pool_stride", "mm_spatial_pool_mode", "mm_newline_position")
_MODELS = ("llava", "llava_next", "llava_next_video", "llava_onevision")
_STRATEGIES = {"default": "patch", "full": "cls_patch"}

Geometry = tuple[ImageProcessor, LayoutSettings]


def read_original(
    config: Mapping[str, Any], processor: ImageProcessor, *, features: int, class_tokens: int
) -> Geometry:
    """Processor and settings of a checkpoint in LLaVA's own layout.

    Args:
        config: its ``config.json``.
        processor: that of its vision tower.
        features: features along one side of the tower's output.
        class_tokens: how many tokens stand before them in the tower.

    Raises:
        CheckpointError: an aspect, merge type, pinpoints or video setting that is unknown or does not fit.
    """
    frames = processor.mode  # the original sends frames through the tower's own processor
    way, max_tiles = parse_aspect(str(config.get("image_aspect_ratio") or "square"))
    if way == "pad":
        processor = processor.with_mode("pad")
    elif way == "anyres":
        pinpoints = parse_pinpoints(config.get("image_grid_pinpoints"), processor.image_size, "original")
        processor = processor.with_mode("anyres", pinpoints)
    merge = _named(config, "mm_patch_merge_type", _MERGES, "flat")
    feature = str(config.get("mm_vision_select_feature") or "patch")
    settings = LayoutSettings(
        side=processor.image_size,
        features=features,
        aspect=processor.mode,
        merge=merge,
        flavour="original",
        pinpoints=processor.pinpoints,
        max_tiles=max_tiles,
        class_tokens=kept_class_tokens(feature, class_tokens),
        video=original_video(config, merge, frames),
    )
    return processor, settings


def original_video(config: Mapping[str, Any], merge: str, aspect: Any) -> VideoSettings | None:
    """What LLaVA's own ``config.json`` says of videos; None where it says nothing.

    Args:
        config: its fields.
        merge: its ``mm_patch_merge_type``.
        aspect: how the tower's own image processor makes a square.

    Raises:
        CheckpointError: an unknown pooling or place of the newline.
    """
    pooled = config.get("mm_resampler_type") == "spatial_pool"
    if not pooled and all(config.get(key) is None for key in _VIDEO_KEYS):
        return None
    newline = _named(config, "mm_newline_position", _NEWLINES, "one_token")
    if merge == "flat" or (merge == "spatial" and newline == "one_token"):
        newline = "none"  # the original writes none there, whatever its config says
    return VideoSettings(
        aspect=aspect,
        stride=int(config.get("mm_spatial_pool_stride") or 2),
        pooling=_named(config, "mm_spatial_pool_mode", _POOLINGS, "bilinear"),
        newline=newline,
        before_connector=pooled,
    )


def read_transformers(
    config: Mapping[str, Any], processor: ImageProcessor, *, features: int, class_tokens: int
) -> Geometry:
    """Processor and settings of a checkpoint in transformers' layout.

    Args:
        config: its ``config.json``.
        processor: the checkpoint's own.
        features: features along one side of the tower's output.
        class_tokens: how many tokens stand before them in the tower.

    Raises:
        CheckpointError: an unknown ``model_type``, or a config and a processor that contradict each other.
    """
    model = config.get("model_type")
    if model not in _MODELS:
        raise _unknown("model_type", model, _MODELS)
    default = "full" if model == "llava_onevision" else "default"
    kept = kept_class_tokens(
        _named(config, "vision_feature_select_strategy", _STRATEGIES, default), class_tokens
    )
    plain = LayoutSettings(
        side=processor.image_size,
        features=features,
        aspect=processor.mode,
        merge="flat" if model == "llava" else "spatial_unpad",
        flavour="transformers",
        pinpoints=processor.pinpoints,
        class_tokens=kept,
        multi_image="pad" if model == "llava_onevision" else "same",
    )
    if (processor.mode == "anyres") != (model != "llava"):
        raise CheckpointError(
            f"a checkpoint of model_type {model} with an image processor of mode {processor.mode}",
            where="image_processor_type",
            remedy="copy the preprocessor_config.json that belongs to this checkpoint",
        )
    _check_same_pinpoints(config, processor)
    if model == "llava_onevision":
        ratio = str(config.get("vision_aspect_ratio") or "anyres_max_9")
        max_tiles = parse_aspect(ratio)[1]
        if max_tiles is None:
            raise _unknown("vision_aspect_ratio", ratio, ("anyres_max_9",))
        return processor, replace(plain, max_tiles=max_tiles, video=VideoSettings())
    if model == "llava_next_video":
        video = VideoSettings(
            aspect="crop",
            stride=int(config.get("spatial_pool_stride") or 2),
            pooling=_named(config, "spatial_pool_mode", {"average": "average", "max": "max"}, "average"),
            newline="none",
            before_connector=True,
        )
        return processor, replace(plain, video=video)
    return processor, plain


def _check_same_pinpoints(config: Mapping[str, Any], processor: ImageProcessor) -> None:
    written = config.get("image_grid_pinpoints")
    if written is None:  # transformers leaves out what is the default
        return
    pinpoints = parse_pinpoints(written, processor.image_size, "transformers")
    if pinpoints != processor.pinpoints:
        raise CheckpointError(
            f"config.json cuts pictures by {len(pinpoints)} grid pinpoints, the image processor by "
            f"{len(processor.pinpoints)}, and they differ",
            where="image_grid_pinpoints",
            remedy="copy both files from the same checkpoint",
        )


def _named(config: Mapping[str, Any], key: str, choices: Mapping[str, Any], default: str) -> Any:
    word = config.get(key) or default
    if not isinstance(word, str) or word not in choices:
        raise _unknown(key, word, choices)
    return choices[word]


def _unknown(key: str, word: object, choices: Any) -> CheckpointError:
    return CheckpointError(f"there is no {key} {word!r}", where=key, remedy=suggest(str(word), choices))
