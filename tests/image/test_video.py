from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.errors import CheckpointError, ImageError, MissingExtraError
from pumice.image.layout import video_layout
from pumice.image.process import ImageProcessor
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.image.video import (
    VideoInfo,
    frame_indices,
    read_frames,
    uniform_indices,
    video_info,
    video_pixels,
)

PROCESSOR = ImageProcessor(16, (0.5,) * 3, (0.5,) * 3, "squash")


def frame(number: int) -> Image.Image:
    return Image.new("RGB", (24, 16), (number * 10, 0, 255 - number * 10))


def settings(**changes: Any) -> LayoutSettings:
    video = VideoSettings(**{"frames": 4, **changes})
    return LayoutSettings(side=16, features=4, merge="spatial_unpad", video=video)


def folder(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for number, name in enumerate(names):
        frame(number).save(path / name)
    return path


def numbers(images: Any) -> list[int]:
    return [round(image.getpixel((5, 5))[0] / 10) for image in images]


def test_uniform_sampling_is_llava_next_s() -> None:
    assert uniform_indices(100, 8) == [0, 14, 28, 42, 56, 70, 84, 99]
    assert uniform_indices(3, 5) == [0, 0, 1, 1, 2]
    assert uniform_indices(1, 3) == [0, 0, 0]
    assert uniform_indices(10, 1) == [0]
    for total in range(1, 60):
        for count in range(1, 20):
            expected = np.linspace(0, total - 1, count, dtype=int).tolist()
            assert uniform_indices(total, count) == expected


def test_sampling_by_the_second() -> None:
    info = VideoInfo(Path("a.mp4"), "file", 100, 25.0)

    def picked(**changes: Any) -> list[int]:
        return frame_indices(info, VideoSettings(**{"frames": 32, **changes}))

    assert picked(fps=1.0) == [0, 25, 50, 75]
    assert picked(fps=2.0) == list(range(0, 100, 12))  # round(12.5) is 12
    assert picked(fps=60.0) == uniform_indices(100, 32)  # no faster than the video, and no more than 32
    assert picked(fps=1.0, frames=3) == uniform_indices(100, 3)
    assert picked() == uniform_indices(100, 32)
    with pytest.raises(ImageError, match="how many frames a second"):
        frame_indices(VideoInfo(Path("a"), "folder", 9, None), VideoSettings(fps=1.0), "rows.json, row 2")


def test_a_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    names = [f"frame-{number}.png" for number in range(12)]
    path = folder(tmp_path / "clip", names)
    (path / ".hidden.png").write_bytes(b"no frame")
    (path / "sound.wav").write_bytes(b"no frame")
    info = video_info(path)
    assert (info.kind, info.frames, info.rate) == ("folder", 12, None)
    assert numbers(read_frames(info, [0, 2, 9, 10, 11])) == [0, 2, 9, 10, 11]


def test_frames_taken_twice_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "clip", ["a.png", "b.png"])
    info = video_info(path)
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **more: opened.append(args) or original(*args, **more))
    assert numbers(read_frames(info, [0, 0, 0, 1, 1])) == [0, 0, 0, 1, 1]
    assert len(opened) == 2


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_animations(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    frames = [frame(number) for number in range(7)]
    timed = {"duration": 40} if suffix != "tiff" else {}
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **timed, **lossless)
    info = video_info(path)
    assert (info.kind, info.frames) == ("animation", 7)
    assert info.rate == (25.0 if suffix in ("gif", "png") else None)
    assert numbers(read_frames(info, range(7))) == list(range(7))
    assert numbers(read_frames(info, [0, 3, 3, 6])) == [0, 3, 3, 6]


def test_a_still_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    frame(3).save(tmp_path / "a.png")
    info = video_info(tmp_path / "a.png")
    assert info.frames == 1
    assert numbers(read_frames(info, uniform_indices(1, 2))) == [3, 3]


def test_an_animation_drawn_in_parts_gives_whole_frames(tmp_path: Path) -> None:
    """A GIF stores what changed; each frame must come with what stood there before."""
    path = tmp_path / "a.gif"
    frames = []
    for number in range(3):
        image = Image.new("RGB", (24, 16), (200, 0, 0))
        image.paste((0, 200, 0), (number * 8, 0, number * 8 + 8, 16))
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    last = next(iter(read_frames(video_info(path), [2])))
    assert [last.getpixel((x, 8)) for x in (4, 12, 20)] == [(200, 0, 0), (200, 0, 0), (0, 200, 0)]


def test_pixels_and_count_agree(tmp_path: Path) -> None:
    path = folder(tmp_path / "clip", [f"{number:03}.jpg" for number in range(9)])
    own = settings()
    assert own.video is not None
    pixels = video_pixels(path, PROCESSOR, own)
    assert (pixels.shape, pixels.dtype) == ((4, 3, 16, 16), np.float32)
    indices = frame_indices(video_info(path), own.video)
    assert video_layout(len(indices), own).tiles == 4
    expected = [PROCESSOR(image) for image in read_frames(video_info(path), indices)]
    np.testing.assert_array_equal(pixels, np.stack(expected))


def test_frames_are_squared_in_the_video_s_own_way(tmp_path: Path) -> None:
    path = folder(tmp_path / "clip", ["0.png"])
    tiled = PROCESSOR.with_mode("anyres", ((16, 32),))
    for aspect in ("crop", "pad", "squash"):
        pixels = video_pixels(path, tiled, settings(aspect=aspect))
        np.testing.assert_array_equal(pixels[0], PROCESSOR.with_mode(aspect)(frame(0)))
    with pytest.raises(CheckpointError, match="say nothing about video"):
        video_pixels(path, tiled, LayoutSettings(side=16, features=4))


def test_equal_to_transformers_image_processors_frame_by_frame(tmp_path: Path) -> None:
    """Its video processors need torchvision; on frames they do the steps of these."""
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    theirs = module.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    path = folder(tmp_path / "clip", ["0.png", "1.png"])
    ours = ImageProcessor.from_dict(theirs.to_dict())
    frames = [frame(0), frame(1)]
    expected = theirs(frames, return_tensors="np")["pixel_values"]
    found = video_pixels(path, ours, settings(aspect="crop", frames=2))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        video_info(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no frames") as caught:
        video_info(tmp_path / "empty", where="rows.json, row 4")
    assert caught.value.where == "rows.json, row 4"
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ImageError, match="is empty"):
        video_info(tmp_path / "empty.mp4")


def test_frames_are_checked_as_pictures_are(tmp_path: Path) -> None:
    path = folder(tmp_path / "clip", ["0.png", "1.png"])
    (path / "1.png").write_bytes((path / "1.png").read_bytes()[:60])
    with pytest.raises(ImageError, match=r"1\.png is damaged"):
        list(read_frames(video_info(path), [0, 1]))
    with pytest.raises(ImageError, match="more than 100 pixels"):
        list(read_frames(video_info(path), [0], max_pixels=100))
    gif = tmp_path / "a.gif"
    frame(0).save(gif, save_all=True, append_images=[frame(1)])
    with pytest.raises(ImageError, match="more than 100 pixels"):
        video_info(gif, max_pixels=100)
    whole = gif.read_bytes()
    info = video_info(gif)
    gif.write_bytes(whole[: len(whole) - 40])
    with pytest.raises(ImageError, match=r"a\.gif is damaged"):
        list(read_frames(info, [0, 1]))


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(MissingExtraError) as caught:
        video_info(path, where="rows.json, row 1")
    assert "pip install 'pumice[video]'" in str(caught.value)
    assert caught.value.where == "rows.json, row 1"
