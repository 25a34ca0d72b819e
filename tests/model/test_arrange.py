from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, SiglipVisionConfig

from pumice.errors import CheckpointError
from pumice.image.anyres import sample_tiles
from pumice.image.layout import image_layout, video_layout
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings, parse_pinpoints
from pumice.model.arrange import arrange, arrange_all, pool_frames
from pumice.model.tower import VisionTower

SIDE, PATCH, D = 32, 8, 6
FEATURES = SIDE // PATCH
NEXT = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
GRIDS = [[32 * high, 32 * wide] for high in range(1, 7) for wide in range(1, 7)]
VISION: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "image_size": SIDE,
    "patch_size": PATCH,
}


def settings(numbers: list[list[int]] = NEXT, **changes: Any) -> LayoutSettings:
    fields: dict[str, Any] = {
        "side": SIDE,
        "features": FEATURES,
        "aspect": "anyres",
        "merge": "spatial_unpad",
        "flavour": "transformers",
        "pinpoints": parse_pinpoints(numbers, SIDE, "transformers"),
    }
    return LayoutSettings(**{**fields, **changes})


def sizes(count: int) -> list[tuple[int, int]]:
    drawn = torch.randint(1, 500, (count, 2), generator=torch.Generator().manual_seed(0)).tolist()
    return [(width, height) for width, height in drawn]


def model(name: str, numbers: list[list[int]], vision: Any = CLIPVisionConfig, **changes: Any) -> Any:
    """A tiny random transformers model of the LLaVA-NeXT family, its body without a head."""
    text = LlamaConfig(
        hidden_size=D,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        vocab_size=16,
    )
    config = getattr(transformers, f"{name}Config")(
        vision_config=vision(**VISION), text_config=text, image_grid_pinpoints=numbers, **changes
    )
    torch.manual_seed(0)
    return getattr(transformers, f"{name}Model")(config).eval()


def test_equal_to_transformers_llava_next() -> None:
    theirs = model("LlavaNext", NEXT, image_token_index=3)
    newline_D = theirs.image_newline
    for width, height in sizes(600):
        layout = image_layout((width, height), settings())
        features_NPD = torch.randn(layout.tiles, FEATURES**2, D)
        size = torch.tensor([[height, width]])
        expected, _ = theirs.pack_image_features([features_NPD], size, "default", newline_D)
        found = arrange(features_NPD, layout, newline_D)
        assert found.shape[0] == layout.tokens
        assert torch.equal(found, expected[0]), (width, height)
    plain = settings(newline=False)
    layout = image_layout((300, 200), plain)
    features_NPD = torch.randn(layout.tiles, FEATURES**2, D)
    expected, _ = theirs.pack_image_features([features_NPD], torch.tensor([[200, 300]]), "default", None)
    assert torch.equal(arrange(features_NPD, layout), expected[0])


def test_pictures_through_our_tower_as_transformers_takes_them_through_its_own() -> None:
    """Pixels, tower, connector and packing of several pictures at once, against ``get_image_features``."""
    theirs = model("LlavaNext", NEXT, image_token_index=3)
    processor = ImageProcessor(SIDE, (0.5,) * 3, (0.5,) * 3).with_mode("anyres", settings().pinpoints)
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in [(100, 30), (40, 90), (70, 70), (9, 5)]
    ]
    own = settings(multi_image="same")
    layouts = [image_layout(image.size, own) for image in images]
    pixels = [torch.from_numpy(tiles) for tiles in sample_tiles(images, processor, own)]
    tower = VisionTower(theirs.vision_tower, select_layer=-2)
    padded = torch.nn.utils.rnn.pad_sequence(pixels, batch_first=True)
    sizes = torch.tensor([[image.height, image.width] for image in images])
    with torch.no_grad():
        features_MPD = theirs.multi_modal_projector(tower(torch.cat(pixels)))
        found = arrange_all(features_MPD, layouts, theirs.image_newline)
        expected = theirs.get_image_features(padded, sizes, return_dict=True).pooler_output
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("most", [1, 4, 9])
def test_equal_to_transformers_onevision(most: int) -> None:
    theirs = model("LlavaOnevision", GRIDS, SiglipVisionConfig, image_token_index=3, video_token_index=4)
    newline_D = theirs.image_newline
    own = settings(GRIDS, max_tiles=most)
    shrunk = 0
    for width, height in sizes(300):
        layout = image_layout((width, height), own)
        features_NPD = torch.randn(layout.tiles, FEATURES**2, D)
        size = torch.tensor([[height, width]])
        ratio = f"anyres_max_{most}"
        expected, _ = theirs.pack_image_features([features_NPD], size, newline_D, ratio)
        found = arrange(features_NPD, layout, newline_D)
        assert found.shape[0] == layout.tokens
        assert torch.equal(found, expected[0]), (width, height)
        shrunk += layout.kept[0] < layout.crop[2] - layout.crop[0]
    assert shrunk > 50 or most == 9


