from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.errors import CheckpointError, UsageError
from pumice.image import ImageProcessor, Mode
from pumice.image.decode import MAX_PIXELS

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = [(64, 48), (48, 65), (10, 37), (33, 100), (32, 32), (1, 1), (1, 150), (200, 3)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def processor(mode: Mode = "crop", **changes: Any) -> ImageProcessor:
    return ImageProcessor(**{"image_size": 32, "mean": MEAN, "std": STD, "mode": mode, **changes})


def reference(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    """What transformers' Pillow processor of that type makes of it."""
    clip = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    llava = pytest.importorskip("transformers.models.llava.image_processing_pil_llava")
    siglip = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
    classes = {
        "CLIPImageProcessor": clip.CLIPImageProcessorPil,
        "LlavaImageProcessor": llava.LlavaImageProcessorPil,
        "SiglipImageProcessor": siglip.SiglipImageProcessorPil,
    }
    settings = dict(config)
    kind = classes[settings.pop("image_processor_type")]
    return kind(**settings)(image, return_tensors="np")["pixel_values"][0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["crop", "pad", "squash"])
def test_equal_to_transformers(mode: Mode, size: tuple[int, int]) -> None:
    ours = processor(mode)
    image = noise(size)
    result = ours(image)
    assert result.dtype == np.float32
    assert result.shape == (3, 32, 32)
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, reference(ours.to_dict(), image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_a_resize_above_the_crop_as_dinov2_has_it(size: tuple[int, int]) -> None:
    ours = processor("crop", shortest_edge=37)
    image = noise(size)
    np.testing.assert_allclose(ours(image), reference(ours.to_dict(), image), rtol=0, atol=1e-6)


def test_pad_keeps_the_whole_picture_and_crop_does_not() -> None:
    image = Image.new("RGB", (96, 32), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 8, 32))
    red = [
        bool((np.asarray(processor(mode).squared(image), int)[16, 0] - (255, 0, 0) == 0).all())
        for mode in ("crop", "pad", "squash")
    ]
    assert red == [False, True, True]
    padded = np.asarray(processor("pad").squared(image))
    assert padded[0, 16].tolist() == [122, 116, 104]


def test_the_long_strip_is_padded_within_memory() -> None:
    image = Image.new("RGB", (100_000, 500), (0, 255, 0))
    assert 100 * MAX_PIXELS < 100_000**2
    square = np.asarray(processor("pad").squared(image))
    assert square.shape == (32, 32, 3)
    assert square[0, 0].tolist() == [122, 116, 104]
    assert square[16, 16, 1] > 118  # the strip is a sixth of a pixel high


@pytest.mark.parametrize("mode", ["crop", "pad", "squash"])
def test_what_to_dict_writes_loads_in_transformers_and_here(tmp_path: Path, mode: Mode) -> None:
    auto = pytest.importorskip("transformers").AutoImageProcessor
    ours = processor(mode)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(ours.to_dict()))
    assert ImageProcessor.from_pretrained(tmp_path) == ours
    image = noise((50, 31))
    theirs = auto.from_pretrained(tmp_path, backend="pil")
    expected = theirs(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours(image), expected, rtol=0, atol=1 / 255 / min(STD))
    assert theirs.crop_size["height"] == 32  # LlavaProcessor counts tokens by it


@pytest.mark.parametrize("kind", ["clip", "siglip", "llava"])
def test_configs_that_transformers_saves(tmp_path: Path, kind: str) -> None:
    module = pytest.importorskip(f"transformers.models.{kind}.image_processing_pil_{kind}")
    name = {"clip": "CLIP", "siglip": "Siglip", "llava": "Llava"}[kind] + "ImageProcessorPil"
    theirs = getattr(module, name)(**({"do_pad": True} if kind == "llava" else {}))
    theirs.save_pretrained(tmp_path)
    ours = ImageProcessor.from_pretrained(tmp_path)
    assert ours.mode == {"clip": "crop", "siglip": "squash", "llava": "pad"}[kind]
    image = noise((300, 260))
    expected = theirs(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours(image), expected, rtol=0, atol=1e-6)


def test_the_nested_config_comes_first_as_in_transformers(tmp_path: Path) -> None:
    small, large = processor(), processor(image_size=48, shortest_edge=48)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(small.to_dict()))
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor"}))
    assert ImageProcessor.from_pretrained(tmp_path).image_size == 32
    nested = {"processor_class": "LlavaProcessor", "image_processor": large.to_dict()}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert ImageProcessor.from_pretrained(tmp_path).image_size == 48
    assert ImageProcessor.from_pretrained(tmp_path, mode="pad").mode == "pad"


def test_an_old_clip_config_with_plain_numbers() -> None:
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 336, "crop_size": 336}
    ours = ImageProcessor.from_dict(old)
    assert (ours.mode, ours.image_size, ours.shortest_edge, ours.mean) == ("crop", 336, 336, MEAN)


def test_modes_change_without_changing_the_output_size() -> None:
    dino = processor("crop", shortest_edge=37)
    padded = dino.with_mode("pad")
    assert (padded.image_size, padded.shortest_edge) == (32, 32)
    assert padded.with_mode("crop").with_mode("squash").image_size == 32
    assert dino.with_mode("crop") == dino


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_size": {"height": 32, "width": 40}}, "only square"),
        ({"do_resize": False}, "do_resize is off"),
        ({"do_rescale": False}, "do_rescale is off"),
        ({"resample": 77}, "is no filter"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": [1, 1, 0]}, "positive"),
        ({"image_mean": "0.5"}, "no list"),
        ({"crop_size": {"height": 64, "width": 64}}, "does not fit"),
        ({"size": {"shortest_edge": "32"}}, "no size in pixels"),
        ({"do_center_crop": False}, "nothing crops"),
        ({"image_grid_pinpoints": [[336, 672]]}, "sizes each image by itself"),
        ({"do_pad": True}, "do_pad"),
    ],
)
def test_configs_it_cannot_follow_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        ImageProcessor.from_dict({**processor().to_dict(), **change}, where="x.json")
    assert caught.value.remedy


def test_an_unknown_type_must_be_complete() -> None:
    with pytest.raises(CheckpointError, match="lacks resample"):
        ImageProcessor.from_dict(
            {"image_processor_type": "OtherImageProcessor", "size": {"height": 8, "width": 8}}
        )


def test_no_normalisation_leaves_zero_to_one() -> None:
    ours = ImageProcessor.from_dict({**processor().to_dict(), "do_normalize": False})
    result = ours(noise((40, 40)))
    assert (result.min(), result.max()) >= (0, 0.9)
    assert result.max() <= 1


def test_folders_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no image processor"):
        ImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        ImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        ImageProcessor.from_pretrained(tmp_path)


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        processor("cropp")  # type: ignore[arg-type]
    assert "did you mean 'crop'" in str(caught.value)
