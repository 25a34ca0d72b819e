from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.errors import CheckpointError, UsageError
from pumice.image import ImageProcessor, Mode, open_image
from pumice.image.config import DEFAULTS
from pumice.image.decode import MAX_PIXELS

from .parts import NUMBERS, composites_over_white, noise, random_sizes

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = [(64, 48), (48, 65), (10, 37), (33, 100), (32, 32), (1, 1), (1, 150), (200, 3)]


def processor(mode: Mode = "crop", **changes: Any) -> ImageProcessor:
    return ImageProcessor(**{"image_size": 32, "mean": MEAN, "std": STD, "mode": mode, **changes})


def pil_class(kind: str) -> Any:
    """transformers' Pillow processor of that name, without the ``ImageProcessor`` behind it."""
    folder = {"LlavaNext": "llava_next", "LlavaOnevision": "llava_onevision"}.get(kind, kind.lower())
    module = pytest.importorskip(f"transformers.models.{folder}.image_processing_pil_{folder}")
    return getattr(module, f"{kind}ImageProcessorPil")


def auto_image_processor() -> Any:
    """transformers' ``AutoImageProcessor``; some releases have it only beside torchvision."""
    auto = pytest.importorskip("transformers").AutoImageProcessor
    try:
        return auto if auto.from_pretrained else None
    except ImportError:
        pytest.skip("this transformers has AutoImageProcessor only beside torchvision")


