from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pumice.errors import DataError, ImageError
from pumice.image import image_size, open_image

from .parts import composites_over_white

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


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
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
    halves().save(path, format="TGA")
    with pytest.raises(ImageError, match="is no JPEG, PNG, WEBP, GIF, BMP or TIFF image") as caught:
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


def tiff(pixels: bytes, width: int, bits: int, tags: dict[int, int], order: str = "<") -> bytes:
    """A TIFF of one uncompressed row of greys, made by hand."""
    fields = {256: width, 257: 1, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(pixels), **tags}
    fields[273] = 8 + 2 + 12 * len(fields) + 4
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    for tag, value in sorted(fields.items()):
        head += struct.pack(f"{order}HHII", tag, 4, 1, value)
    return head + struct.pack(f"{order}I", 0) + pixels


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
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    values = [0x1234, 0x8000, 0xFF00][: channels - 1]
    row = b"\0" + struct.pack(f">{channels}H", *values, 0xFFFF)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
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


WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "gif": ("GIF", {}),
    "interlaced": ("GIF", {"interlace": 1}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_cut_file_is_refused_or_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read half, also where some library has told Pillow to let it pass."""
    kind, options = WAYS[name]
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    whole = buffer.getvalue()
    path = tmp_path / "a"
    path.write_bytes(whole)
    expected = np.asarray(open_image(path))
    said = []
    for keep in [*range(1, len(whole), len(whole) // 30), *range(len(whole) - 10, len(whole))]:
        path.write_bytes(whole[:keep])
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = open_image(path, where="rows.json, row 7")
            except ImageError as error:
                said.append((str(path) in error.what, error.where))
                continue
        np.testing.assert_array_equal(np.asarray(found), expected)
    assert len(said) > 25
    assert set(said) == {(True, "rows.json, row 7")}


@pytest.mark.parametrize("kind", ["jpeg", "gif", "bmp", "tiff", "png"])
def test_bombs_of_every_format_are_refused_from_the_header(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    halves().save(buffer, kind)
    small = bytearray(buffer.getvalue())
    if kind == "jpeg":
        place = small.index(b"\xff\xc0") + 5
        small[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    elif kind == "gif":
        small[6:10] = struct.pack("<HH", 60_000, 60_000)
    elif kind == "bmp":
        small[18:26] = struct.pack("<ii", 60_000, 60_000)
    elif kind == "png":
        small = bytearray(png_header(60_000, 60_000))
    else:
        small = bytearray(tiff(b"\0" * 40, 60_000, 8, {257: 60_000, 278: 60_000}))
    path = tmp_path / "bomb"
    path.write_bytes(bytes(small))
    for check in (image_size, open_image):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ImageError, match=r"too large|more than 67,108,864 pixels"):
                check(path)


def test_pictures_without_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for size in [(0, 5), (5, 0), (0, 0)]:
        path.write_bytes(png_header(*size))
        with pytest.raises(ImageError):
            image_size(path)


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


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
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


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
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
