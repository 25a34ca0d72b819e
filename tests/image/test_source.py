from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.errors import ImageError
from pumice.image import image_size, open_image
from pumice.image.source import open_picture
from pumice.types import ImageRef


def picture(suffix: str = "PNG", size: tuple[int, int] = (31, 17)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, suffix)
    return stream.getvalue()


@pytest.fixture(params=["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def data(request: pytest.FixtureRequest) -> bytes:
    return picture(request.param)


def test_a_picture_inside_a_file_is_the_same_picture(tmp_path: Path, data: bytes) -> None:
    alone, box = tmp_path / "alone", tmp_path / "box"
    alone.write_bytes(data)
    box.write_bytes(b"before" + data + data[::-1])
    part = ImageRef(box, 6, len(data), "a picture")
    assert image_size(part) == image_size(alone) == (31, 17)
    assert np.array_equal(np.asarray(open_image(part)), np.asarray(open_image(alone)))


def test_nothing_outside_the_part_is_seen(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"0123456789")
    with open_picture(ImageRef(box, 3, 4, "x")) as stream:
        assert stream.read() == b"3456"
        assert stream.read() == b""
        assert stream.seek(-2, os.SEEK_END) == 2
        assert stream.read(10) == b"56"
        assert stream.seek(1) == 1
        assert stream.seek(1, os.SEEK_CUR) == 2
        assert stream.tell() == 2
        with pytest.raises(ValueError, match="seek"):
            stream.seek(-1)
        assert stream.seek(9) == 9
        assert stream.read() == b""


def test_a_picture_cut_by_its_part_is_damaged_not_completed(tmp_path: Path) -> None:
    data = picture()
    box = tmp_path / "box"
    box.write_bytes(data)
    with pytest.raises(ImageError, match=r"a picture in .*box is damaged") as caught:
        open_image(ImageRef(box, 0, len(data) - 30, "a picture"), where="row 3")
    assert caught.value.where == "row 3"


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [(0, 0, "is empty"), (8, 3, "shorter than it was"), (0, 10, r"x in .*box is no JPEG")],
)
def test_parts_that_hold_no_picture(tmp_path: Path, offset: int, length: int, message: str) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"0123456789")
    with pytest.raises(ImageError, match=message):
        image_size(ImageRef(box, offset, length, "x"))


def test_a_container_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"x in .*none does not exist"):
        image_size(ImageRef(tmp_path / "none", 0, 4, "x"))
    with pytest.raises(ImageError, match="is not a file"):
        image_size(ImageRef(tmp_path, 0, 4, "x"))


def test_the_header_alone_is_read_for_a_size(tmp_path: Path) -> None:
    """What is behind it may be damaged."""
    data = bytearray(picture())
    data[60] ^= 0xFF
    assert zlib.crc32(data) != zlib.crc32(picture())
    box = tmp_path / "box"
    box.write_bytes(bytes(data))
    assert image_size(ImageRef(box, 0, len(data), "x")) == (31, 17)
