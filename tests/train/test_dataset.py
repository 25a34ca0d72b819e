from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.data import count_tokens, pictures_of
from pumice.data.samples import read_samples
from pumice.errors import DataError
from pumice.recipes.schema import Grounding
from pumice.train.dataset import StageData
from pumice.train.grounding import NO_TOKEN
from pumice.train.pictures import Pictures
from pumice.train.remember import Budget

GROUNDING = {"weight": 1.0}


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
    data = bench.data
    longest = max(int(data.encode(sample).position_ids.max()) + 1 for sample in data.samples)
    sizes = dict.fromkeys(pictures_of(data.samples), (4, 4))

    def count(limit: int | None) -> Any:
        return count_tokens(data.samples, data.encode, sizes, max_positions=limit)

    lengths = [len(data.encode(sample)) for sample in data.samples]
    assert count(longest).lengths.tolist() == count(None).lengths.tolist() == lengths
    with pytest.raises(
        DataError, match=rf"has {longest} positions.*max_position_embeddings\) is {longest - 1}"
    ):
        count(longest - 1)


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
