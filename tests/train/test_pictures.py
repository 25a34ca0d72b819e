from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.recipes.features import Features
from pumice.train import pictures as gallery
from pumice.train.pictures import Pictures, View


@pytest.fixture(scope="module")
def bench(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An align stage; read only."""
    return toy.bench(data, parts, tmp_path_factory.mktemp("pictures"), toy.align())


def shown(bench: Any) -> list[View]:
    """The only picture of each sample, laid out."""
    return [bench.data.pictures.views(sample.images)[0] for sample in bench.data.samples]


def test_features_do_not_depend_on_the_precision_of_a_stage(bench: Any) -> None:
    pictures, model, views = bench.context.pictures, bench.model, shown(bench)[:2]
    pictures.forget()
    plain = pictures.features(model, views)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pictures.features(model, views), plain)


def test_features_are_of_their_own_pictures_in_any_order(bench: Any) -> None:
    pictures, model = bench.context.pictures, bench.model
    paths = shown(bench)
    assert pictures.keeps(model, len(paths))
    pictures.forget()
    fresh = pictures.features(model, [paths[2], paths[0], paths[2]])
    said: list[tuple[str, int, int]] = []
    pictures.prepare(model, [*paths, paths[0]], lambda *row: said.append(row))
    assert said == [("reading pictures", len(paths), len(paths))]
    kept = pictures.features(model, [paths[2], paths[0], paths[2]])
    assert torch.equal(fresh, kept)
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    with torch.no_grad():
        torch.testing.assert_close(kept[1], model.encode_tower(pictures.pixels(paths[:1]))[0])
    pictures.prepare(model, paths, lambda *row: said.append(row))
    assert len(said) == 1, "what is known is not read again"
    pictures.forget()


def test_more_pictures_than_a_chunk(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread a picture's features do not depend on those beside it, nor on being kept."""
    pictures, model = bench.context.pictures, bench.model
    paths = shown(bench)
    monkeypatch.setattr(gallery, "CHUNK", 3)
    pictures.forget()
    whole = pictures.features(model, paths)
    pictures.prepare(model, paths[::-1], lambda *row: None)
    assert torch.equal(pictures.features(model, paths), whole)
    pictures.forget()


def test_a_later_stage_sees_the_same_chunks_whether_an_earlier_one_ran_or_not(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tower that adds to a picture's features its place in the chunk and the chunk's size."""
    model, paths = bench.model, shown(bench)
    encode, sizes = model.encode_tower, []

    def rough(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return encode(pixels) + 10 * len(pixels) + torch.arange(len(pixels))[:, None, None]

    monkeypatch.setattr(model, "encode_tower", rough)
    monkeypatch.setattr(gallery, "CHUNK", 5)
    # Chunks: 0 to 4, 5 alone, then 7 and 6.
    first, second = paths[:6], [paths[7], paths[5], paths[2], paths[6]]
    said: list[tuple[str, int, int]] = []

    def prepared(pictures: Pictures, wanted: list[View]) -> torch.Tensor:
        said.clear()
        pictures.expect(wanted)
        pictures.prepare(model, wanted, lambda *row: said.append(row))
        assert pictures._features.keys() == set(wanted), "nothing else is kept"
        return pictures.features(model, wanted)

    whole, resumed = Pictures(bench.data.geometry), Pictures(bench.data.geometry)
    prepared(whole, first)
    assert said == [("reading pictures", 5, 6), ("reading pictures", 6, 6)]
    one = prepared(whole, second)
    assert said == [("reading pictures", 2, 2)]
    resumed.expect(first)
    two = prepared(resumed, second)
    assert said == [("reading pictures", number, 4) for number in (1, 2, 4)]
    assert torch.equal(one, two)
    assert sizes == [8, 4, 4, 8, 4, 4]
    unexpected = prepared(Pictures(bench.data.geometry), second)
    assert not torch.equal(unexpected, one), "places must matter, or nothing was tested"


@pytest.mark.parametrize(("pictures", "computed"), [(1, [4]), (3, [4]), (4, [4]), (7, [8]), (9, [8, 4])])
def test_little_more_than_a_batchs_pictures_goes_through_a_frozen_tower(
    bench: Any, monkeypatch: pytest.MonkeyPatch, pictures: int, computed: list[int]
) -> None:
    encode, sizes = bench.model.encode_tower, []
    monkeypatch.setattr(bench.model, "encode_tower", lambda x: (sizes.append(len(x)), encode(x))[1])
    monkeypatch.setattr(gallery, "CHUNK", 8)
    found = Pictures(bench.data.geometry).features(bench.model, [shown(bench)[0]] * pictures)
    assert len(found) == pictures
    assert sizes == computed


def test_features_are_kept_while_they_fit(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * 24 * 4  # patches, width, bytes of a float32
    monkeypatch.setattr(gallery, "FEATURE_BYTES", 10 * size)
    assert bench.context.pictures.keeps(bench.model, 10)
    assert not bench.context.pictures.keeps(bench.model, 11)


def test_a_tower_that_trains_gets_a_gradient(bench: Any) -> None:
    paths = shown(bench)[:1]
    parameters = list(bench.model.tower.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        assert not bench.context.pictures.keeps(bench.model, 1)
        assert bench.context.pictures.features(bench.model, paths).requires_grad
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
    assert not bench.context.pictures.features(bench.model, paths).requires_grad


def test_a_tower_multiplies_as_the_stage_does(bench: Any) -> None:
    """Features of another precision are other features: none that were kept are taken over."""
    pictures, model = bench.context.pictures, bench.model
    paths = shown(bench)
    made = {}
    for half in (False, True, False):
        pictures.keep_as(Features(), half)
        pictures.prepare(model, paths, lambda *row: None)
        with torch.autocast("cpu", torch.bfloat16):  # whatever the caller computes in
            found = pictures.features(model, paths)
        pictures.forget()
        assert torch.equal(pictures.features(model, paths), found), "kept or not"
        assert torch.equal(made.setdefault(half, found), found)
    assert not torch.equal(made[False], made[True])
    assert float((made[True] - made[False]).norm() / made[False].norm()) < 0.02
