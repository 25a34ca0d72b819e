"""What becomes of files that are no ordinary photograph: inks, palettes, depths, frames, orientations."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.errors import ImageError
from pumice.image import image_size, open_image

from .parts import BLUE, RED, WHITE, composites_over_white, halves, png, tiff


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    image.save(path)
    result = np.asarray(open_image(path))[0]
    assert result[0].tolist() == list(WHITE)
    assert result[1].tolist() == list(RED)
    assert abs(int(result[2, 0]) - 127) <= 1


def test_transparency_is_what_transformers_makes_of_it(tmp_path: Path) -> None:
    transforms = pytest.importorskip("transformers.image_transforms")
    if not composites_over_white():
        pytest.skip("this transformers drops alpha")
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    with Image.open(path) as image:
        expected = transforms.convert_to_rgb(image)
    np.testing.assert_array_equal(np.asarray(open_image(path)), np.asarray(expected))


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    halves().quantize(4).save(path)
    assert open_image(path).getpixel((5, 5)) == RED
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    palette.save(path, transparency=1)
    image = open_image(path)
    assert [image.getpixel((0, 0)), image.getpixel((1, 0))] == [RED, WHITE]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    """JPEGs hold the inks inverted, as Adobe began it, TIFFs do not; both give the same picture."""
    path = tmp_path / f"a.{suffix}"
    halves("CMYK").save(path, **({"quality": 100} if suffix == "jpg" else {}))
    if suffix == "jpg":
        assert b"Adobe" in path.read_bytes()
    pixels = np.asarray(open_image(path), int)
    assert np.abs(pixels[10, 5] - RED).max() < 12
    assert np.abs(pixels[10, 35] - BLUE).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 257 * 100, 32768, 65535]], np.uint16)).save(path)
    assert np.asarray(open_image(path))[0].tolist() == [[0] * 3, [100] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiffs_of_either_byte_order(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(struct.pack(f"{order}3H", 0, 257 * 100, 65535), 3, 16, {}, order))
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [0, 100, 255]


def test_a_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(struct.pack("<3H", 0, 257 * 100, 65535), 3, 16, {262: 0}))
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [255, 155, 0]
    path.write_bytes(tiff(bytes([0, 100, 255]), 3, 8, {262: 0}))
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [255, 155, 0]


def test_twelve_bits_of_a_microscope_are_scaled_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00]), 4, 12, {}))
    assert np.asarray(open_image(path))[0, :, 0].tolist() == [0, 255, 128, 0]


def test_pixels_without_a_black_and_a_white_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    for pixels, message in [
        (np.array([[0.5, 1e6]], np.float32), "floating point"),
        (np.array([[0, 70_000]], np.int32), "greys from 0 to 70000"),
        (np.array([[-5, 7]], np.int32), "greys from -5 to 7"),
    ]:
        Image.fromarray(pixels).save(path)
        with pytest.raises(ImageError, match=message) as caught:
            open_image(path)
        assert caught.value.remedy


def test_the_a_of_lab_is_no_alpha(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    halves("LAB").save(path)
    assert np.abs(np.asarray(open_image(path), int)[10, 5] - RED).max() < 12


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_a_channel_are_scaled_not_clipped(tmp_path: Path, colour: int, channels: int) -> None:
    values = [0x1234, 0x8000, 0xFF00][: channels - 1]
    row = b"\0" + struct.pack(f">{channels}H", *values, 0xFFFF)
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1, 16, colour, row))
    expected = {3: (0x12, 0x80, 0xFF), 4: (0x12, 0x80, 0xFF), 2: (0x12,) * 3}[channels]
    assert open_image(path).getpixel((0, 0)) == expected


def test_grey_with_half_of_it_seen_through(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.new("LA", (2, 1), (0, 0))
    image.putpixel((1, 0), (0, 128))
    image.save(path)
    found = np.asarray(open_image(path))[0]
    assert found[0].tolist() == list(WHITE)
    assert abs(int(found[1, 0]) - 127) <= 1


def test_of_a_camera_s_double_picture_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    second = Image.new("RGB", (40, 20), WHITE)
    halves().save(path, format="MPO", save_all=True, append_images=[second])
    assert b"MPF" in path.read_bytes()
    assert image_size(path) == open_image(path).size == (40, 20)
    assert np.abs(np.asarray(open_image(path), int)[10, 5] - RED).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied_once(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tiff"
    halves().save(path, tiffinfo={274: orientation})
    image = open_image(path)
    turned = orientation >= 5
    assert image_size(path) == image.size == ((20, 40) if turned else (40, 20))
    corner = {1: RED, 2: BLUE, 3: BLUE, 4: RED, 5: RED, 6: RED, 7: BLUE, 8: BLUE}[orientation]
    assert image.getpixel((0, 0)) == corner


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    halves().save(path, format="PNG")
    assert image_size(path) == (40, 20)
    assert open_image(path).getpixel((5, 5)) == RED


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_greys_and_bits(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (4, 4), 255).convert(mode).save(path)
    assert open_image(path).getpixel((2, 2)) == WHITE


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, **options)
    assert open_image(path).getpixel((4, 4)) == RED
