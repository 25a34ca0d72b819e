from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pumice.data.samples import read_samples
from pumice.errors import DataError
from pumice.recipes.schema import Grounding
from pumice.train import pictures as gallery
from pumice.train.dataset import StageData
from pumice.train.grounding import NO_TOKEN
from pumice.train.pictures import Pictures, View
from pumice.train.remember import Budget

GROUNDING = {"weight": 1.0}


def shown(bench: Any) -> list[View]:
    """The only picture of each sample, laid out."""
    return [bench.data.pictures.views(sample.images)[0] for sample in bench.data.samples]


@pytest.fixture(scope="module")
def bench(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A grounded align stage; read only."""
    return toy.bench(data, parts, tmp_path_factory.mktemp("dataset"), toy.align(grounding=GROUNDING))


def with_samples(bench: Any, rows: Any, toy: Any, folder: Path, **changes: Any) -> StageData:
    """The stage's data with other rows in place of its own."""
    toy.write_rows(folder, rows)
    old = bench.data
    fields = {
        "pictures": old.pictures,
        "image_token_id": old.image_token_id,
        "stage": old.stage,
        "budget": Budget(0),
    }
    images = bench.data.samples[0].images[0].parent
    samples = read_samples(folder, images, "s")
    return StageData(samples, old.tokenizer, old.template, **{**fields, **changes})


def caption(*names: str, regions: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "image": list(names),
        "conversations": [
            {"from": "human", "value": "<image>" * len(names)},
            {"from": "gpt", "value": "a b"},
        ],
        "regions": regions,
    }


def region(phrase: str, image: int = 0, box: Any = (0.0, 0.0, 0.5, 0.5)) -> dict[str, Any]:
    return {"bbox": list(box), "phrase": phrase, "image": image}


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


def test_each_picture_of_a_sample_has_its_own_cells(bench: Any, toy: Any, tmp_path: Path) -> None:
    rows = [
        caption("0.png", "1.png", "2.png", regions=[region("red"), region("blue", image=1)]),
        caption("3.png", regions=[]),
    ]
    data = with_samples(bench, rows, toy, tmp_path / "rows.json")
    batch = data.batch([[0, 1]])
    cells, known = data.cells(batch, Grounding(weight=1.0))
    red, blue = (data.tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in ("red", "blue"))
    first = [[int(t) for t in cells.words[n, 0] if t != NO_TOKEN] for n in range(4)]
    assert first == [[red], [blue], [], []]
    assert known.tolist() == [True, True, False, False]
    assert data.grounded(batch) == 2


def test_boxes_move_with_their_picture(bench: Any, toy: Any, tmp_path: Path) -> None:
    """A wide picture: padded, its left half is the middle band's left; cropped, it may be gone."""
    from PIL import Image

    folder = bench.data.samples[0].images[0].parent
    Image.new("RGB", (64, 32)).save(folder / "wide.png")
    rows = [
        caption("wide.png", regions=[region("red", box=(0, 0, 0.25, 1)), region("blue", box=(0.5, 0, 1, 1))])
    ]
    words = {}
    for mode in ("pad", "crop", "squash"):
        geometry = bench.data.geometry
        geometry = dataclasses.replace(geometry, processor=geometry.processor.with_mode(mode))
        data = with_samples(bench, rows, toy, tmp_path / "rows.json", pictures=Pictures(geometry))
        cells, _ = data.cells(data.batch([[0]]), Grounding(weight=1.0))
        names = [
            data.tokenizer.decode([int(cell[0])]).strip() if cell[0] >= 0 else "" for cell in cells.words[0]
        ]
        words[mode] = names
    assert words["squash"] == ["red", "blue", "red", "blue"]
    assert words["crop"] == ["", "blue", "", "blue"]
    # Padded, the band's boxes reach a quarter of the square's height into each half.
    assert words["pad"] == ["red", "blue", "red", "blue"]
    (folder / "wide.png").unlink()


@pytest.mark.parametrize(
    ("changes", "marks", "says"),
    [
        ({"class_tokens": 1}, 0, "1 tokens stand beside them"),
        ({}, 2, "2 tokens stand beside them"),
        ({"aspect": "anyres", "pinpoints": ((16, 32),)}, 0, "cuts pictures into tiles"),
    ],
)
def test_what_is_not_one_square_of_patches_is_refused(
    bench: Any, toy: Any, tmp_path: Path, changes: dict[str, Any], marks: int, says: str
) -> None:
    old = bench.data.geometry
    geometry = dataclasses.replace(old, settings=dataclasses.replace(old.settings, **changes), marks=marks)
    rows = [caption("0.png", regions=[])]
    data = with_samples(bench, rows, toy, tmp_path / "rows.json", pictures=Pictures(geometry))
    with pytest.raises(DataError, match=says) as caught:
        data.check_cells(Grounding(weight=1.0))
    assert "row 0" in str(caught.value)


def test_a_batch_is_padded_with_the_tokenizers_token(bench: Any) -> None:
    batch = bench.data.batch([[0], [1, 2]])
    assert batch.samples == (0, 1, 2)
    assert (batch.input_ids[batch.segment_ids == 0] == bench.data.tokenizer.pad_token_id).all()
    assert np.unique(batch.segment_ids[1]).tolist() == [0, 1, 2]


def test_a_sample_longer_than_the_context_is_refused(bench: Any) -> None:
    """Branches and packed neighbours do not add up, and an attention window is no limit."""
    from types import SimpleNamespace

    data = bench.data
    longest = max(int(data.encode(sample).position_ids.max()) + 1 for sample in data.samples)
    lengths = np.array([len(data.encode(sample)) for sample in data.samples])
    data.check_context(SimpleNamespace(sliding_window=2, max_position_embeddings=longest), lengths)
    data.check_context(SimpleNamespace(), lengths)
    with pytest.raises(
        DataError, match=rf"has {longest} positions.*max_position_embeddings\) is {longest - 1}"
    ):
        data.check_context(SimpleNamespace(max_position_embeddings=longest - 1), lengths)


def test_settings_stand_for_what_decides_the_tokens(bench: Any) -> None:
    from pumice.text import get_template

    data = bench.data
    fields = {"image_token_id": data.image_token_id, "budget": Budget(0)}
    old = data.geometry

    def settings(template: str = data.template.name, geometry: Any = old, **changes: Any) -> str:
        stage = data.stage.model_copy(update=changes)
        one = {**fields, "pictures": Pictures(geometry), "stage": stage}
        return StageData(data.samples, data.tokenizer, get_template(template), **one).settings()

    assert settings() == settings() == data.settings() == settings(name="another")
    others = {
        settings(template="v1"),
        settings(geometry=dataclasses.replace(old, marks=2)),
        settings(geometry=dataclasses.replace(old, settings=dataclasses.replace(old.settings, features=1))),
        settings(row_length=77),
        settings(branch_turns=True),
    }
    assert len(others | {settings()}) == 6
