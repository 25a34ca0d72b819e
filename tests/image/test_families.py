from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import CheckpointError
from pumice.image.families import read_original, read_transformers
from pumice.image.layout import image_tokens, video_tokens
from pumice.image.process import ImageProcessor
from pumice.image.settings import NEXT_PINPOINTS, LayoutSettings, parse_pinpoints

from .parts import NUMBERS, RANGE, next_hf_settings, next_settings

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP = ImageProcessor(336, MEAN, STD)
SIGLIP = ImageProcessor(384, (0.5,) * 3, (0.5,) * 3, "squash")
NEXT = CLIP.with_mode("anyres", parse_pinpoints(NUMBERS, 336, "transformers"))
ONEVISION_NUMBERS = [[384 * high, 384 * wide] for high in range(1, 7) for wide in range(1, 7)]
ONEVISION = SIGLIP.with_mode("anyres", parse_pinpoints(ONEVISION_NUMBERS, 384, "transformers"))

LLAVA_16 = {
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": NUMBERS,
    "mm_patch_merge_type": "spatial_unpad",
    "mm_vision_select_feature": "patch",
    "model_type": "llava_llama",
}
ONEVISION_ORIGINAL = {
    "image_aspect_ratio": "anyres_max_9",
    "image_grid_pinpoints": RANGE,
    "mm_patch_merge_type": "spatial_unpad",
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": None,
    "mm_newline_position": "one_token",
}


def original(config: dict[str, Any], tower: ImageProcessor = CLIP) -> tuple[ImageProcessor, LayoutSettings]:
    features, class_tokens = (24, 1) if tower is CLIP else (27, 0)
    return read_original(config, tower, features=features, class_tokens=class_tokens)


def hugging(config: dict[str, Any], processor: ImageProcessor) -> tuple[ImageProcessor, LayoutSettings]:
    features, class_tokens = (24, 1) if processor.image_size == 336 else (27, 0)
    return read_transformers(config, processor, features=features, class_tokens=class_tokens)


@pytest.mark.parametrize(
    ("config", "mode", "tokens"),
    [
        ({"image_aspect_ratio": "pad", "mm_vision_select_feature": "patch"}, "pad", 576),
        ({"image_aspect_ratio": "square"}, "crop", 576),
        ({}, "crop", 576),
        ({"mm_vision_select_feature": "cls_patch"}, "crop", 577),
        ({"image_aspect_ratio": "pad", "mm_patch_merge_type": "spatial_unpad"}, "pad", 577),
        (LLAVA_16, "anyres", 2340),
    ],
)
def test_original_checkpoints(config: dict[str, Any], mode: str, tokens: int) -> None:
    processor, settings = original(config)
    assert processor.mode == settings.aspect == mode
    assert settings.video is None
    assert image_tokens((640, 480), settings) == tokens


def test_the_published_original_settings() -> None:
    processor, settings = original(LLAVA_16)
    assert settings == next_settings()
    assert processor.pinpoints == NEXT_PINPOINTS
    processor, settings = original(ONEVISION_ORIGINAL, SIGLIP)
    assert (settings.max_tiles, len(settings.pinpoints), settings.flavour) == (9, 36, "original")
    assert settings.video is not None
    assert (settings.video.aspect, settings.video.newline, settings.video.stride) == (
        "squash",
        "one_token",
        2,
    )
    assert video_tokens(32, settings) == 32 * 196 + 1
    assert image_tokens((640, 480), settings.for_sample(2)) == 730