def reference(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    """What transformers' Pillow processor of that type makes of it."""
    settings = dict(config)
    kind = settings.pop("image_processor_type").removesuffix("ImageProcessor")
    return pil_class(kind)(**settings)(image, return_tensors="np")["pixel_values"][0]


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
    auto = auto_image_processor()
    ours = processor(mode)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(ours.to_dict()))
    assert ImageProcessor.from_pretrained(tmp_path) == ours
    image = noise((50, 31))
    theirs = auto.from_pretrained(tmp_path, backend="pil")
    expected = theirs(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(ours(image), expected, rtol=0, atol=1 / 255 / min(STD))
    assert theirs.crop_size["height"] == 32  # LlavaProcessor counts tokens by it


CHECKPOINTS: dict[str, tuple[str, dict[str, Any], Mode]] = {
    "clip-l-336": (
        "CLIP",
        {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
        "crop",
    ),
    "siglip-384": ("Siglip", {"size": {"height": 384, "width": 384}}, "squash"),
    "siglip2-256": ("Siglip", {"size": {"height": 256, "width": 256}, "resample": 2}, "squash"),
    "dinov2": (
        "Bit",
        {
            "size": {"shortest_edge": 256},
            "crop_size": {"height": 224, "width": 224},
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        "crop",
    ),
    "bit": ("Bit", {}, "crop"),
    "llava-crop": ("Llava", {}, "crop"),
    "llava-pad": ("Llava", {"do_pad": True}, "pad"),
}
"""Image processors as published checkpoints set them, and the mode they stand for."""


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_configs_that_transformers_saves(tmp_path: Path, name: str) -> None:
    kind, changes, mode = CHECKPOINTS[name]
    theirs = pil_class(kind)(**changes)
    theirs.save_pretrained(tmp_path)
    ours = ImageProcessor.from_pretrained(tmp_path)
    assert ours.mode == mode
    for size in [*random_sizes(6, 700), (640, 480), (1, 150), (300, 260)]:
        image = noise(size)
        expected = theirs(image, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(ours(image), expected, rtol=0, atol=1e-6)
    assert ImageProcessor.from_dict(ours.to_dict()) == ours


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Bit", "Llava", "LlavaNext", "LlavaOnevision"])
def test_a_silent_config_has_the_defaults_of_its_class(kind: str) -> None:
    theirs = pil_class(kind)()
    if kind == "LlavaNext":  # its own defaults, 224 pixels and canvases of 336, do not fit together
        size = {"height": 336, "width": 336}
        theirs = pil_class(kind)(size={"shortest_edge": 336}, crop_size=size)
    name = f"{kind}ImageProcessor"
    told = theirs.to_dict()
    silent: dict[str, Any] = {"image_processor_type": name, "resample": None}
    if kind == "LlavaNext":
        silent |= {"size": told["size"], "crop_size": told["crop_size"]}
    assert ImageProcessor.from_dict(silent) == ImageProcessor.from_dict(told)
    assert name in DEFAULTS


def test_llava_next_configs_are_read_and_written(tmp_path: Path) -> None:
    auto = auto_image_processor()
    size = {"height": 336, "width": 336}
    theirs = pil_class("LlavaNext")(size={"shortest_edge": 336}, crop_size=size, image_grid_pinpoints=NUMBERS)
    theirs.save_pretrained(tmp_path)
    ours = ImageProcessor.from_pretrained(tmp_path)
    assert (ours.mode, ours.image_size) == ("anyres", 336)
    assert ours.pinpoints == tuple((second, first) for first, second in NUMBERS)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(ours.to_dict()))
    again = auto.from_pretrained(tmp_path, backend="pil")
    assert type(again).__name__ == "LlavaNextImageProcessorPil"
    assert again.image_grid_pinpoints == NUMBERS
    assert ImageProcessor.from_pretrained(tmp_path) == ours
    assert ImageProcessor.from_pretrained(tmp_path, mode="pad").pinpoints == ()


def test_anyres_needs_canvases_and_makes_no_single_square() -> None:
    with pytest.raises(UsageError, match="with 0 grid pinpoints"):
        processor().with_mode("anyres")
    with pytest.raises(UsageError, match="with 1 grid pinpoints"):
        processor(pinpoints=((32, 64),))
    tiled = processor().with_mode("anyres", ((32, 64),))
    assert tiled.with_mode("crop") == processor()
    with pytest.raises(CheckpointError, match="several tiles"):
        tiled(noise((9, 9)))
    with pytest.raises(CheckpointError, match="no whole number of 32 pixel tiles"):
        processor().with_mode("anyres", ((32, 65),))


FILES: dict[str, tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]]] = {
    "jpeg": ("jpg", lambda image: image, {}),
    "progressive": ("jpg", lambda image: image, {"progressive": True}),
    "cmyk": ("jpg", lambda image: image.convert("CMYK"), {}),
    "grey": ("png", lambda image: image.convert("L"), {}),
    "bits": ("png", lambda image: image.convert("1"), {}),
    "palette": ("png", lambda image: image.quantize(16), {}),
    "alpha": ("png", lambda image: image.convert("RGBA").rotate(30), {}),
    "grey-alpha": ("png", lambda image: image.convert("LA").rotate(30), {}),
    "palette-transparent": ("png", lambda image: image.quantize(16), {"transparency": 3}),
    "gif": ("gif", lambda image: image.quantize(16), {"transparency": 3}),
    "webp": ("webp", lambda image: image.convert("RGBA").rotate(30), {}),
    "tiff": ("tiff", lambda image: image, {"compression": "tiff_lzw"}),
    "tiff-cmyk": ("tiff", lambda image: image.convert("CMYK"), {}),
}


TRANSPARENT = ("alpha", "grey-alpha", "palette-transparent", "gif", "webp")


@pytest.mark.parametrize("name", FILES)
def test_real_files_as_transformers_sees_them(tmp_path: Path, name: str) -> None:
    suffix, change, options = FILES[name]
    if name in TRANSPARENT and not composites_over_white():
        pytest.skip("this transformers drops alpha")
    path = tmp_path / f"a.{suffix}"
    change(noise((61, 47)).resize((305, 235), Image.Resampling.BICUBIC)).save(path, **options)
    for ours in (processor("crop"), processor("pad"), processor("squash")):
        with Image.open(path) as image:
            expected = reference(ours.to_dict(), image)
        np.testing.assert_allclose(ours(open_image(path)), expected, rtol=0, atol=1e-6)


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
        ({"max_num_patches": 256, "image_processor_type": "Siglip2ImageProcessor"}, "max_num_patches"),
        ({"crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"}, "crop_pct"),
        ({"image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": 64}}, "tiles of 32"),
        (
            {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": [[32]]},
            "no grid pinpoints",
        ),
        (
            {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": [[32, 40]]},
            "no whole number",
        ),
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
