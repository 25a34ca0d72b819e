from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.data import Source, check_images, preflight, read_mixture
from pumice.data.extents import CACHE_FILE
from pumice.errors import DataError, ImageError, TemplateError
from pumice.types import Encoded, Sample

from .parts import encoded, sample

# The package gives the function of this name, so the module is asked for by its path.
module = importlib.import_module("pumice.data.preflight")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = []
    for index in range(4):
        path = tmp_path / f"{index}.jpg"
        noise = np.random.default_rng(index).integers(0, 256, (30, 40 + index, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        paths.append(path)
    return paths


def render(one: Sample, sizes: Sequence[tuple[int, int]]) -> Encoded:
    return encoded(sum(width for width, _ in sizes) + 3, learnt=2)


def test_counts_are_what_the_renderer_gives_for_the_sizes(photos: list[Path]) -> None:
    samples = [sample(0, photos[:2]), sample(1), sample(2, photos[3:])]
    told: list[tuple[str, int, int]] = []
    found = preflight([*samples, samples[0]], render, progress=lambda *event: told.append(event))
    assert found.lengths.tolist() == [84, 3, 46, 84]
    assert found.supervised.tolist() == [2, 2, 2, 2]
    assert found.sizes == {photos[0]: (40, 30), photos[1]: (41, 30), photos[3]: (43, 30)}
    assert told[-1] == ("samples", 3, 3)
    assert ("images", 3, 3) in told


def test_a_repeated_sample_is_rendered_once() -> None:
    calls: list[Sample] = []

    def counting(one: Sample, sizes: Sequence[tuple[int, int]]) -> Encoded:
        calls.append(one)
        return encoded(3)

    one = sample(0)
    assert preflight([one, one, sample(1)], counting).lengths.tolist() == [3, 3, 3]
    assert len(calls) == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_all_bad_images_are_named_with_their_rows(photos: list[Path], workers: int) -> None:
    photos[1].write_bytes(b"no image")
    photos[2].unlink()
    samples = [sample(index, [path]) for index, path in enumerate(photos)]
    with pytest.raises(DataError, match=r"images cannot be used \(2\)") as caught:
        preflight(samples, render, workers=workers)
    assert f"s.json, row 1: {photos[1]} is no" in caught.value.what
    assert "s.json, row 2: image file" in caught.value.what


def test_decoding_finds_what_headers_hide(photos: list[Path]) -> None:
    photos[1].write_bytes(photos[1].read_bytes()[:1200])
    samples = [sample(index, [path]) for index, path in enumerate(photos)]
    assert len(check_images(samples)[0]) == 4
    with pytest.raises(ImageError, match="damaged") as caught:
        check_images(samples, decode=True)
    assert caught.value.where == "s.json, row 1"


def test_samples_that_teach_nothing_or_do_not_render_are_errors() -> None:
    def failing(one: Sample, sizes: Sequence[tuple[int, int]]) -> Encoded:
        if one.origin.row == 1:
            raise TemplateError("cannot render", remedy="choose another template")
        return encoded(3, learnt=0)

    with pytest.raises(DataError, match=r"samples cannot be used \(2\)") as caught:
        preflight([sample(0), sample(1)], failing)
    assert "s.json, row 0: no token of the sample is supervised" in caught.value.what
    assert "s.json, row 1: cannot render" in caught.value.what
    assert "choose another template" in (caught.value.remedy or "")


def test_the_cache_knows_files_by_size_and_time(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    samples = [sample(index, [path]) for index, path in enumerate(photos)]
    sizes, cached = check_images(samples, cache_folder=folder)
    assert cached == 0
    assert [file.name for file in folder.iterdir()] == [CACHE_FILE]
    assert check_images(samples, cache_folder=folder) == (sizes, 4)
    assert check_images(samples)[1] == 0

    Image.new("RGB", (9, 8)).save(photos[0])
    again, cached = check_images(samples, cache_folder=folder)
    assert (again[photos[0]], cached) == ((9, 8), 3)

    assert check_images(samples, decode=True, cache_folder=folder)[1] == 0  # headers are not enough now
    assert check_images(samples, decode=True, cache_folder=folder)[1] == 4
    assert check_images(samples, cache_folder=folder)[1] == 4

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a cached image was opened")

    monkeypatch.setattr(module, "open_image", refuse)
    monkeypatch.setattr(module, "image_size", refuse)
    with pytest.raises(DataError, match=r"images cannot be used \(3\)"):
        check_images(
            samples, cache_folder=folder, max_pixels=100
        )  # a stricter limit holds for known images, too


def test_an_image_that_vanished_is_not_taken_from_the_cache(photos: list[Path], tmp_path: Path) -> None:
    samples = [sample(index, [path]) for index, path in enumerate(photos)]
    check_images(samples, cache_folder=tmp_path)
    photos[3].unlink()
    with pytest.raises(ImageError, match="does not exist"):
        check_images(samples, cache_folder=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 0, "images": {}}',
        '{"version": 1, "images": {"x": [1, "2"]}}',
    ],
)
def test_a_damaged_cache_only_costs_time(photos: list[Path], tmp_path: Path, content: str) -> None:
    file = tmp_path / CACHE_FILE
    file.write_text(content)
    samples = [sample(0, photos)]
    assert check_images(samples, cache_folder=tmp_path)[1] == 0
    assert len(json.loads(file.read_text())["images"]) == 4
    assert check_images(samples, cache_folder=tmp_path)[1] == 4


def test_good_images_are_remembered_even_where_others_fail(photos: list[Path], tmp_path: Path) -> None:
    photos[0].write_bytes(b"no image")
    samples = [sample(index, [path]) for index, path in enumerate(photos)]
    with pytest.raises(ImageError):
        check_images(samples, cache_folder=tmp_path)
    assert check_images(samples[1:], cache_folder=tmp_path)[1] == 3


def test_a_place_inside_a_row_keeps_its_file_and_row() -> None:
    def failing(one: Sample, sizes: Sequence[tuple[int, int]]) -> Encoded:
        raise TemplateError("no such role", where="message 2 (user)")

    with pytest.raises(TemplateError) as caught:
        preflight([sample(3)], failing)
    assert caught.value.where == "s.json, row 3, message 2 (user)"


def test_tokens_of_the_same_rows_are_counted_once(tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": f"{i}"}, {"from": "gpt", "value": "Yes."}]}
        for i in range(3)
    ]
    path, cache = tmp_path / "rows.json", tmp_path / "cache"
    calls: list[str] = []

    def counting(one: Sample, sizes: Sequence[tuple[int, int]]) -> Encoded:
        calls.append(one.id)
        return encoded(3 + int(one.id))

    def count(settings: str | None) -> list[int]:
        calls.clear()
        path.write_text(json.dumps(rows))
        samples = read_mixture([Source("a", path, weight=2)], seed=0).samples
        return preflight(samples, counting, cache_folder=cache, settings=settings).lengths.tolist()

    assert (count("x"), calls) == ([3, 4, 5] * 2, ["0", "1", "2"])
    assert (count("x"), calls) == ([3, 4, 5] * 2, [])
    assert (count("y"), len(calls)) == ([3, 4, 5] * 2, 3)
    assert (count(None), len(calls)) == ([3, 4, 5] * 2, 3)
    rows[0]["conversations"][1]["value"] = "No."
    assert (count("x"), len(calls)) == ([3, 4, 5] * 2, 3)
    for kept in (cache / "lengths").iterdir():
        kept.write_bytes(b"damaged")
    assert (count("x"), len(calls)) == ([3, 4, 5] * 2, 3)
