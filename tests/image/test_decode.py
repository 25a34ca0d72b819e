from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pumice.errors import DataError, ImageError
from pumice.image import image_size, open_image

from .parts import BLUE, RED, WHITE, halves, png_header, tiff


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
