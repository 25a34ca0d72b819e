"""Erased rows: no reader sees them, nothing of them is cached, and a damaged list stops everything."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pumice.data.index import content_digest, open_table
from pumice.data.mixture import Source, read_mixture
from pumice.data.table import SampleTable
from pumice.data.tombstones import add_tombstones, name_digest, read_tombstones, tombstone_file
from pumice.errors import DataError


def row(number: int, **changes: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": f"Number {number}."},
    ]
    return {"id": f"r{number}", "image": f"{number}.png", "conversations": turns, **changes}


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    for number in range(4):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([row(number) for number in range(4)]))
    return path


def opened(talk: Path, cache: Path | None = None) -> SampleTable:
    return open_table(talk, talk.parent, "talk", cache_folder=cache)


def ids(table: SampleTable) -> list[str]:
    return [sample.id for sample in table]


def erase(talk: Path, *numbers: int) -> None:
    table = opened(talk)
    digests = [bytes(table.columns.digest[i]) for i, one in enumerate(table) if int(one.id[1:]) in numbers]
    assert add_tombstones(talk, digests, erasure="e") == len(numbers)


def test_an_erased_row_is_gone_for_every_reader_and_the_file_is_as_it_was(talk: Path, tmp_path: Path) -> None:
    before, cache = talk.read_bytes(), tmp_path / "cache"
    assert len(opened(talk, cache)) == 4
    erase(talk, 1)
    table = opened(talk, cache)
    assert (ids(table), table.head.erased, table.pictures) == (["r0", "r2", "r3"], 1, 3)
    assert [table.origin(i).row for i in range(3)] == [0, 2, 3], "errors name the file's rows"
    assert ids(opened(talk, cache)) == ["r0", "r2", "r3"]
    assert len(read_mixture([Source("talk", talk, talk.parent)], seed=0).samples) == 3
    assert talk.read_bytes() == before
    erase(talk, 2)
    assert ids(opened(talk, cache)) == ["r0", "r3"]
    erase(talk, 0, 3)
    with pytest.raises(DataError, match="all 4 rows are erased"):
        opened(talk, cache)


def test_a_row_stays_erased_where_the_file_is_written_anew(talk: Path) -> None:
    erase(talk, 1)
    talk.write_text(json.dumps([row(5, image="0.png"), row(1), row(0)]))
    assert ids(opened(talk)) == ["r5", "r0"]


def test_later_rows_with_an_erased_picture_are_erased_too(talk: Path) -> None:
    add_tombstones(talk, [], [name_digest("2.png")], erasure="e")
    talk.write_text(json.dumps([row(0), row(7, image="2.png")]))
    table = opened(talk)
    assert (ids(table), table.head.erased) == (["r0"], 1)


def test_nothing_of_an_erased_row_stays_in_the_cache(talk: Path, tmp_path: Path) -> None:
    from pumice.data.convert import convert

    target, cache = tmp_path / "talk.parquet", tmp_path / "cache"
    convert(talk, target, "parquet", image_root=tmp_path)
    table = open_table(target, None, "talk")
    picture = (tmp_path / "1.png").read_bytes()
    add_tombstones(target, [bytes(table.columns.digest[1])], erasure="e")
    found = open_table(target, None, "talk", cache_folder=cache)
    kept = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    assert ids(found) == ["r0", "r2", "r3"]
    assert b"Number 1." not in kept
    assert picture not in kept
    assert (tmp_path / "3.png").read_bytes() in kept
    for sample in found:
        (image,) = sample.images
        data = image.file.read_bytes()[image.offset : image.offset + image.length]  # type: ignore[union-attr]
        assert data == (tmp_path / f"{sample.id[1:]}.png").read_bytes()


def test_a_picture_of_an_erased_row_serves_another(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGB", (4, 4)).save(held, "PNG")
    inline = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()

    def messages(number: int) -> dict[str, Any]:
        asked = [
            {"type": "image_url", "image_url": {"url": inline}},
            {"type": "text", "text": f"What is {number}?"},
        ]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Black."}]}

    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(messages(number)) + "\n" for number in range(2)))
    first = open_table(path, None, "talk", cache_folder=tmp_path / "cache")
    add_tombstones(path, [bytes(first.columns.digest[0])], erasure="e")
    (sample,) = open_table(path, None, "talk", cache_folder=tmp_path / "cache")
    (image,) = sample.images
    with image.file.open("rb") as handle:  # type: ignore[union-attr]
        handle.seek(image.offset)  # type: ignore[union-attr]
        assert handle.read(image.length) == held.getvalue()  # type: ignore[union-attr]


def test_a_row_without_an_id_stays_erased_in_another_place(talk: Path) -> None:
    rows = [{key: value for key, value in row(number).items() if key != "id"} for number in range(4)]
    talk.write_text(json.dumps(rows))
    table = opened(talk)
    said = content_digest(table, 2, table[2])
    assert said is not None
    assert len({content_digest(table, number, one) for number, one in enumerate(table)}) == 4
    add_tombstones(talk, [bytes(table.columns.digest[2])], [], [said], erasure="e")
    talk.write_text(json.dumps([*rows[1:], {**rows[2], "id": "another"}]))
    assert [(one.id, str(one.messages[1].text)) for one in opened(talk)] == [
        ("0", "Number 1."),
        ("2", "Number 3."),
        ("another", "Number 2."),
    ]


def test_what_is_erased_under_one_name_is_erased_under_every_name(talk: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "same.json"
    link.parent.mkdir()
    link.symlink_to(talk)
    named = open_table(link, talk.parent, "same")
    erase(talk, 1)
    assert ids(open_table(link, talk.parent, "same")) == ["r0", "r2", "r3"]
    add_tombstones(link, [bytes(named.columns.digest[2])], erasure="e")
    assert ids(opened(talk)) == ["r0", "r3"]


def test_two_erasures_at_once_and_one_that_was_killed(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pumice.data import tombstones

    waited, digests = [], [bytes([number]) * 16 for number in range(3)]

    def lock_later(handle: Any, *, wait: bool) -> bool:
        waited.append(wait)
        if len(waited) == 1:  # another process has the lock first
            add_tombstones(talk, digests[:1], erasure="other")
        return True

    monkeypatch.setattr(tombstones, "lock", lock_later)
    assert add_tombstones(talk, digests[1:2], erasure="own") == 1
    assert read_tombstones([talk]).rows == set(digests[:2])
    with tombstone_file(talk).open("a") as file:
        file.write('{"kind": "row", "dig')
    with pytest.raises(DataError, match="list of erased rows cannot be read"):
        opened(talk)
    assert add_tombstones(talk, digests, erasure="own") == 1
    assert read_tombstones([talk]).rows == set(digests)


@pytest.mark.parametrize(
    "tail", ["{\n", '{"kind": "row", "digest": "12"}\n', '{"kind": "id", "digest": "00"}\n']
)
def test_a_damaged_list_stops_everything(talk: Path, tail: str) -> None:
    erase(talk, 1)
    with tombstone_file(talk).open("a") as file:
        file.write(tail)
    with pytest.raises(DataError, match="list of erased rows cannot be read"):
        opened(talk)
    with pytest.raises(DataError, match="list of erased rows"):
        add_tombstones(talk, [bytes(16)], erasure="e")


def test_a_list_that_lost_lines_is_no_shorter_list(talk: Path) -> None:
    erase(talk, 1)
    erase(talk, 2, 3)
    whole = tombstone_file(talk).read_bytes()
    lines = whole.splitlines(keepends=True)
    for left in range(len(lines)):  # cut where a line ends, also before the first
        tombstone_file(talk).write_bytes(b"".join(lines[:left]))
        with pytest.raises(DataError, match="it is empty" if not left else r"it has \d lines? of 3"):
            opened(talk)
    tombstone_file(talk).write_bytes(whole)
    assert ids(opened(talk)) == ["r0"]


def test_lines_that_a_killed_writer_did_not_count_are_obeyed_and_counted_by_the_next(talk: Path) -> None:
    erase(talk, 1)
    head = tombstone_file(talk).read_bytes().splitlines(keepends=True)[0]
    erase(talk, 2)
    lines = tombstone_file(talk).read_bytes().splitlines(keepends=True)
    tombstone_file(talk).write_bytes(b"".join([head, *lines[1:]]))
    assert ids(opened(talk)) == ["r0", "r3"]
    erase(talk, 3)
    tombstone_file(talk).write_bytes(b"".join(tombstone_file(talk).read_bytes().splitlines(True)[:-1]))
    with pytest.raises(DataError, match="it has 2 lines of 3"):
        opened(talk)


def test_a_tombstone_is_written_once(talk: Path) -> None:
    erase(talk, 1)
    held = read_tombstones([talk])
    before = tombstone_file(talk).read_bytes()
    assert add_tombstones(talk, held.rows, erasure="again") == 0
    assert tombstone_file(talk).read_bytes() == before
