from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.errors import DataError, ImageError
from pumice.image import image_size, open_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10))
        + chunk(b"IEND", b"")
    )


def halves(mode: str = "RGB") -> Image.Image:
    """40 x 20: red on the left, blue on the right."""
    image = Image.new("RGB", (40, 20), BLUE)
    image.paste(RED, (0, 0, 20, 20))
    return image.convert(mode)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
def test_every_format_decodes_to_the_same_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    halves().save(path)
    image = open_image(path)
    assert image.mode == "RGB"
    assert image.size == image_size(path) == (40, 20)
    assert np.abs(np.asarray(image, int)[10, 5] - RED).max() < 12
    assert np.abs(np.asarray(image, int)[10, 35] - BLUE).max() < 12


def test_a_format_outside_the_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"  # the name lies
    halves().save(path, format="TIFF")
    with pytest.raises(ImageError, match="is no JPEG, PNG, WEBP, GIF or BMP image") as caught:
        open_image(path, where="rows.json, row 3")
    assert caught.value.where == "rows.json, row 3"
    assert caught.value.remedy
    assert isinstance(caught.value, DataError)


def test_truncated_jpeg_is_refused_by_decoding_and_its_header_still_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert image_size(path) == (64, 64)
    with pytest.raises(ImageError, match=r"a\.jpg is damaged"):
        open_image(path)


@pytest.mark.parametrize("keep", [1, 8, 20, 40])
def test_a_file_cut_within_its_header_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.png"
    halves().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageError):
        open_image(path)


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_enormous_dimensions_are_refused_before_decoding(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    for check in (open_image, image_size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ImageError, match=r"large|pixels"):
                check(path)


def test_pillows_bomb_warning_as_an_error_is_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(10_000, 9_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"large|pixels"):
            image_size(path)


def test_max_pixels_is_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    halves().save(path)
    assert image_size(path, max_pixels=800) == (40, 20)
    with pytest.raises(ImageError, match="40 x 20: more than 799 pixels"):
        open_image(path, max_pixels=799)


def test_extreme_strips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("RGB", (1, 201)).save(path)
    with pytest.raises(ImageError, match="1 x 201"):
        image_size(path)
    Image.new("RGB", (200, 1)).save(path)
    assert open_image(path).size == (200, 1)


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), RED).save(path)
    assert open_image(path).getpixel((0, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_the_size_agrees(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((20, 40, 3), np.uint8)
    upright[:10, :20], upright[:10, 20:], upright[10:, :20] = RED, BLUE, WHITE
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),  # the camera turned: the viewer turns it back clockwise
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "webp", "jpg"):
        path = tmp_path / f"a.{suffix}"
        options = {"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
        image = open_image(path)
        assert image_size(path) == image.size == (40, 20)
        inner = np.asarray(image, int)[[4, 4, 15, 15], [5, 35, 5, 35]]
        assert np.abs(inner - [RED, BLUE, WHITE, (0, 0, 0)]).max() < 20


def test_malformed_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for block in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        halves().save(path, exif=block)
        assert open_image(path).size == image_size(path) == (40, 20)
    exif = Image.Exif()
    exif[0x0112] = 99
    halves().save(path, exif=exif)
    assert open_image(path).size == (40, 20)


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


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    halves("CMYK").save(path, quality=100)
    assert np.abs(np.asarray(open_image(path), int)[10, 5] - RED).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 257 * 100, 32768, 65535]], np.uint16)).save(path)
    assert np.asarray(open_image(path))[0].tolist() == [[0] * 3, [100] * 3, [128] * 3, [255] * 3]


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


def test_only_a_picture_that_a_row_names_is_mended_by_removing_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    halves().save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:60])
    Path("large.png").write_bytes(png_header(8_300, 8_200))
    Image.new("RGB", (1, 201)).save("strip.png")
    for name in ("missing.png", "cut.png", "large.png", "strip.png", "a\0b.png"):
        for where, row in ((None, False), ("data.json, row 3", True)):
            with pytest.raises(ImageError) as caught:
                open_image(Path(name), where=where)
            assert (" row" in str(caught.value.remedy)) is row, name
    with pytest.raises(ImageError) as caught:
        open_image(Path("missing.png"))
    assert caught.value.remedy == f"check the path; it starts at {tmp_path}"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png does not exist"):
        open_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="is not a file"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path / "a\0b.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="is empty"):
        image_size(tmp_path / "empty.png")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(ImageError, match="is no JPEG"):
        open_image(tmp_path / "text.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")  # opening it would block for ever
        with pytest.raises(ImageError, match="is not a file"):
            open_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
def test_random_damage_gives_an_image_or_an_image_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    halves().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(whole)
        for place in rng.integers(0, len(bad), 6):
            bad[place] = int(rng.integers(256))
        path.write_bytes(bytes(bad))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                size = image_size(path)
                image = open_image(path)
            except ImageError:
                continue
        assert image.mode == "RGB"
        assert image.size == size


def test_real_photographs() -> None:
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    photos = sorted(Path(folder, "photos").glob("*.jpg"))
    assert photos
    for path in photos:
        image = open_image(path)
        assert image.size == image_size(path)
        assert np.asarray(image).std() > 20
