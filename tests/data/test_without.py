"""Files written again without some rows, in every form."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pumice.data import open_table
from pumice.data.convert import convert
from pumice.data.without import write_without
from pumice.errors import UsageError


def talk(folder: Path, count: int = 5) -> Path:
    rows = []
    for number in range(count):
        Image.new("RGB", (20, 20), (number * 40, 0, 0)).save(folder / f"{number}.png")
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"Nr {number} é"}]
        rows.append({"id": f"r{number}", "image": f"{number}.png", "conversations": turns, "meta": number})
    path = folder / "talk.json"
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet", "tar", ""])
def test_other_rows_stay_as_they_are(tmp_path: Path, ending: str) -> None:
    source = talk(tmp_path)
    if ending == "jsonl":
        rows = json.loads(source.read_text("utf-8"))
        source = tmp_path / "talk.jsonl"
        source.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif ending != "json":
        target = tmp_path / (f"talk.{ending}" if ending else "shards")
        kind = "parquet" if ending == "parquet" else "webdataset"
        convert(source, target, kind, image_root=tmp_path, shard_rows=2)
        source = target
    table = open_table(source, tmp_path, "talk", cache_folder=tmp_path / "cache")
    out = tmp_path / (f"clean.{ending}" if ending else "clean")
    assert write_without(table, {0, 3}, out) == 3
    again = open_table(out, tmp_path, "talk")
    before, after = [table[row] for row in (1, 2, 4)], list(again)
    assert [(one.id, one.messages) for one in after] == [(one.id, one.messages) for one in before]
    assert len(again.images(0)) == 1
    if ending == "json":
        assert [row["meta"] for row in json.loads(out.read_text("utf-8"))] == [1, 2, 4]
    if ending == "tar":
        with tarfile.open(source) as old, tarfile.open(out) as new:
            assert set(new.getnames()) < set(old.getnames())


def test_the_data_itself_and_wrong_names_are_refused(tmp_path: Path) -> None:
    source = talk(tmp_path)
    table = open_table(source, tmp_path, "talk")
    for name, said in (("talk.json", "never written to"), ("x.jsonl", "is not written to")):
        with pytest.raises(UsageError, match=said):
            write_without(table, set(), tmp_path / name)
    assert write_without(table, set(range(5)), tmp_path / "none.json") == 0
    assert json.loads((tmp_path / "none.json").read_text()) == []