def test_original_video_settings() -> None:
    """LLaVA-NeXT-Video pools before its projector; later code after it. Frames go as the tower likes them."""
    config = {
        **LLAVA_16,
        "mm_resampler_type": "spatial_pool",
        "mm_spatial_pool_stride": 2,
        "mm_spatial_pool_mode": "average",
        "mm_newline_position": "no_token",
    }
    video = original(config)[1].video
    assert video is not None
    assert (video.before_connector, video.aspect, video.newline) == (True, "crop", "none")
    for merge, place, expected in [
        ("flat", "grid", "none"),  # the original writes no newline between tiles laid flat
        ("spatial", "one_token", "none"),
        ("spatial_unpad", "frame", "frame"),
        ("spatial_unpad", "grid", "grid"),
    ]:
        changed = {**ONEVISION_ORIGINAL, "image_aspect_ratio": "pad", "mm_patch_merge_type": merge}
        video = original({**changed, "mm_newline_position": place})[1].video
        assert video is not None
        assert video.newline == expected
    with pytest.raises(CheckpointError, match="image_newline by grid"):
        original({**LLAVA_16, "mm_patch_merge_type": "spatial", "mm_newline_position": "grid"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_aspect_ratio": "highres"}, "no image_aspect_ratio 'highres'"),
        ({"image_aspect_ratio": "anyres_max_"}, "no image_aspect_ratio 'anyres_max_'"),
        ({"image_grid_pinpoints": None}, "no grid pinpoints"),
        ({"mm_patch_merge_type": "spatial_maxpool2x2"}, "no mm_patch_merge_type"),
        ({"mm_vision_select_feature": "cls"}, "unknown feature selection"),
        ({"mm_vision_select_feature": "cls_patch"}, "no place in a map"),
        ({"mm_spatial_pool_mode": "conv"}, "no mm_spatial_pool_mode"),
        ({"mm_newline_position": ["grid"]}, "no mm_newline_position"),
    ],
)
def test_original_configs_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        original({**LLAVA_16, **change})
    assert message in str(caught.value)


def test_transformers_checkpoints() -> None:
    processor, settings = hugging({"model_type": "llava"}, CLIP)
    assert (processor, settings.merge, settings.class_tokens) == (CLIP, "flat", 0)
    full = hugging({"model_type": "llava", "vision_feature_select_strategy": "full"}, CLIP)[1]
    assert image_tokens((640, 480), full) == 577
    settings = hugging({"model_type": "llava_next", "image_grid_pinpoints": NUMBERS}, NEXT)[1]
    assert settings == next_hf_settings(multi_image="same")
    settings = hugging({"model_type": "llava_next_video"}, NEXT)[1]
    assert settings.video is not None
    assert settings.video.before_connector
    assert video_tokens(8, settings) == 8 * 144
    settings = hugging({"model_type": "llava_onevision"}, ONEVISION)[1]
    assert (settings.max_tiles, settings.multi_image) == (9, "pad")
    assert video_tokens(8, settings) == 8 * 196 + 1
    less = hugging({"model_type": "llava_onevision", "vision_aspect_ratio": "anyres_max_4"}, ONEVISION)[1]
    assert less.max_tiles == 4


def test_transformers_default_configs() -> None:
    """What transformers leaves out of a saved config is read as it would read it."""
    transformers = pytest.importorskip("transformers")
    for name, processor in [("LlavaNext", NEXT), ("LlavaNextVideo", NEXT), ("LlavaOnevision", ONEVISION)]:
        config = getattr(transformers, f"{name}Config")()
        assert hugging(config.to_dict(), processor) == hugging(config.to_diff_dict(), processor)


@pytest.mark.parametrize(
    ("config", "processor", "message"),
    [
        ({"model_type": "llava_nxt"}, NEXT, "did you mean 'llava_next'"),
        ({}, NEXT, "no model_type None"),
        ({"model_type": "llava_next"}, CLIP, "image processor of mode crop"),
        ({"model_type": "llava"}, NEXT, "image processor of mode anyres"),
        ({"model_type": "llava_next", "image_grid_pinpoints": NUMBERS[:2]}, NEXT, "they differ"),
        ({"model_type": "llava_next", "vision_feature_select_strategy": "full"}, NEXT, "no place in a map"),
        ({"model_type": "llava_next_video", "spatial_pool_mode": "conv"}, NEXT, "no spatial_pool_mode"),
        (
            {"model_type": "llava_onevision", "vision_aspect_ratio": "anyres"},
            ONEVISION,
            "no vision_aspect_ratio",
        ),
    ],
)
def test_transformers_configs_that_make_no_sense(
    config: dict[str, Any], processor: ImageProcessor, message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        hugging(config, processor)
    assert message in str(caught.value)
    assert caught.value.where or "map" in message
