from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.errors import CheckpointError
from pumice.image.layout import (
    ImageLayout,
    features_per_side,
    image_layout,
    image_tokens,
    kept_class_tokens,
    video_layout,
    video_tokens,
)
from pumice.image.settings import LayoutSettings, VideoSettings, parse_pinpoints

from .parts import NUMBERS, next_hf_settings, next_settings, onevision_settings, random_sizes

SIZES = random_sizes(3000, 3000)


def original_tokens(
    size: tuple[int, int],
    pinpoints: list[tuple[int, int]],
    side: int,
    features: int,
    most: int | None = None,
) -> int:
    """LLaVA-NeXT's count again, told as its facts are: grid, ceiling, unpadding by int(), newline, base."""
    w, h = size
    scored = []
    for order, (a, b) in enumerate(pinpoints):
        s = min(a / w, b / h)
        useful = min(int(w * s) * int(h * s), w * h)
        scored.append((-useful, a * b - useful, order, (a, b)))
    a, b = min(scored)[3]
    cols, rows = a // side * features, b // side * features
    if w / h > cols / rows:
        cut = (rows - int(h * (cols / w))) // 2
        rows -= 2 * cut
    else:
        cut = (cols - int(w * (rows / h))) // 2
        cols -= 2 * cut
    if most is not None:
        t = math.sqrt(rows * cols / (most * features**2))
        if t > 1.1:
            rows, cols = int(rows // t), int(cols // t)
    return features**2 + rows * (cols + 1)


@pytest.mark.parametrize(
    ("size", "original", "transformers"),
    [
        ((640, 480), 2340, 2340),
        ((1000, 1000), 2928, 2928),
        ((50, 57), 1276, 1128),
        ((792, 1408), 1872, 1968),
    ],
)
def test_figures_of_both_codes(size: tuple[int, int], original: int, transformers: int) -> None:
    assert image_tokens(size, next_settings()) == original
    assert image_tokens(size, next_hf_settings()) == transformers


def test_small_pictures_get_the_transposed_grid() -> None:
    for size in [(50, 57), (57, 50), (336, 336), (1, 1)]:
        assert image_layout(size, next_settings()).grid == (1, 2)
        assert image_layout(size, next_hf_settings()).grid == (2, 1)
    assert image_layout((300, 900), next_settings()).grid == image_layout((300, 900), next_hf_settings()).grid


def test_original_counts_are_those_of_a_plain_retelling() -> None:
    pinpoints = [(width, height) for width, height in NUMBERS]
    grids = [(384 * wide, 384 * high) for wide in range(1, 7) for high in range(1, 7)]
    for size in SIZES:
        assert image_tokens(size, next_settings()) == original_tokens(size, pinpoints, 336, 24), size
        expected = original_tokens(size, grids, 384, 27, most=9)
        assert image_tokens(size, onevision_settings()) == expected, size


def test_transformers_counts_are_those_of_its_llava_next_processor() -> None:
    module = pytest.importorskip("transformers.models.llava_next.processing_llava_next")
    theirs = module.LlavaNextProcessor.__new__(module.LlavaNextProcessor)
    theirs.image_processor = SimpleNamespace(image_grid_pinpoints=NUMBERS)
    theirs.patch_size, theirs.num_additional_image_tokens = 14, 1
    for width, height in SIZES:
        # -1: the class token that the strategy `default` drops
        expected = theirs._get_number_of_features(height, width, 336, 336) - 1
        assert image_tokens((width, height), next_hf_settings()) == expected, (width, height)


@pytest.mark.parametrize("most", [1, 4, 9])
def test_transformers_counts_are_those_of_its_onevision_processor(most: int) -> None:
    module = pytest.importorskip("transformers.models.llava_onevision.processing_llava_onevision")
    numbers = [[384 * high, 384 * wide] for high in range(1, 7) for wide in range(1, 7)]
    theirs = module.LlavaOnevisionProcessor.__new__(module.LlavaOnevisionProcessor)
    theirs.image_processor = SimpleNamespace(image_grid_pinpoints=numbers)
    theirs.num_image_tokens, theirs.vision_aspect_ratio = 729, f"anyres_max_{most}"
    pinpoints = parse_pinpoints(numbers, 384, "transformers")
    ours = onevision_settings(flavour="transformers", pinpoints=pinpoints, max_tiles=most)
    for width, height in SIZES:
        expected = theirs._get_number_of_features(height, width, 384, 384)
        assert image_tokens((width, height), ours) == expected, (width, height)


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(["original", "transformers"]))
def test_what_a_layout_says_of_itself_fits_together(width: int, height: int, flavour: Any) -> None:
    settings = onevision_settings(flavour=flavour)
    layout = image_layout((width, height), settings)
    columns, rows = layout.grid
    left, top, right, bottom = layout.crop
    assert layout.tiles == 1 + columns * rows
    assert layout.canvas == (384 * columns, 384 * rows)
    assert 0 <= left <= right <= 27 * columns
    assert 0 <= top <= bottom <= 27 * rows
    assert left == 27 * columns - right  # as much goes on the left as on the right, above as below
    assert top == 27 * rows - bottom
    assert layout.kept[0] <= right - left
    assert layout.kept[1] <= bottom - top
    assert layout.kept[0] * layout.kept[1] <= 1.21 * 9 * 729
    assert layout.tokens == 729 + layout.kept[1] * (layout.kept[0] + 1)


