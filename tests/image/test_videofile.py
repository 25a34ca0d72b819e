"""Video files; everything here needs PyAV, which also writes the files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.errors import ImageError
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.image.video import read_frames, uniform_indices, video_info, video_pixels

av = pytest.importorskip("av")

FRAMES = 40
WAYS = {
    "h264.mp4": ("libx264", {"g": "10"}),
    "h264.mkv": ("libx264", {"g": "12"}),
    "mpeg4.mp4": ("mpeg4", {}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": ("mpeg4", {}),
    "b-frames.avi": ("libx264", {"bf": "3"}),
    "h264.ts": ("libx264", {}),
    "flv1.flv": ("flv", {}),
}


def write(path: Path, codec: str, options: dict[str, str], frames: int = FRAMES) -> Path:
    """A video whose frame n is grey of 6 n."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options, stream.bit_rate = options, 4_000_000
        for number in range(frames):
            pixels = np.full((48, 64, 3), number * 6, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(images: Any) -> list[int]:
    return [round(float(np.asarray(image).mean()) / 6) for image in images]


@pytest.mark.parametrize("name", WAYS)
def test_containers(tmp_path: Path, name: str) -> None:
    codec, options = WAYS[name]
    info = video_info(write(tmp_path / name, codec, options))
    assert (info.kind, info.frames, info.rate) == ("file", FRAMES, 25.0)
    indices = uniform_indices(FRAMES, 7)
    frames = list(read_frames(info, indices))
    assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (64, 48))}
    assert numbers(frames) == indices


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm"])
def test_a_jump_gives_the_frame_that_decoding_everything_gives(tmp_path: Path, name: str) -> None:
    codec, options = WAYS[name]
    info = video_info(write(tmp_path / name, codec, options))
    every = [np.asarray(frame) for frame in read_frames(info, range(FRAMES))]
    rng = np.random.default_rng(0)
    for _ in range(12):
        indices = sorted(int(index) for index in rng.choice(FRAMES, 4, replace=False))
        for index, frame in zip(indices, read_frames(info, indices), strict=True):
            np.testing.assert_array_equal(np.asarray(frame), every[index])


def test_only_what_lies_before_a_frame_up_to_its_key_frame_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, options = WAYS["h264.mp4"]
    info = video_info(write(tmp_path / "a.mp4", codec, {**options, "bf": "0"}))
    module = pytest.importorskip("pumice.image.videofile")
    decoded = 0
    original = module._by_time

    class Counted:
        def __init__(self, container: Any) -> None:
            self.container = container

        def seek(self, *args: Any, **more: Any) -> None:
            self.container.seek(*args, **more)

        def decode(self, stream: Any) -> Any:
            nonlocal decoded
            for frame in self.container.decode(stream):
                decoded += 1
                yield frame

    monkeypatch.setattr(module, "_by_time", lambda container, *rest: original(Counted(container), *rest))
    assert numbers(read_frames(info, [3, 31])) == [3, 31]
    assert decoded == 4 + 2


def test_a_turned_telephone(tmp_path: Path) -> None:
    """The container's matrix says: turn by 90 degrees clockwise. What was left lies above then."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, :32] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 36
    one = 1 << 16
    assert struct.unpack(">9i", data[matrix : matrix + 36]) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30)
    path.write_bytes(bytes(data))
    image = next(iter(read_frames(video_info(path), [0])))
    assert image.size == (48, 64)
    assert np.asarray(image)[:28].mean() > 240
    assert np.asarray(image)[36:].mean() < 15


def test_pixels_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4", {})
    processor = ImageProcessor(16, (0.5,) * 3, (0.5,) * 3, "squash")
    settings = LayoutSettings(
        side=16, features=4, merge="spatial_unpad", video=VideoSettings(frames=8, fps=5.0)
    )
    pixels = video_pixels(path, processor, settings)
    assert pixels.shape == (8, 3, 16, 16)
    grey = (pixels.mean((1, 2, 3)) + 1) * 127.5 / 6
    np.testing.assert_allclose(grey, range(0, 40, 5), atol=1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("text.mp4", b"<html>404</html>"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
        ("list.txt", b"ffconcat version 1.0\nfile other.ts\n"),
    ],
)
def test_what_is_no_video_is_refused_and_no_list_is_followed(tmp_path: Path, name: str, data: bytes) -> None:
    write(tmp_path / "other.ts", "mpeg2video", {})
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match="neither a picture nor a video") as caught:
        video_info(path, where="rows.json, row 5")
    assert caught.value.where == "rows.json, row 5"


def test_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {"g": "10"})
    info = video_info(path)
    whole = path.read_bytes()
    place = whole.index(b"mdat")
    path.write_bytes(whole[: place + 4] + b"\0" * (len(whole) - place - 4))
    with pytest.raises(ImageError, match=r"a\.mp4"):
        list(read_frames(info, range(FRAMES)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"a\.mp4"):
        list(read_frames(video_info(path), range(FRAMES)))


def test_frames_that_the_header_promises_and_the_file_lacks(tmp_path: Path) -> None:
    long, short = (
        write(tmp_path / name, "mpeg4", {}, count) for name, count in (("a.mp4", 20), ("b.mp4", 9))
    )
    info = video_info(long)
    long.write_bytes(short.read_bytes())
    with pytest.raises(ImageError, match="has no frame 12"):
        list(read_frames(info, [0, 8, 12]))


def test_large_frames_are_refused_from_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4", {})
    with pytest.raises(ImageError, match="64 x 48: more than 3,000 pixels"):
        video_info(path, max_pixels=3000)


def test_a_file_of_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ImageError, match="holds no video"):
        video_info(path)
