"""Tables: what does not need the libraries is tested always, the rest where they are installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pil

from pumice.data import open_table, read_samples
from pumice.data.parquet import take_pictures
from pumice.errors import DataError, MissingExtraError
from pumice.image import open_image

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Paint."}]
PARTS = [
    {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Paint."}]},
]


def png(color: str) -> bytes:
    stream = io.BytesIO()
    Pil.new("RGB", (4, 3), color).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("cells", "row", "inside"),
    [
        ({"id": 1, "image": None}, {"id": 1}, None),
        ({"image": "a.png"}, {"image": "a.png"}, None),
        ({"images": ["a.png"]}, {"images": ["a.png"]}, None),
        ({"image": b"x"}, {}, [(b"x", None)]),
        ({"image": {"bytes": b"x", "path": "a.png"}}, {}, [(b"x", "a.png")]),
        ({"images": [{"bytes": b"x", "path": None}, b"y"]}, {}, [(b"x", None), (b"y", None)]),
        ({"image": {"bytes": None, "path": "a.png"}}, {"image": ["a.png"]}, None),
        ({"images": []}, {"images": []}, None),
        ({"messages": [{"a": None, "b": [None, {"c": None}]}]}, {"messages": [{"b": [None, {}]}]}, None),
    ],
)
def test_cells_are_rows_and_pictures(cells: dict[str, Any], row: dict[str, Any], inside: Any) -> None:
    assert take_pictures(cells, "here") == (row, inside)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"image": 3}, "neither bytes nor the name"),
        ({"image": {"width": 3}}, "neither bytes nor the name"),
        ({"images": ["a.png", b"x"]}, "some pictures lie in the row and some are named"),
    ],
)
def test_cells_that_are_no_pictures(cells: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        take_pictures(cells, "here")


@pytest.mark.parametrize(("name", "package"), [("x.parquet", "pyarrow"), ("hub:a/b", "datasets")])
def test_a_missing_library_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    for module in {package, *(one for one in sys.modules if one.split(".")[0] == package)}:
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    path = name if name.startswith("hub:") else str(tmp_path / name)
    if not name.startswith("hub:"):
        Path(path).write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=f"needs {package}") as caught:
        read_samples(path, None)
    assert "pumice[tables]" in str(caught.value)


def rows() -> list[dict[str, Any]]:
    return [
        {"id": "a", "conversations": TURNS, "image": {"bytes": png("red"), "path": "in/a.png"}},
        {"id": "b", "conversations": TURNS, "image": {"bytes": png("blue"), "path": None}},
        {"id": "c", "conversations": TURNS, "image": {"bytes": png("red"), "path": "again.png"}},
    ]


@pytest.mark.parametrize("as_folder", [True, False])
def test_parquet(tmp_path: Path, as_folder: bool) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows()), path)
    cache = tmp_path / "cache"
    for _ in range(2):
        table = open_table(tmp_path if as_folder else path, None, "s", cache_folder=cache)
        assert [sample.id for sample in table] == ["a", "b", "c"]
        assert [open_image(s.images[0]).getpixel((0, 0)) for s in table] == [
            (255, 0, 0),
            (0, 0, 255),
            (255, 0, 0),
        ]
        assert table[2].origin.row == 2
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_samples(path, None)


def test_parquet_of_messages(tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    row = {"messages": PARTS, "images": [{"bytes": png("red"), "path": None}]}
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "x.parquet")
    sample = read_samples(tmp_path / "x.parquet", None)[0]
    assert sample.messages[0].text == "\nWhat?"
    assert open_image(sample.images[0]).size == (4, 3)


def test_a_hub_dataset_on_disk(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "conversations": [{"from": datasets.Value("string"), "value": datasets.Value("string")}],
            "image": datasets.Image(),
        }
    )
    data = datasets.Dataset.from_list(rows(), features=features)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(str(tmp_path / "two"))
    assert [sample.id for sample in read_samples(tmp_path / "one", None)] == ["a", "b", "c"]
    assert [sample.id for sample in read_samples(f"{tmp_path / 'two'}@test", None)] == ["b"]
    found = read_samples(tmp_path / "two", None)
    assert [open_image(s.images[0]).getpixel((0, 0)) for s in found] == [
        (255, 0, 0),
        (0, 0, 255),
        (255, 0, 0),
    ]
    with pytest.raises(DataError, match="there is no split 'dev'"):
        read_samples(f"{tmp_path / 'two'}@dev", None)