@pytest.mark.parametrize("aspect", ["crop", "pad", "squash"])
def test_a_square_has_the_same_count_for_every_size(aspect: Any) -> None:
    for size in [(640, 480), (1, 1), (200, 1)]:
        clip = LayoutSettings(side=336, features=24, aspect=aspect)
        assert image_tokens(size, clip) == 576
        assert image_layout(size, clip).tiles == 1
    assert image_tokens((9, 9), LayoutSettings(side=224, features=14, aspect=aspect, class_tokens=1)) == 197
    # LLaVA-1.6 ends a picture of one tile with a newline too
    next_ = LayoutSettings(side=336, features=24, aspect=aspect, merge="spatial_unpad")
    assert image_tokens((9, 9), next_) == 577
    assert next_.writes_newline
    assert image_tokens((9, 9), LayoutSettings(side=336, features=24, aspect=aspect, merge="spatial")) == 576


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"merge": "flat"}, 5 * 576),
        ({"merge": "flat", "class_tokens": 1}, 5 * 577),
        ({"merge": "spatial"}, 5 * 576),
        ({"merge": "spatial_unpad"}, 576 + 36 * 49),
        ({"merge": "spatial_unpad", "newline": False}, 576 + 36 * 48),
    ],
)
def test_merge_types(changes: dict[str, Any], tokens: int) -> None:
    layout = image_layout((640, 480), next_settings(**changes))
    assert (layout.tiles, layout.grid, layout.tokens) == (5, (2, 2), tokens)


def test_of_a_strip_only_the_base_may_be_left() -> None:
    layout = image_layout((2000, 12), next_settings())
    assert (layout.kept[1], layout.tokens) == (0, 576)


def test_several_pictures_are_padded_each() -> None:
    settings = onevision_settings()
    assert settings.for_sample(1) is settings
    assert image_tokens((640, 480), settings.for_sample(3)) == 729 + 1
    same = next_hf_settings(multi_image="same")
    assert same.for_sample(3) is same


@pytest.mark.parametrize(
    ("newline", "tokens"),
    [("grid", 8 * 14 * 15), ("frame", 8 * 197), ("one_token", 8 * 196 + 1), ("none", 8 * 196)],
)
def test_video_newlines(newline: Any, tokens: int) -> None:
    settings = onevision_settings(video=VideoSettings(newline=newline))
    layout = video_layout(8, settings)
    assert (layout.tiles, layout.kept, layout.tokens) == (8, (14, 14), tokens)
    assert video_tokens(8, settings) == tokens


@pytest.mark.parametrize(
    ("pooling", "stride", "side"),
    [("average", 2, 13), ("max", 2, 13), ("bilinear", 2, 14), ("bilinear", 1, 27), ("average", 3, 9)],
)
def test_video_pooling(pooling: Any, stride: int, side: int) -> None:
    video = VideoSettings(pooling=pooling, stride=stride, newline="none")
    assert video_tokens(4, onevision_settings(video=video)) == 4 * side * side


def test_transformers_video_counts() -> None:
    """``LlavaOnevisionProcessor`` and ``LlavaNextVideoProcessor`` (of an even side) on 8 frames."""
    module = pytest.importorskip("transformers.models.llava_onevision.processing_llava_onevision")
    theirs = module.LlavaOnevisionProcessor.__new__(module.LlavaOnevisionProcessor)
    theirs.num_image_tokens, theirs.video_token = 729, "v"
    expected = len(theirs.replace_video_token({"pixel_values_videos": [[0] * 8]}, 0))
    assert video_tokens(8, onevision_settings()) == expected
    module = pytest.importorskip("transformers.models.llava_next_video.processing_llava_next_video")
    numpy = pytest.importorskip("numpy")
    theirs = module.LlavaNextVideoProcessor.__new__(module.LlavaNextVideoProcessor)
    theirs.patch_size, theirs.video_token = 14, "v"
    expected = len(theirs.replace_video_token({"pixel_values_videos": [numpy.zeros((8, 3, 336, 336))]}, 0))
    video = VideoSettings(pooling="average", newline="none")
    assert video_tokens(8, next_hf_settings(video=video)) == expected


@pytest.mark.parametrize("feature", ["patch", "cls_patch"])
def test_the_count_is_what_the_tower_gives(feature: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=30,
        patch_size=7,
    )
    hidden_BLD = transformers.CLIPVisionModel(config)(torch.zeros(1, 3, 30, 30)).last_hidden_state
    given = hidden_BLD.shape[1] - (feature == "patch")
    settings = LayoutSettings(
        side=30, features=features_per_side(30, 7), class_tokens=kept_class_tokens(feature, 1)
    )
    assert image_tokens((9, 9), settings) == given


def test_refusals() -> None:
    with pytest.raises(CheckpointError) as caught:
        kept_class_tokens("patches", 1)
    assert "did you mean 'patch'" in str(caught.value)
    with pytest.raises(CheckpointError, match="holds no patch"):
        features_per_side(6, 7)
    with pytest.raises(CheckpointError, match="say nothing about video"):
        video_layout(3, next_settings())
    with pytest.raises(CheckpointError, match="leaves nothing"):
        video_layout(3, onevision_settings(video=VideoSettings(pooling="average", stride=28)))
    square = image_layout((9, 9), next_settings())
    assert isinstance(square, ImageLayout)
    with pytest.raises(AssertionError, match="no video"):
        _ = square.video
