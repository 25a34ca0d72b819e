"""What docs/images.md says is what the code does: its tables, its code and its figure."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.image.layout import image_tokens, video_tokens
from pumice.image.settings import LayoutSettings, VideoSettings

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
    assert len(blocks) == 1
    exec(compile(blocks[0], "images.md", "exec"), {})


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