def test_several_padded_pictures_as_onevision() -> None:
    theirs = model("LlavaOnevision", GRIDS, SiglipVisionConfig, image_token_index=3, video_token_index=4)
    own = settings(GRIDS, max_tiles=9).for_sample(2)
    layouts = [image_layout(size, own) for size in [(64, 20), (9, 30)]]
    features_MPD = torch.randn(2, FEATURES**2, D)
    size = torch.tensor([[20, 64], [30, 9]])
    expected, _ = theirs.pack_image_features(list(features_MPD[:, None]), size, theirs.image_newline)
    for one, other in zip(arrange_all(features_MPD, layouts, theirs.image_newline), expected, strict=True):
        assert torch.equal(one, other)


def video_features(theirs: Any, pixels: torch.Tensor) -> torch.Tensor:
    """A transformers model's tokens [T, D] of one video; releases wrap them differently."""
    found = theirs.get_video_features(pixels, return_dict=True).pooler_output
    return torch.cat(list(found)).reshape(-1, D)


def test_onevision_video() -> None:
    theirs = model("LlavaOnevision", GRIDS, SiglipVisionConfig, image_token_index=3, video_token_index=4)
    layout = video_layout(3, settings(GRIDS, max_tiles=9, video=VideoSettings()))
    pixels = torch.randn(1, 3, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = video_features(theirs, pixels)
        states = theirs.vision_tower(pixels[0], output_hidden_states=True).hidden_states[-1]
        features_NPD = theirs.multi_modal_projector(states)
    found = arrange(features_NPD, layout, theirs.image_newline)
    assert found.shape[0] == layout.tokens == 3 * 4 + 1
    if expected.shape[0] == 12:  # older releases add the newline in forward
        expected = torch.cat([expected, theirs.image_newline[None]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", ["average", "max"])
def test_llava_next_video_pools_before_the_connector(mode: Any) -> None:
    theirs = model("LlavaNextVideo", NEXT, image_token_index=3, video_token_index=4, spatial_pool_mode=mode)
    video = VideoSettings(pooling=mode, newline="none", before_connector=True)
    layout = video_layout(3, settings(video=video))
    pixels = torch.randn(1, 3, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = video_features(theirs, pixels)
        states = theirs.vision_tower(pixels[0], output_hidden_states=True).hidden_states[-2][:, 1:]
        features_NPD = theirs.multi_modal_projector(pool_frames(states, layout))
    torch.testing.assert_close(arrange(features_NPD, layout), expected)
    assert layout.tokens == expected.shape[0]


@given(
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
    st.sampled_from(["flat", "spatial", "spatial_unpad"]),
    st.sampled_from(["crop", "anyres"]),
    st.sampled_from(["original", "transformers"]),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
)
def test_as_many_tokens_as_the_layout_says(
    size: tuple[int, int], merge: Any, aspect: Any, flavour: Any, newline: bool, most: int | None
) -> None:
    tiled = aspect == "anyres"
    own = settings(
        GRIDS,
        merge=merge,
        aspect=aspect,
        flavour=flavour,
        newline=newline,
        pinpoints=parse_pinpoints(GRIDS, SIDE, flavour) if tiled else (),
        max_tiles=most if tiled and merge == "spatial_unpad" else None,
        class_tokens=int(merge == "flat"),
    )
    layout = image_layout(size, own)
    features_NPD = torch.zeros(layout.tiles, layout.tile_features, D)
    newline_D = torch.ones(D) if own.writes_newline else None
    tokens_TD = arrange(features_NPD, layout, newline_D)
    assert tokens_TD.shape == (layout.tokens, D)
    rows = 0 if not own.writes_newline else layout.kept[1] if tiled else 1
    assert int(tokens_TD.sum()) == rows * D  # only newlines are not zero


@pytest.mark.parametrize(
    ("pooling", "stride", "newline"),
    [*itertools.product(["average", "max", "bilinear"], [1, 2, 3], ["grid", "frame", "one_token", "none"])],
)
def test_as_many_video_tokens_as_the_layout_says(pooling: Any, stride: int, newline: Any) -> None:
    own = settings(features=5, video=VideoSettings(pooling=pooling, stride=stride, newline=newline))
    layout = video_layout(4, own)
    features_NPD = torch.zeros(4, 25, D)
    tokens_TD = arrange(features_NPD, layout, torch.ones(D))
    assert tokens_TD.shape == (layout.tokens, D)
    ends = {"grid": 4 * layout.kept[1], "frame": 4, "one_token": 1, "none": 0}[newline]
    assert int(tokens_TD.sum()) == ends * D


def test_tokens_lie_as_the_picture_does() -> None:
    """Each feature knows its tile and place; the map must read like the picture, row by row."""
    own = settings(flavour="original", pinpoints=((64, 64),), merge="spatial")
    layout = image_layout((64, 64), own)
    tile_N, row_N, column_N = torch.arange(5), torch.arange(4), torch.arange(4)
    features_NPD = torch.cartesian_prod(tile_N, row_N, column_N).reshape(5, 16, 3).float()
    map_RC3 = arrange(features_NPD, layout)[16:].reshape(8, 8, 3)
    assert map_RC3[0, 3].tolist() == [1, 0, 3]
    assert map_RC3[0, 4].tolist() == [2, 0, 0]
    assert map_RC3[4, 3].tolist() == [3, 0, 3]
    assert map_RC3[7, 7].tolist() == [4, 3, 3]
    flat_TD = arrange(features_NPD, image_layout((64, 64), settings(pinpoints=((64, 64),), merge="flat")))
    assert torch.equal(flat_TD, features_NPD.reshape(80, 3))


def test_the_newline_of_each_video_mode() -> None:
    features_NPD = torch.arange(2 * 16.0).reshape(2, 16, 1)
    newline_D = torch.tensor([-1.0])

    def told(newline: Any) -> list[int]:
        own = settings(video=VideoSettings(pooling="max", newline=newline))
        tokens_T1 = arrange(features_NPD, video_layout(2, own), newline_D)
        return [int(value) for value in tokens_T1[:, 0]]

    assert told("none") == [5, 7, 13, 15, 21, 23, 29, 31]
    assert told("one_token") == [5, 7, 13, 15, 21, 23, 29, 31, -1]
    assert told("frame") == [5, 7, 13, 15, -1, 21, 23, 29, 31, -1]
    assert told("grid") == [5, 7, -1, 13, 15, -1, 21, 23, -1, 29, 31, -1]


def test_gradients_reach_features_and_newline() -> None:
    own = settings(GRIDS, max_tiles=1)
    layout = image_layout((300, 170), own)
    features_NPD = torch.randn(layout.tiles, FEATURES**2, D, requires_grad=True)
    newline_D = torch.zeros(D, requires_grad=True)
    arrange(features_NPD, layout, newline_D).sum().backward()
    assert newline_D.grad is not None
    assert newline_D.grad.tolist() == [layout.kept[1]] * D
    assert features_NPD.grad is not None
    assert bool((features_NPD.grad[0] == 1).all())
    half_TD = arrange(features_NPD.to(torch.bfloat16), layout, newline_D)
    assert half_TD.dtype == torch.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    layout = image_layout((300, 200), settings())
    features_NPD = torch.zeros(layout.tiles, FEATURES**2, D)
    with pytest.raises(CheckpointError, match="no such parameter"):
        arrange(features_NPD, layout)
    for bad in (features_NPD[1:], features_NPD[:, 1:]):
        with pytest.raises(CheckpointError, match="but the layout has"):
            arrange(bad, layout, torch.zeros(D))
    with pytest.raises(CheckpointError, match=r"layouts of \d+ tiles, but features of 3"):
        arrange_all(features_NPD[:3], [layout], torch.zeros(D))
    video = video_layout(2, settings(video=VideoSettings()))
    with pytest.raises(CheckpointError, match="3 tiles of 16 features, but the layout has 2 of 16"):
        arrange(torch.zeros(3, 16, D), video, torch.zeros(D))
