"""Pictures of strangers: what is sniffed, judged and refused before a pixel is decoded."""

from __future__ import annotations

import base64
import io
import struct
import tracemalloc
import zlib
from typing import Any

import PIL.Image
import pytest

from pumice.serve.failure import Failure
from pumice.serve.limits import Limits
from pumice.serve.pictures import Held, PixelBudget, base64_of, data_of, decode

from .conftest import Live, Make, data_url, png, shown

LIMITS = Limits()


def opened(data: bytes, limits: Limits = LIMITS) -> PIL.Image.Image:
    return decode(data, 1, limits, Held(PixelBudget(limits.pixels_held)), "here")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "head",
    [
        *("data:image/png;base64,", "DATA:image/png;BASE64,", "data:None;base64,", "data:;base64,"),
        *("data:image/jpeg;name=a.jpg;charset=utf-8;base64,", " data:text/html;base64 ,"),
    ],
)
def test_data_addresses_of_all_kinds(live: Live, head: str) -> None:
    reply = live.chat(shown({"url": data_url(png(), head)}))
    assert reply.status_code == 200, reply.text
    assert live.chat(shown(data_url(png(), head))).status_code == 200  # the address without an object around


def test_percents_and_the_other_alphabet() -> None:
    data = png(color=(250, 251, 252)) + b"\xff\xfe\xfd"
    assert data_of("data:," + "".join(f"%{byte:02x}" for byte in data), LIMITS, "x") == data
    plain = base64.b64encode(data).decode()
    variants = (
        *(plain, plain.rstrip("="), base64.urlsafe_b64encode(data).decode(), plain[:8] + "\n" + plain[8:]),
        plain.replace("+", "%2B").replace("=", "%3D"),
    )
    for text in variants:
        assert base64_of(text, LIMITS, "x") == data


@pytest.mark.parametrize(
    "url", ["data:image/png;base64", "data:image/png;base64,@@@", "data:image/png;base64,A"]
)
def test_data_that_is_none_is_400(live: Live, url: str) -> None:
    reply = live.chat(shown(url))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "messages[0].content[1].image_url"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_bytes_say_what_a_picture_is(live: Live, kind: str) -> None:
    assert live.chat(shown(data_url(png(kind=kind), "data:application/pdf;base64,"))).status_code == 200


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA", "PDF", "EPS", "JPEG2000"])
def test_no_other_format_is_tried(live: Live, kind: str) -> None:
    reply = live.chat(shown(data_url(png(32, 32, kind=kind))))
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "invalid_image"


@pytest.mark.parametrize(
    "data", [b"", b"x", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM" + b"\0" * 60, b"RIFF\0\0\0\0WEBP"]
)
def test_broken_pictures_are_422_and_tell_nothing_of_this_machine(live: Live, data: bytes) -> None:
    reply = live.chat(shown(data_url(data)))
    assert reply.status_code == 422
    for word in ("0x", "BytesIO", "/", "Error"):
        assert word not in reply.json()["error"]["message"]


def test_a_picture_cut_short_is_422() -> None:
    whole = png(64, 64, kind="JPEG")
    with pytest.raises(Failure) as caught:
        opened(whole[: len(whole) // 2])
    assert caught.value.status == 422


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (7000, 6000)])
def test_bombs_are_judged_by_their_header(width: int, height: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Failure) as caught:
            opened(bomb(width, height))
        assert caught.value.status in (400, 422)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_words_say_what_to_do() -> None:
    with pytest.raises(Failure, match=r"42\.0 MP; the limit is 40\.0 MP: .*--max-pixels"):
        opened(bomb(7000, 6000))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (1, 200), (300, 2)])
def test_small_pictures_are_pictures(width: int, height: int) -> None:
    assert opened(png(width, height)).size == (width, height)


@pytest.mark.parametrize(("width", "height"), [(1, 201), (1000, 1)])
def test_strips_are_refused(width: int, height: int) -> None:
    with pytest.raises(Failure, match="one side is over 200 times the other"):
        opened(png(width, height))


def test_only_the_first_frame_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [PIL.Image.new("RGB", (9, 9), (number, 0, 0)) for number in range(200)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=1)

    def seek(*_: Any) -> None:
        raise AssertionError("another frame was sought")

    monkeypatch.setattr(PIL.GifImagePlugin.GifImageFile, "seek", seek)
    assert opened(stream.getvalue()).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40, b"junk"]
)
def test_a_broken_exif_block_is_no_failure(exif: bytes) -> None:
    assert opened(png(8, 6, kind="JPEG", exif=exif)).size == (8, 6)


def test_orientation_counts() -> None:
    exif = PIL.Image.Exif()
    exif[274] = 6
    assert opened(png(8, 6, kind="JPEG", exif=exif.tobytes())).size == (6, 8)


def test_large_files_are_refused_before_they_are_decoded(make: Make) -> None:
    live = make(limits={"image_bytes": 100})
    for url in (data_url(b"x" * 200), "data:," + "x" * 1000):
        reply = live.chat(shown(url))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "image_too_large")


def test_too_many_pictures(make: Make) -> None:
    live = make(limits={"images": 2})
    content = [{"type": "image_url", "image_url": {"url": data_url(png())}}] * 3
    reply = live.chat([{"role": "user", "content": content}])
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "too_many_images")
    many = [base64.b64encode(png()).decode()] * 3
    assert (
        live.client.post("/api/generate", json={"model": "one", "prompt": "a", "images": many}).status_code
        == 400
    )


def test_pictures_in_other_roles_are_refused(live: Live) -> None:
    for role in ("system", "assistant"):
        messages = [{"role": "user", "content": "a"}, {**shown(data_url(png()))[0], "role": role}]
        assert live.chat(messages if role == "assistant" else messages[1:]).status_code == 400


def test_the_pixels_in_memory_are_bounded(make: Make) -> None:
    live = make(limits={"pixels_held": 150})
    url = data_url(png(10, 10))
    twice = [{"role": "user", "content": [{"type": "image_url", "image_url": url}] * 2}]
    reply = live.chat(twice)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "pictures_full")
    assert live.service.budget.held == 0
    assert live.chat(shown(url)).status_code == 200
    assert live.chat(shown(data_url(png(20, 20)))).status_code == 200  # alone, there is always room
    assert live.service.budget.held == 0


def test_addresses_are_not_fetched_by_default(live: Live) -> None:
    for url in ("http://127.0.0.1:1/a.png", "https://example.org/a.png", "file:///etc/passwd", "a.png"):
        reply = live.chat(shown(url))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "image_urls_off")
