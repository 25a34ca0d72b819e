"""Licence, author and origin of rows: read by every form, kept by the index, carried into other formats."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pil

from pumice.data import open_table, read_mixture, read_samples
from pumice.data.convert import convert
from pumice.data.forms import FORMS
from pumice.data.mixture import Source
from pumice.data.rights import join_rights, read_rights, write_rights
from pumice.errors import DataError
from pumice.types import Rights

TOLD = Rights("CC-BY-4.0", "Ada", "https://example.org/1", "sea")
KEYS = {"license": "CC-BY-4.0", "author": "Ada", "url": "https://example.org/1", "source": "sea"}
ROWS: dict[str, dict[str, Any]] = {
    "llava": {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    "sharegpt": {"items": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    "messages": {
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
    },
    "preference": {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
}


@pytest.mark.parametrize("form", ROWS)
def test_every_form_reads_them_and_writes_them_back(form: str) -> None:
    draft = FORMS[form].parse({**ROWS[form], **KEYS}, 0, "here", None)
    assert draft.rights == TOLD
    assert read_rights(write_rights(TOLD), "here") == TOLD
    assert FORMS[form].parse(ROWS[form], 0, "here", None).rights == Rights()


@pytest.mark.parametrize(
    ("row", "rights"),
    [
        ({"license": 4, "licence": "MIT"}, Rights("4")),
        ({"license": None, "license_url": "https://x.org/l"}, Rights("https://x.org/l")),
        ({"license": ["MIT", "CC0", "MIT"]}, Rights("MIT AND CC0")),
        ({"license": {"id": 3, "name": "CC BY"}}, Rights("3")),
        ({"authors": ["Ada", {"name": "Grace"}], "citation": "a book"}, Rights(attribution="Ada; Grace")),
        ({"source": "https://x.org/p"}, Rights(url="https://x.org/p", dataset="https://x.org/p")),
        ({"source": {"a": 1}, "dataset": "vg"}, Rights(dataset="vg")),
    ],
)
def test_the_keys_that_sets_of_data_use(row: dict[str, Any], rights: Rights) -> None:
    assert read_rights(row, "here") == rights


@pytest.mark.parametrize("row", [{"license": True}, {"author": 0.5}, {"license": {"a": "b"}}])
def test_what_cannot_be_read_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(row))):
        read_rights(row, "here")


def test_of_several_things_all_licences_bind_and_all_authors_are_named() -> None:
    other = Rights("MIT OR CC0-1.0", "Bob", "", "sea")
    joined = Rights("CC-BY-4.0 AND (MIT OR CC0-1.0)", "Ada; Bob", "https://example.org/1", "sea")
    assert join_rights([TOLD, other, TOLD]) == joined


@pytest.fixture
def source(tmp_path: Path) -> Path:
    Pil.new("RGB", (4, 4)).save(tmp_path / "a.png")
    talk = ROWS["llava"]["conversations"]
    shown = [{"from": "human", "value": "<image>\nWhat?"}, talk[1]]
    rows = [
        {"id": "a", "image": "a.png", "conversations": shown, **KEYS},
        {"id": "b", "conversations": talk, "licence": "MIT"},
        {"id": "c", "conversations": talk},
        {"id": "d", "conversations": talk, "licence": "MIT"},
    ]
    path = tmp_path / "in.json"
    path.write_text(json.dumps(rows))
    return path


WANTED = [TOLD, Rights("MIT"), Rights(), Rights("MIT")]


def test_the_index_keeps_each_once_and_a_kept_one_says_the_same(tmp_path: Path, source: Path) -> None:
    for _ in range(2):
        table = open_table(source, tmp_path, "s", cache_folder=tmp_path / "cache")
        assert [table.rights(row) for row in range(4)] == WANTED
        assert table.columns.rights.tolist() == [0, 1, 2, 1]
        assert [sample.rights for sample in table] == WANTED
        assert table.head.groups == ("sea", "text only")


def test_a_source_speaks_for_rows_that_say_nothing(tmp_path: Path, source: Path) -> None:
    spoken = Source("s", source, tmp_path, licence="CC0-1.0", attribution="Us", url="https://us.org")
    mixture = read_mixture([spoken], seed=0)
    assert [sample.rights for sample in mixture.samples] == [
        TOLD,
        Rights("MIT", "Us", "https://us.org"),
        Rights("CC0-1.0", "Us", "https://us.org"),
        Rights("MIT", "Us", "https://us.org"),
    ]
    # What a model sees does not depend on it.
    bare = read_mixture([Source("s", source, tmp_path)], seed=0)
    assert mixture.fingerprint() == bare.fingerprint()


@pytest.mark.parametrize(
    ("to", "name"),
    [("sharegpt", "o.json"), ("messages", "o.jsonl"), ("webdataset", "o"), ("parquet", "o.parquet")],
)
def test_they_go_with_the_rows_into_other_formats_and_back(
    tmp_path: Path, source: Path, to: str, name: str
) -> None:
    out, back = tmp_path / name, tmp_path / "back.json"
    convert(source, out, to, image_root=tmp_path)
    assert [sample.rights for sample in read_samples(out, tmp_path)] == WANTED
    convert(out, back, "llava", image_root=tmp_path, picture_folder=tmp_path / "pictures")
    assert [
        sample.rights for sample in read_samples(back, tmp_path / "pictures", check_files=False)
    ] == WANTED


def test_what_a_tool_notes_beside_a_caption_in_a_shard_counts(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Pil.new("RGB", (4, 4)).save(picture, "PNG")
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for name, data in (
            ("0.png", picture.getvalue()),
            ("0.txt", b"a lake"),
            ("0.json", json.dumps({"url": "https://x.org/0", "license": "CC BY 2.0", "key": "0"}).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert [s.rights for s in read_samples(shard, None)] == [Rights("CC BY 2.0", url="https://x.org/0")]
