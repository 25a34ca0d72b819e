"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pumice.files import replacing, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_as_it_was_until_the_block_ends(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path, shared=shared) as partial:
        assert partial.parent == tmp_path
        assert str(os.getpid()) in partial.name or not shared
        partial.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), names(tmp_path)) == ("new", ["a.json"])


@pytest.mark.parametrize("shared", [False, True])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path, shared=shared) as partial:
            partial.write_text("half of")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (path.read_text(), names(tmp_path)) == ("old", ["a.json"])


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.json.partial").write_text("a much longer text than the new one")
    write_text(tmp_path / "a.json", "new")
    assert ((tmp_path / "a.json").read_text(), names(tmp_path)) == ("new", ["a.json"])


def test_processes_that_share_a_file_write_in_different_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replacing(tmp_path / "a.json", shared=True) as mine:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with replacing(tmp_path / "a.json", shared=True) as other:
            assert mine != other
            other.write_text("other")
        mine.write_text("mine")
    assert ((tmp_path / "a.json").read_text(), names(tmp_path)) == ("mine", ["a.json"])


def test_text_is_written_in_utf_8_with_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\r\n東\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\r\n東\n".encode()


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, None]})
    assert path.read_text("utf-8").endswith("\n")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text("utf-8")) == {"é": [1, None]}
