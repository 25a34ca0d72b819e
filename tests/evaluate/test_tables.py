"""Tables: rows without their pictures, pictures one by one."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest

from pumice.errors import DataError
from pumice.evaluate import tables
from pumice.evaluate.asking import questions_digest
from pumice.evaluate.samples import Sample
from pumice.evaluate.tables import ParquetTable, picture_bytes, stored

from .tasks.official import cell, parquet, png


def two_files(folder: Path) -> ParquetTable:
    rows = [{"id": number, "image": cell(number if number != 3 else None)} for number in range(7)]
    return ParquetTable([parquet(folder / "a.parquet", rows[:5]), parquet(folder / "b.parquet", rows[5:])])


def test_rows_come_of_all_files_without_pictures(tmp_path: Path) -> None:
    table = two_files(tmp_path)
    rows = list(table.rows(["id"]))
    assert [row.value for row in rows] == [{"id": number} for number in range(7)]
    assert [row.where for row in rows][4:6] == [
        f"{tmp_path}/a.parquet, row 5",
        f"{tmp_path}/b.parquet, row 1",
    ]
    assert [table.where(number) for number in range(7)] == [row.where for row in rows]


def test_pictures_are_read_by_row_and_column(tmp_path: Path) -> None:
    table = two_files(tmp_path)
    for number in (6, 0, 4, 5, 1):
        assert stored(table, number, "image", "x").read() == png(number)
    assert table.filled("image") == [number != 3 for number in range(7)]
    with pytest.raises(DataError, match="no picture there") as caught:
        stored(table, 3, "image", "x").read()
    assert caught.value.where == f"{tmp_path}/a.parquet, row 4, image"


def test_groups_are_kept_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = two_files(tmp_path)
    monkeypatch.setattr(tables, "KEPT", 1)
    for number in (0, 2, 4, 0):
        table.cell(number, "image")
        assert len(table._kept) == 1
    reads = []
    whole = pyarrow.parquet.ParquetFile.read_row_group

    def counted(self: object, *args: object, **named: object) -> object:
        reads.append(named["columns"])
        return whole(self, *args, **named)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(tables, "KEPT", 2**20)
    for number in (0, 1, 2, 3, 0, 1):
        table.cell(number, "image")
    assert reads == [["image"]], "rows 0 and 1 were kept already"


def test_a_column_without_names_does_not_tell_which_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [png(1)]}), path)
    table = ParquetTable([path])
    assert table.filled("image") is None
    assert stored(table, 0, "image", "x").read() == png(1)


def test_what_a_picture_may_be(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(9))
    assert picture_bytes({"bytes": None, "path": str(tmp_path / "x.png")}, "") == png(9)
    assert picture_bytes(base64.b64encode(png(9)).decode(), "") == png(9)
    for wrong in (None, b"", "no base64!", {"bytes": None, "path": "gone.png"}, 3):
        with pytest.raises(DataError, match="no picture there"):
            picture_bytes(wrong, "here")


def test_a_cut_file_and_a_missing_column_are_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [{"id": 1, "image": cell(1)}])
    with pytest.raises(DataError, match="no column 'idd'") as caught:
        list(ParquetTable([path]).rows(["idd"]))
    assert "did you mean 'id'" in str(caught.value)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read") as caught:
        ParquetTable([path])
    assert caught.value.where == str(path)


def test_files_of_two_releases_are_refused(tmp_path: Path) -> None:
    first = parquet(tmp_path / "a.parquet", [{"id": 1}])
    second = parquet(tmp_path / "b.parquet", [{"index": 1}])
    with pytest.raises(DataError, match=r"differ from those of a\.parquet: id, index") as caught:
        ParquetTable([first, second])
    assert caught.value.where == str(second)


def test_other_pictures_under_the_same_names_are_other_questions(tmp_path: Path) -> None:
    def digest(side: int) -> str:
        picture = io.BytesIO()
        PIL.Image.effect_noise((side, side), 90).save(picture, "PNG")
        rows = [{"id": 0, "image": {"bytes": picture.getvalue(), "path": "a.png"}}]
        table = ParquetTable([parquet(tmp_path / "a.parquet", rows)])
        return questions_digest([Sample("0", "?", (stored(table, 0, "image", "a"),), {})], tmp_path)

    assert digest(8) != digest(9), "one name, other bytes"
    two = two_files(tmp_path)
    marks = [two.mark(number, "image") for number in range(7)]
    assert marks == [two_files(tmp_path).mark(number, "image") for number in range(7)]
