"""What makes a model's pixels and what counts its tokens agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumice.errors import CheckpointError, DataError, ImageError
from pumice.image.settings import VideoSettings
from pumice.image.video import VideoInfo
from pumice.model.build import Tiles, build_model
from pumice.model.geometry import Geometry, model_geometry

GRIDS = ((16, 32), (32, 16), (32, 32), (48, 16), (16, 48))
SIZES = ((20, 30), (48, 15), (16, 16), (40, 33), (90, 20), (31, 64))
WALK = VideoInfo(Path("walk"), "folder", 5, None)


@pytest.fixture(scope="module")
def made(tiny: Any) -> Any:
    return build_model(tiny.vision, tiny.language, template="tiny", tiles=Tiles(GRIDS))


def geometry(made: Any, squares: Any = None, **changes: Any) -> Geometry:
    model, _, processor = made
    return model_geometry(replace(model.config, **changes), model.tower, processor, squares)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "changes", [{}, {"aspect": "anyres_max_1"}, {"merge_type": "flat", "newline": False}]
)
@pytest.mark.parametrize("beside", [0, 1])
def test_tiles_tokens_and_what_the_model_gives_agree(
    made: Any, size: tuple[int, int], changes: dict[str, Any], beside: int
) -> None:
    here = geometry(made, **changes)
    extents = [size, *[(16, 16)] * beside]
    layout = here.layouts(extents)[0]
    pixels = here.tiles(Image.new("RGB", size), layout)
    assert pixels.shape == (layout.tiles, 3, 16, 16)
    assert (layout.tiles == 1) == (beside == 1)
    assert layout.tiles <= here.most_tiles == 5
    with torch.no_grad():
        (tokens,) = made[0].lay_out(made[0].encode_tower(torch.from_numpy(pixels)), [layout])
    assert tokens.shape[0] == here.tokens(layout)


def test_an_aspect_of_a_stage_makes_squares_without_newlines(made: Any) -> None:
    here = geometry(made, "crop", video=VideoSettings(newline="grid"))
    assert here.fixed
    assert here.most_tiles == 1
    assert {here.tokens(layout) for layout in here.layouts(SIZES)} == {4}
    assert here.settings.video == VideoSettings(newline="none")
    assert len(set(map(id, here.layouts(SIZES)))) == 1, "the size of a square decides nothing"


def test_marks_count(made: Any) -> None:
    bare, marked = geometry(made), geometry(made, image_marks=(1, 2))
    pairs = zip(marked.layouts(SIZES), bare.layouts(SIZES), strict=True)
    assert [marked.tokens(one) - bare.tokens(other) for one, other in pairs] == [2] * len(SIZES)


def test_videos(made: Any, tmp_path: Path) -> None:
    video = VideoSettings(frames=3, stride=1, newline="frame", pooling="max")
    here = geometry(made, video=video)
    alone, beside = here.layouts([WALK])[0], here.layouts([WALK, (20, 30)])[0]
    assert alone == beside, "frames are squares in any case"
    assert here.tokens(alone) == 3 * 5
    for number in range(5):
        Image.new("RGB", (20, 10), (9 * number, 0, 0)).save(tmp_path / f"{number}.png")
    pixels = here.frames(tmp_path, alone)
    assert pixels.shape == (3, 3, 16, 16)
    assert not np.array_equal(pixels[0], pixels[1])
    with pytest.raises(DataError, match="knows no video, and walk is one"):
        geometry(made).layouts([WALK])
    with pytest.raises(ImageError, match="frames a second"):
        geometry(made, video=replace(video, fps=2.0)).layouts([WALK])


def test_a_newline_that_the_merge_does_not_write(made: Any) -> None:
    with pytest.raises(CheckpointError, match="image_newline"):
        geometry(made, merge_type="spatial", newline=False, video=VideoSettings(newline="grid"))
