"""`pumice look` on the shipped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pumice.cli import app
from pumice.world.draw import draw
from pumice.world.scene import make_scene


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A yellow star in the middle, a black square at the left."""
    path = tmp_path_factory.mktemp("look") / "a.png"
    draw(make_scene(5, 20, "full")).save(path)
    return path


def test_an_answer_comes_with_its_map(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "map.png"
    words = ["look", "tiny", "--image", str(picture), "What shape is yellow?", "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("star\n")
    assert "the picture's details made +" in done.output
    with Image.open(out) as image:
        assert image.size == (112, 112)
        pixels = np.asarray(image.convert("RGB"), np.int64)
    red = pixels[..., 0] - pixels[..., 1:].min(-1)
    y, x = np.unravel_index(int(red.argmax()), red.shape)
    assert 35 < x < 85
    assert 30 < y < 80


def test_several_pictures_and_a_word_of_a_given_answer(picture: Path, tmp_path: Path) -> None:
    given = ["--answer", "a yellow star", "--word", "star", "--steps", "1", "--out", str(tmp_path / "m.webp")]
    words = ["look", "tiny", "--image", str(picture), "--image", str(picture), "What is it?", *given]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert {one.name for one in tmp_path.iterdir()} == {"m-1.webp", "m-2.webp"}
    assert "'star': log-probability" in done.output


def test_no_file_is_lost_and_fewer_bits_see_the_same(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["look", "tiny", "--image", str(picture), "What shape is yellow?", "--steps", "1"]
    for more in ([], ["--weights", "int8"]):
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("star\n")
    first, second = (Path(name).read_bytes() for name in ("looked.png", "looked2.png"))
    assert first != second
    done = CliRunner().invoke(app, [*words, "--out", "looked.png"])
    assert done.exit_code == 2
    assert "already" in done.output
    assert Path("looked.png").read_bytes() == first
    done = CliRunner().invoke(app, [*words, "--out", "looked2.png", "--overwrite"])
    assert done.exit_code == 0, done.output
    assert Path("looked2.png").read_bytes() == first


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--out", "map.txt"], "no name of a picture"),
        (["--out", "nowhere/map.png"], "there is no folder"),
        (["--answer", "a star", "--word", "ring"], "does not stand in the answer"),
    ],
)
def test_what_cannot_be_done_is_told(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["look", "tiny", "--image", str(picture), "What is it?", *more])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
