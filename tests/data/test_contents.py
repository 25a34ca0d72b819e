from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pumice.data import contents as module
from pumice.data.contents import Content, Contents
from pumice.errors import ImageError
from pumice.types import ImageRef


def old(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH", -(10**12))


def test_equal_bytes_are_equal_content_wherever_they_lie(tmp_path: Path) -> None:
    one, two = old(tmp_path / "one", b"abc"), old(tmp_path / "two", b"abc")
    box = old(tmp_path / "box", b"xxabcyy")
    found = Contents(None)
    same = {found.of([file]).digest for file in (one, two, ImageRef(box, 2, 3, "abc"))}
    assert len(same) == 1
    assert found.of([ImageRef(box, 1, 3, "xab")]).digest not in same
    assert found.of([one, two]).digest not in same
    assert found.of([one, box]).digest != found.of([box, one]).digest


def test_a_file_is_read_once_while_it_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = old(tmp_path / "one", b"abc")
    first = Contents(tmp_path / "cache")
    before = first.of([file])
    first.save()
    read: list[object] = []
    opened = module.open_picture
    monkeypatch.setattr(module, "open_picture", lambda *words: (read.append(words[0]), opened(*words))[1])
    again = Contents(tmp_path / "cache")
    assert again.of([file]) == before
    assert read == []
    status = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again.of([file]).digest != before.digest, "even with its old size and time"
    assert read == [file]


def test_a_file_that_was_changed_just_now_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FRESH", 10**12)
    found = Contents(tmp_path / "cache")
    found.of([old(tmp_path / "one", b"abc")])
    found.save()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1, "pictures": {"a": [1, 2, 3, 4, "zz"]}}'])
def test_a_damaged_file_is_no_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "contents.json").write_text(text)
    file = old(tmp_path / "one", b"abc")
    found = Contents(tmp_path)
    assert isinstance(found.of([file]), Content)
    found.save()
    assert list(json.loads((tmp_path / "contents.json").read_text())["pictures"]) == [str(file)]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        Contents(None).of([tmp_path / "none"], "data.json, row 3")
