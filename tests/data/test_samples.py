from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pumice.data import Samples, images_at, open_table, pictures_of
from pumice.data.samples import distinct, take
from pumice.types import Sample


def write(folder: Path, name: str, images: list[list[str]]) -> Path:
    path = folder / f"{name}.json"
    rows = [
        {
            "id": f"{name}{i}",
            "image": names,
            "conversations": [
                {"from": "human", "value": "<image>" * len(names) or "Why?"},
                {"from": "gpt", "value": "Paint."},
            ],
        }
        for i, names in enumerate(images)
    ]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    a = open_table(write(tmp_path, "a", [["1"], ["2", "1"], [], ["3"]]), tmp_path, "a", check_files=False)
    b = open_table(write(tmp_path, "b", [["1"], ["4"]]), tmp_path, "b", check_files=False)
    return Samples([(a, np.array([1, 2, 3, 1])), (b, np.array([0, 1, 1]))])


def ids(samples: list[Sample]) -> list[str]:
    return [sample.id for sample in samples]


ORDER = ["a1", "a2", "a3", "a1", "b0", "b1", "b1"]


def test_rows_of_tables_one_behind_the_other(samples: Samples) -> None:
    assert ids(list(samples)) == ORDER == ids([samples[i] for i in range(7)])
    assert ids(samples[-3:]) == ORDER[-3:]
    assert samples[-1].id == "b1"
    assert [str(samples.origin(i)).rpartition("/")[2] for i in (0, 5)] == ["a.json, row 1", "b.json, row 1"]
    with pytest.raises(IndexError):
        samples[7]
    assert list(Samples([])) == []


def test_what_a_plain_list_tells_is_the_same(samples: Samples, tmp_path: Path) -> None:
    one = {sample.id: sample for sample in samples}
    plain = [one[name] for name in ORDER]
    for sequence in (samples, plain):
        first, which = distinct(sequence)
        assert (first.tolist(), which.tolist()) == ([0, 1, 2, 4, 5], [0, 1, 2, 0, 3, 4, 4])
        assert ids(list(take(sequence, first))) == ["a1", "a2", "a3", "b0", "b1"]
        assert [images_at(sequence, i) for i in range(7)] == [sample.images for sample in plain]
        pictures = {path.name: str(origin) for path, origin in pictures_of(sequence).items()}  # type: ignore[union-attr]
        assert {name: where.rpartition("/")[2] for name, where in pictures.items()} == {
            "1": "a.json, row 1",
            "2": "a.json, row 1",
            "3": "a.json, row 3",
            "4": "b.json, row 1",
        }


def test_pictures_of_rows_that_are_not_used_are_not_told(samples: Samples) -> None:
    (table, _), _ = samples.parts
    used = Samples([(table, np.array([2, 3]))])
    assert [path.name for path in pictures_of(used)] == ["3"]  # type: ignore[union-attr]
