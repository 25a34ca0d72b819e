from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from pumice.errors import DataError, ImageError
from pumice.evaluate import MEAN_GREY, Prompt, blind, wrong_image


def pictures(folder: Path, count: int) -> list[Path]:
    paths = []
    for i in range(count):
        path = folder / f"{i}.png"
        PIL.Image.new("RGB", (8 + i, 6), (i, 0, 0)).save(path)
        paths.append(path)
    return paths


def test_blind_keeps_words_and_size_and_nothing_of_the_picture(tmp_path: Path) -> None:
    first, second = pictures(tmp_path, 2)
    prompts = [Prompt("a", (first,)), Prompt("b", (second, PIL.Image.new("L", (8, 6)))), Prompt("c")]
    greys = blind(prompts)
    assert [prompt.text for prompt in greys] == ["a", "b", "c"]
    assert [[image.size for image in prompt.images] for prompt in greys] == [[(8, 6)], [(9, 6), (8, 6)], []]
    for prompt in greys:
        for image in prompt.images:
            assert isinstance(image, PIL.Image.Image)
            assert image.getcolors() == [(image.width * image.height, MEAN_GREY)]
    assert greys[0].images[0] is greys[1].images[1], "one grey picture per size"


def test_blind_names_a_picture_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"x\.png is no JPEG"):
        blind([Prompt("a", (tmp_path / "x.png",))])


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_wrong_image_is_a_derangement_of_distinct_pictures(tmp_path: Path, count: int, seed: int) -> None:
    paths = pictures(tmp_path, count)
    prompts = [Prompt(f"{path.name} {k}", (path,)) for k in range(3) for path in paths]
    swapped = wrong_image(prompts, seed)
    given = {before.images[0]: after.images[0] for before, after in zip(prompts, swapped, strict=True)}
    assert sorted(map(str, given.values())) == sorted(map(str, paths)), "every picture is used once"
    assert all(before != after for before, after in given.items())
    for before, after in zip(prompts, swapped, strict=True):
        assert after == Prompt(before.text, (given[before.images[0]],)), (
            "questions of one picture stay together"
        )


def test_wrong_image_depends_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    prompts = [Prompt(path.name, (path,)) for path in pictures(tmp_path, 10)]
    once = wrong_image(prompts, 1)
    assert wrong_image(prompts[::-1], 1) == once[::-1]
    assert wrong_image(prompts, 2) != once


def test_wrong_image_needs_a_second_picture(tmp_path: Path) -> None:
    (only,) = pictures(tmp_path, 1)
    with pytest.raises(DataError, match="at least two"):
        wrong_image([Prompt("a", (only,)), Prompt("b", (only,))], 0)
    assert wrong_image([Prompt("text only")], 0) == [Prompt("text only")]
