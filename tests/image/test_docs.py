"""What docs/images.md says is what the code does: its tables, its code and its figure."""

from __future__ import annotations

import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pumice.image.layout import image_tokens, video_tokens
from pumice.image.settings import LayoutSettings, VideoSettings
from pumice.model.build import Tiles, build_model
from pumice.model.save import save_model
from pumice.recipes.image import NEXT_GRIDS
from pumice.recipes.schema import Model

from .parts import next_hf_settings, next_settings, onevision_settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "images.md").read_text("utf-8")


def table(first: str) -> list[list[str]]:
    """The rows of the table whose head begins with a cell, without head and rule."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_counts() -> None:
    kinds = (
        LayoutSettings(side=336, features=24, aspect="pad"),
        next_settings(),
        next_hf_settings(),
        onevision_settings(),
    )
    rows = table("picture")
    assert len(rows) == 9
    for size, *counts in rows:
        width, height = (int(side) for side in size.split(" x "))
        assert [int(count) for count in counts] == [image_tokens((width, height), kind) for kind in kinds]


def test_the_table_of_videos() -> None:
    rows = table("stride and pooling")
    assert len(rows) == 4
    for way, frame, *counts in rows:
        stride = int(way[0])
        for pooling in [name for name in ("bilinear", "average", "max") if name in way] or ["average"]:
            found = []
            for newline in ("none", "one_token", "frame", "grid"):
                video = VideoSettings(stride=stride, pooling=pooling, newline=newline)  # type: ignore[arg-type]
                found.append(video_tokens(32, onevision_settings(video=video)))
            assert [int(count) for count in counts] == found
            side = int(frame.split(" x ")[0])
            assert found[0] == 32 * side * side


def test_the_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    exec(compile(blocks[0], "images.md", "exec"), {})


def test_a_model_is_asked_as_the_page_says(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = Tiles(((16, 32), (32, 16)))
    model, tokenizer, processor = build_model(tiny.vision, tiny.language, template="tiny", tiles=tiles)
    model.config = replace(model.config, video=VideoSettings(frames=2))
    save_model(model, tokenizer, processor, tmp_path / "model")
    (tmp_path / "walk").mkdir()
    for name in ("page.png", "walk/1.png", "walk/2.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(compile(block, "images.md", "exec"), {"MODEL": tmp_path / "model"})
    assert capsys.readouterr().out.count("\n") >= 2


def test_the_recipe_of_tiles_is_one() -> None:
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    model = Model.model_validate(
        {"vision": "a", "language": "b", "template": "v1", **yaml.safe_load(block[1])["model"]}
    )
    assert model.image is not None
    assert (model.image.aspect, model.image.grids) == ("anyres", NEXT_GRIDS)
    assert model.video is not None


def test_the_figure_is_what_the_code_draws(tmp_path: Path) -> None:
    """But for letters, which another version of FreeType may draw otherwise."""
    script = tmp_path / "images.py"
    shutil.copy(DOCS / "images.py", script)
    runpy.run_path(str(script), run_name="__main__")
    drawn, kept = (Image.open(path).convert("RGB") for path in (tmp_path / "images.png", DOCS / "images.png"))
    assert drawn.size == kept.size
    different = np.abs(np.asarray(drawn, int) - np.asarray(kept, int)).max(-1) > 48
    assert different.mean() < 0.02


@pytest.mark.parametrize("name", ["data.md", "images.png"])
def test_what_the_page_links_to_is_there(name: str) -> None:
    assert f"]({name})" in PAGE
    assert (DOCS / name).is_file()
